//! Offsets by timestamp (Kafka's ListOffsets): ranges and pages are chosen by their largest timestamp, then one
//! batch is decoded.

use bytes::Bytes;
use towpath_wire::batch::{Batch, split, views};

use super::{DECOMPRESSED_BYTES_MAX, Isolation, OffsetAndTime, Partition, ReadError};
use crate::metadata::SegmentRange;
use crate::storage::SegmentError;

impl Partition {
    /// The first record below the high watermark with a timestamp of at least `timestamp_ms`.
    pub async fn offset_for_time(&self, timestamp_ms: i64) -> Result<Option<OffsetAndTime>, ReadError> {
        self.look_up(timestamp_ms).await.map_err(|error| self.unreadable(self.offsets().log_start, error))
    }

    /// The first record with the largest timestamp (ListOffsets with -3).
    pub async fn max_timestamp(&self) -> Result<Option<OffsetAndTime>, ReadError> {
        let newest = self.newest().await;
        match newest.map_err(|error| self.unreadable(self.offsets().log_start, error))? {
            largest @ 0.. => self.offset_for_time(largest).await,
            _ => Ok(None),
        }
    }

    /// The largest timestamp of a record; -1: none.
    async fn newest(&self) -> Result<i64, SegmentError> {
        let mut newest = {
            let state = self.state.lock();
            let end = state.read_end(Isolation::ReadUncommitted);
            let visible = state.tail.batches().filter(|batch| batch.next_offset() <= end);
            let with_records = visible.filter(|batch| batch.record_count() > 0);
            with_records.map(Batch::max_timestamp_ms).fold(-1, i64::max)
        };
        let mut ranges = self.ranges();
        ranges.sort_by_key(|range| std::cmp::Reverse(range.max_timestamp_ms));
        for range in ranges {
            if range.max_timestamp_ms <= newest {
                break;
            }
            // What compaction has emptied still tells the time that it had, so its records are not told by headers
            // of ranges and pages alone.
            let pages = self.shared.segments.pages(&range).await?;
            let mut by_time: Vec<usize> = (0..pages.len()).collect();
            by_time.sort_by_key(|index| std::cmp::Reverse(pages[*index].max_timestamp_ms));
            for index in by_time {
                if pages[index].max_timestamp_ms <= newest {
                    break;
                }
                let bytes = self.shared.segments.page(&range, &pages, index).await?;
                let with_records =
                    views(&bytes).filter_map(Result::ok).filter(|batch| batch.record_count() > 0);
                newest = with_records.map(|batch| batch.max_timestamp_ms()).fold(newest, i64::max);
            }
        }
        Ok(newest)
    }

    async fn look_up(&self, timestamp_ms: i64) -> Result<Option<OffsetAndTime>, SegmentError> {
        let ranges = self.ranges();
        for range in ranges.iter().filter(|range| range.max_timestamp_ms >= timestamp_ms) {
            if let Some(found) = self.look_up_in(range, timestamp_ms).await? {
                return Ok(Some(found));
            }
        }
        let committed = ranges.last().map_or(i64::MIN, |range| range.last_offset + 1);
        let (start, candidates) = {
            let state = self.state.lock();
            let end = state.read_end(Isolation::ReadUncommitted);
            let tail = state.tail.from(committed).take_while(|batch| batch.next_offset() <= end);
            let later = tail.filter(|batch| batch.max_timestamp_ms() >= timestamp_ms);
            (state.log.log_start, later.cloned().collect::<Vec<_>>())
        };
        Ok(candidates.iter().find_map(|batch| record_at(batch, start, timestamp_ms)))
    }

    async fn look_up_in(
        &self,
        range: &SegmentRange,
        timestamp_ms: i64,
    ) -> Result<Option<OffsetAndTime>, SegmentError> {
        let log_start = self.offsets().log_start;
        let pages = self.shared.segments.pages(range).await?;
        for (index, page) in pages.iter().enumerate() {
            if page.max_timestamp_ms < timestamp_ms {
                continue;
            }
            let bytes: Bytes = self.shared.segments.page(range, &pages, index).await?;
            let later = split(bytes).filter_map(Result::ok);
            let mut later = later.filter(|batch| batch.max_timestamp_ms() >= timestamp_ms);
            if let Some(found) = later.find_map(|batch| record_at(&batch, log_start, timestamp_ms)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn ranges(&self) -> Vec<SegmentRange> {
        let image = self.shared.metadata.image();
        let held = image.segments(self.name.topic_id, self.name.index);
        held.map(|held| held.from(self.offsets().log_start).to_vec()).unwrap_or_default()
    }
}

/// The first record of a batch that is late enough. A batch that does not decode is answered by its base offset:
/// the reader finds out by itself.
fn record_at(batch: &Batch, log_start: i64, timestamp_ms: i64) -> Option<OffsetAndTime> {
    let leader_epoch = batch.leader_epoch();
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        let offset = batch.base_offset().max(log_start);
        return Some(OffsetAndTime { offset, timestamp_ms: batch.max_timestamp_ms(), leader_epoch });
    };
    let mut records = records.map_while(Result::ok);
    let record = records.find(|record| record.timestamp_ms >= timestamp_ms && record.offset >= log_start)?;
    Some(OffsetAndTime { offset: record.offset, timestamp_ms: record.timestamp_ms, leader_epoch })
}
