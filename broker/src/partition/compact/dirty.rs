//! Which partitions have something to compact, and how urgent it is (Kafka's `LogCleanerManager`, KIP-58, KIP-354).

use std::sync::Arc;

use towpath_wire::batch::{TimestampType, views};

use crate::metadata::SegmentRange;
use crate::metadata::config::TopicSettings;
use crate::partition::Partition;
use crate::storage::{PageInfo, SegmentError};

/// A partition of a compacted topic.
pub(super) struct Candidate {
    pub partition: Arc<Partition>,
    /// Where the part begins that no pass has seen.
    pub first_dirty: i64,
    /// Only batches wholly below may be touched.
    pub bound: i64,
    /// Bytes that wait for compaction, of those that a pass would look at.
    pub dirty_bytes: u64,
    pub clean_bytes: u64,
    /// A record waits for longer than `max.compaction.lag.ms`.
    pub is_overdue: bool,
    /// Enough waits.
    pub is_due: bool,
}

impl Candidate {
    /// Share of bytes that wait, of all that a pass would look at.
    pub fn dirty_ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.dirty_bytes + self.clean_bytes).max(1) as f64
    }
}

/// Looks at one partition; `None` when its topic is not compacted here, or nothing of it may be compacted now.
///
/// A mirror is never compacted: its content follows its source's cleaner, and a replay must find the batches that it
/// repeats.
pub(super) async fn look(
    partition: &Arc<Partition>,
    dirty_bytes_min: u64,
) -> Result<Option<Candidate>, SegmentError> {
    let Some(view) = partition.view() else { return Ok(None) };
    if !view.settings.cleanup.compact || view.mirror().is_some() {
        return Ok(None);
    }
    let settings = &view.settings;
    let now_ms = partition.shared.env.now_ms();
    let (topic_id, index) = (partition.name.topic_id, partition.name.index);
    let image = partition.shared.metadata.image();
    let (Some(held), Some(segments)) = (image.partition(topic_id, index), image.segments(topic_id, index))
    else {
        return Ok(None);
    };
    let (log_start, uploaded) = {
        let state = partition.state.lock();
        let offsets = state.offsets();
        (offsets.log_start, state.uploaded_end.min(offsets.high_watermark).min(offsets.last_stable))
    };
    let first_dirty = held.compacted_to.max(log_start);
    let ranges = segments.from(log_start);
    let bound = uploaded.min(first_too_young(ranges, first_dirty, now_ms, settings));
    if first_dirty >= bound {
        return Ok(None);
    }
    let (mut clean_bytes, mut dirty_bytes) = (0, 0);
    for range in ranges {
        let (clean, dirty) = split(partition, range, (first_dirty, bound)).await?;
        clean_bytes += clean;
        dirty_bytes += dirty;
    }
    let mut found = Candidate {
        partition: partition.clone(),
        first_dirty,
        bound,
        dirty_bytes,
        clean_bytes,
        is_overdue: false,
        is_due: false,
    };
    if dirty_bytes > 0 {
        found.is_overdue = is_overdue(partition, ranges, first_dirty, settings, now_ms).await?;
        let old_ms = first_range(ranges, first_dirty).map_or(-1, |range| range.max_timestamp_ms);
        let is_worth_it = dirty_bytes >= dirty_bytes_min.min(settings.segment_bytes)
            || (0..=now_ms.saturating_sub(settings.segment_ms)).contains(&old_ms);
        found.is_due = found.is_overdue || is_worth_it && found.dirty_ratio() > settings.dirty_ratio_min;
    }
    Ok(Some(found))
}

/// Where the first range begins that holds something younger than `min.compaction.lag.ms`.
fn first_too_young(ranges: &[SegmentRange], first_dirty: i64, now_ms: i64, settings: &TopicSettings) -> i64 {
    let lag_ms = settings.compaction_lag_min_ms;
    let dirty = ranges.iter().filter(|range| range.last_offset >= first_dirty);
    let mut young =
        dirty.filter(|range| lag_ms > 0 && range.max_timestamp_ms > now_ms.saturating_sub(lag_ms));
    young.next().map_or(i64::MAX, |range| range.base_offset)
}

fn first_range(ranges: &[SegmentRange], first_dirty: i64) -> Option<&SegmentRange> {
    ranges.iter().find(|range| range.last_offset >= first_dirty)
}

/// Bytes of a range below and behind the boundary, up to the bound. Its pages are looked at only where it is cut.
async fn split(
    partition: &Partition,
    range: &SegmentRange,
    (first_dirty, bound): (i64, i64),
) -> Result<(u64, u64), SegmentError> {
    let length = u64::from(range.length);
    if range.last_offset < first_dirty {
        return Ok((length, 0));
    }
    if range.base_offset >= first_dirty && range.last_offset < bound {
        return Ok((0, length));
    }
    if range.base_offset >= bound {
        return Ok((0, 0));
    }
    let pages = partition.shared.segments.pages(range).await?;
    let (clean, rest) = pages.split_at(pages.partition_point(|page| page.last_offset < first_dirty));
    let dirty = &rest[..rest.partition_point(|page| page.base_offset < bound)];
    let bytes = |pages: &[PageInfo]| pages.iter().map(|page| u64::from(page.length)).sum::<u64>();
    Ok((bytes(clean), bytes(dirty)))
}

/// Whether the first record that waits has waited for too long (KIP-354).
async fn is_overdue(
    partition: &Partition,
    ranges: &[SegmentRange],
    first_dirty: i64,
    settings: &TopicSettings,
    now_ms: i64,
) -> Result<bool, SegmentError> {
    let lag_ms = settings.compaction_lag_max_ms.max(settings.compaction_lag_min_ms);
    let Some(oldest_ms) = now_ms.checked_sub(lag_ms).filter(|oldest_ms| *oldest_ms > 0) else {
        return Ok(false);
    };
    let Some(range) = first_range(ranges, first_dirty) else { return Ok(false) };
    if (0..oldest_ms).contains(&range.max_timestamp_ms) {
        return Ok(true);
    }
    let segments = &partition.shared.segments;
    let pages = segments.pages(range).await?;
    let first = pages.partition_point(|page| page.last_offset < first_dirty);
    if first == pages.len() {
        return Ok(false);
    }
    let page = segments.page(range, &pages, first).await?;
    let mut batches = views(&page).map_while(Result::ok);
    let first = batches.find(|batch| batch.last_offset() >= first_dirty && batch.record_count() > 0);
    Ok(first.is_some_and(|batch| {
        let is_base = batch.timestamp_type() == TimestampType::CreateTime && !batch.has_delete_horizon();
        let first_ms = if is_base { batch.base_timestamp_ms() } else { batch.max_timestamp_ms() };
        (0..oldest_ms).contains(&first_ms)
    }))
}
