//! One pass over one partition: find the last record of each key in the part that is new, then rewrite the log up to
//! there, range by range from its start, and at last move the boundary.
//!
//! ```text
//! scan  [first dirty, end)            keys ─▶ map; the end is where the map is full, or the bound
//! clean [log start, end)   run by run: read ─▶ judge ─▶ put object ─▶ SegmentsMerged
//! CompactionAdvanced { end }
//! ```
//!
//! Each run that is committed stands for itself: what it removed has a later record of its key in the log. So a pass
//! may end anywhere; the next one begins at the same boundary and finds less to do. Runs in which nothing changes are
//! written only where they join small ranges: merging leaves what it has merged often enough, and compaction makes
//! that small again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towpath_wire::batch::{Batch, BatchError, split};

use super::cleaner::{Bounds, Cleaned, Cleaner, Counts, Known};
use super::dirty::Candidate;
use super::key_map::KeyMap;
use super::key_scan::KeyScan;
use super::pace::{Pace, Piece};
use crate::metadata::entry::{CompactionAdvanced, Entry};
use crate::metadata::{ProposeError, SegmentRange};
use crate::partition::replace::{Replaced, Replacement};
use crate::partition::{Partition, Shared, View};
use crate::storage::{PageInfo, SegmentError, stretches};

/// Why a pass ended before its end. What it had committed stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupted {
    /// Retention, DeleteRecords, a merge or the topic's deletion came first.
    #[error("its segments changed meanwhile")]
    Changed,
    /// The store or the metadata failed.
    #[error("{0}")]
    Failed(String),
    /// More would stay of a segment than may be held until it is written.
    #[error("more than {bytes_max} bytes stay of the segment at offset {offset} (compact_range_bytes_max)")]
    TooLarge {
        /// Where it begins.
        offset: i64,
        /// The bound.
        bytes_max: usize,
    },
    /// What is there can't be read: nothing of this partition may be compacted.
    #[error("at offset {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}

/// A pass that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The boundary now.
    pub compacted_to: i64,
    pub counts: Counts,
    /// The map was full: the next pass has more to do.
    pub is_full: bool,
}

/// One pass.
pub(super) struct Pass {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    pace: Pace,
    /// Of the whole partition, from its log start on.
    ranges: Vec<SegmentRange>,
    candidate: (i64, i64),
}

/// Work on the bytes of pages; an error says at which offset.
type Job<S, T> = fn(&mut S, Vec<Bytes>) -> Result<T, (i64, BatchError)>;

/// Neighbouring ranges that become one.
#[derive(Default)]
struct Run {
    ranges: Vec<SegmentRange>,
    batches: Vec<Batch>,
    bytes: usize,
    is_changed: bool,
}

/// What the judge says of a range.
#[derive(Default)]
struct CleanRange {
    batches: Vec<Batch>,
    bytes: usize,
    is_changed: bool,
}

impl Pass {
    /// Of a partition that was looked at.
    pub fn new(candidate: &Candidate) -> Pass {
        let Candidate { partition, first_dirty, bound, .. } = candidate;
        let shared = partition.shared.clone();
        let log_start = partition.offsets().log_start;
        let image = shared.metadata.image();
        let held = image.segments(partition.name.topic_id, partition.name.index);
        let ranges = held.map(|held| held.from(log_start).to_vec()).unwrap_or_default();
        let pace = Pace::new(shared.env.clone(), shared.config.compact_bytes_per_second_max);
        Pass { shared, partition: partition.clone(), pace, ranges, candidate: (*first_dirty, *bound) }
    }

    /// Runs it. May be dropped anywhere.
    pub async fn run(self) -> Result<Done, Interrupted> {
        let view = self.compacted_view()?;
        let known = {
            let state = self.partition.state.lock();
            Arc::new(Known::new(state.log.transactions.aborted(), &state.log.producers))
        };
        let scan = self.scan(known.clone()).await?;
        let (end, is_full) = (scan.end(), scan.is_full());
        let (first_dirty, bound) = self.candidate;
        if end == first_dirty {
            // A gap without a batch.
            self.advance(bound).await?;
            return Ok(Done { compacted_to: bound, counts: Counts::default(), is_full: false });
        }
        let bounds = Bounds {
            end,
            now_ms: self.shared.env.now_ms(),
            delete_retention_ms: view.settings.delete_retention_ms,
        };
        let cleaner = self.clean(Cleaner::new(bounds, known, scan.into_map())).await?;
        let counts = cleaner.counts();
        self.partition.forget_aborted(&cleaner.forgotten());
        self.shared.metrics.compaction.map_bytes.set(0);
        self.advance(end).await?;
        if counts.records_kept < counts.records_read {
            // Or memory would go on giving what is gone.
            self.partition.drop_tail_before(end);
        }
        Ok(Done { compacted_to: end, counts, is_full })
    }

    /// The partition's part of the image, as long as it says that this topic is to be compacted, and by us. A pass
    /// takes long; what it has left out until somebody changed the policy is gone, the rest stays.
    fn compacted_view(&self) -> Result<Arc<View>, Interrupted> {
        let view = self.partition.view();
        let view = view.filter(|view| view.settings.cleanup.compact && view.mirror().is_none());
        view.ok_or(Interrupted::Changed)
    }

    async fn scan(&self, known: Arc<Known>) -> Result<KeyScan, Interrupted> {
        let (first_dirty, bound) = self.candidate;
        let dirty = || self.ranges.iter().filter(|range| range.last_offset >= first_dirty);
        let offsets = dirty().take_while(|range| range.base_offset < bound);
        let keys: i64 = offsets.map(|range| range.last_offset - range.base_offset + 1).sum();
        let mut hash_key = [0; blake3::KEY_LEN];
        self.shared.env.fill(&mut hash_key);
        let map = KeyMap::new(self.shared.config.compact_map_bytes_max, keys as usize, hash_key);
        self.shared.metrics.compaction.map_bytes.set(map.bytes() as i64);
        let mut scan = KeyScan::new(known, map, self.candidate);
        for range in dirty() {
            let pages = self.pages(range).await?;
            let from = pages.partition_point(|page| page.last_offset < first_dirty);
            for chunk in stretches(&pages[from..], self.shared.config.read_ahead_bytes as u64) {
                let bytes = self.read(range, chunk).await?;
                let goes_on;
                (scan, goes_on) = self.work(chunk, bytes, scan, scan_pages).await?;
                if !goes_on {
                    return Ok(scan);
                }
            }
        }
        Ok(scan)
    }

    async fn clean(&self, mut cleaner: Cleaner) -> Result<Cleaner, Interrupted> {
        let end = cleaner.end();
        let config = &self.shared.config;
        let mut run = Run::default();
        for range in self.ranges.iter().take_while(|range| range.base_offset < end) {
            let cleaned;
            (cleaner, cleaned) = self.clean_range(range, cleaner, &mut run).await?;
            let is_small = (range.length as usize) < config.merge_run_bytes / 2;
            let goes_along = cleaned.is_changed || is_small;
            // A run without a batch would leave an object of nothing: it takes its neighbour along.
            if run.bytes > 0 && (!goes_along || run.bytes + cleaned.bytes > config.compact_object_bytes_max) {
                self.commit(std::mem::take(&mut run)).await?;
            }
            if goes_along || !run.ranges.is_empty() {
                run.ranges.push(*range);
                run.batches.extend(cleaned.batches);
                run.bytes += cleaned.bytes;
                run.is_changed |= cleaned.is_changed;
            }
            self.shared.metrics.compaction.buffered_bytes.set(run.bytes as i64);
        }
        self.commit(run).await?;
        Ok(cleaner)
    }

    /// What is left of a range. The run before it is written as soon as both do not fit together.
    async fn clean_range(
        &self,
        range: &SegmentRange,
        mut cleaner: Cleaner,
        run: &mut Run,
    ) -> Result<(Cleaner, CleanRange), Interrupted> {
        let config = &self.shared.config;
        let mut whole = CleanRange::default();
        let pages = self.pages(range).await?;
        for chunk in stretches(&pages, config.read_ahead_bytes as u64) {
            let bytes = self.read(range, chunk).await?;
            let part;
            (cleaner, part) = self.work(chunk, bytes, cleaner, clean_pages).await?;
            whole.is_changed |= part.is_changed;
            whole.bytes += part.bytes;
            whole.batches.extend(part.batches);
            let bytes_max = config.compact_range_bytes();
            if whole.bytes > bytes_max {
                return Err(Interrupted::TooLarge { offset: range.base_offset, bytes_max });
            }
            if run.bytes > 0 && run.bytes + whole.bytes > config.compact_object_bytes_max {
                self.commit(std::mem::take(run)).await?;
            }
            self.shared.metrics.compaction.buffered_bytes.set((run.bytes + whole.bytes) as i64);
        }
        Ok((cleaner, whole))
    }

    /// Works on pages where it disturbs nobody, then rests.
    async fn work<S: Send + 'static, T: Send + 'static>(
        &self,
        pages: &[PageInfo],
        bytes: Vec<Bytes>,
        mut state: S,
        job: Job<S, T>,
    ) -> Result<(S, T), Interrupted> {
        let began = self.shared.env.elapsed();
        let size = bytes.iter().map(Bytes::len).sum::<usize>() as u64;
        let worked =
            tokio::task::spawn_blocking(move || job(&mut state, bytes).map(|result| (state, result)));
        let first = pages.first().map_or(0, |page| page.base_offset);
        let damaged = |offset: i64, reason| Interrupted::Damaged { offset: offset.max(first), reason };
        let worked = worked.await.map_err(|panic| damaged(first, format!("bug: {panic}")))?;
        let worked = worked.map_err(|(offset, error)| damaged(offset, error.to_string()))?;
        let busy = self.shared.env.elapsed() - began;
        self.pace.rest(Piece { bytes: size, took: busy, busy }).await;
        Ok(worked)
    }

    async fn pages(&self, range: &SegmentRange) -> Result<Arc<[PageInfo]>, Interrupted> {
        let pages = self.shared.segments.pages(range).await;
        pages.map_err(|error| self.unreadable(range, range.base_offset, error))
    }

    async fn read(&self, range: &SegmentRange, pages: &[PageInfo]) -> Result<Vec<Bytes>, Interrupted> {
        let read = self.shared.segments.pages_uncached(range, pages).await;
        let offset = pages.first().map_or(range.base_offset, |page| page.base_offset);
        read.map_err(|error| self.unreadable(range, offset, error))
    }

    fn unreadable(&self, range: &SegmentRange, offset: i64, error: SegmentError) -> Interrupted {
        let reason = error.to_string();
        match error {
            SegmentError::Store { .. } => Interrupted::Failed(reason),
            SegmentError::Gone { .. } if !self.is_current(range) => Interrupted::Changed,
            SegmentError::Gone { .. } | SegmentError::Damaged { .. } => {
                Interrupted::Damaged { offset, reason }
            }
        }
    }

    fn is_current(&self, range: &SegmentRange) -> bool {
        let image = self.shared.metadata.image();
        let held = image.segments(range.topic_id, range.partition);
        held.is_some_and(|held| held.ranges().contains(range))
    }

    /// Puts a run's object and has it take the place of the run's ranges.
    async fn commit(&self, run: Run) -> Result<(), Interrupted> {
        if !run.is_changed && run.ranges.len() < 2 {
            return Ok(());
        }
        self.compacted_view()?;
        let began = self.shared.env.elapsed();
        let image = self.shared.metadata.image();
        let generation = run.ranges.iter().filter_map(|range| image.objects.get(&range.object));
        let generation = generation.map(|held| held.generation).max().unwrap_or_default();
        let mut replacement = Replacement::new(&self.shared, generation);
        replacement.add_batches(&run.ranges, run.batches);
        let written = self.shared.write(replacement).await;
        match self.shared.commit(vec![written]).await.as_slice() {
            [Replaced::Taken { .. }] => {}
            [Replaced::Closed] => return Err(Interrupted::Failed("the broker stops".to_owned())),
            _ => return Err(Interrupted::Changed),
        }
        self.shared.metrics.compaction.buffered_bytes.set(0);
        let took = self.shared.env.elapsed() - began;
        self.pace.rest(Piece { bytes: run.bytes as u64, took, busy: Duration::ZERO }).await;
        Ok(())
    }

    /// All below is compacted. When this fails, the next pass begins where this one did and changes nothing.
    async fn advance(&self, offset: i64) -> Result<(), Interrupted> {
        let (topic_id, partition) = (self.partition.name.topic_id, self.partition.name.index);
        let entry = CompactionAdvanced { topic_id, partition, offset };
        match self.shared.metadata.propose(Entry::CompactionAdvanced(entry)).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Rejected(_)) => Err(Interrupted::Changed),
            Err(error) => Err(Interrupted::Failed(error.to_string())),
        }
    }
}

fn each_batch(
    pages: Vec<Bytes>,
    mut each: impl FnMut(Batch) -> Result<bool, BatchError>,
) -> Result<bool, (i64, BatchError)> {
    let mut offset = 0;
    for page in pages {
        for batch in split(page) {
            let batch = batch.map_err(|error| (offset, error))?;
            offset = batch.base_offset();
            if !each(batch).map_err(|error| (offset, error))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn scan_pages(scan: &mut KeyScan, pages: Vec<Bytes>) -> Result<bool, (i64, BatchError)> {
    each_batch(pages, |batch| scan.add(&batch))
}

fn clean_pages(cleaner: &mut Cleaner, pages: Vec<Bytes>) -> Result<CleanRange, (i64, BatchError)> {
    let mut cleaned = CleanRange::default();
    each_batch(pages, |batch| {
        let stays = match cleaner.clean(&batch)? {
            // A copy: a slice would keep all of what was read with it in memory.
            Cleaned::Kept => Some(Bytes::copy_from_slice(batch.bytes())),
            Cleaned::Rewritten(bytes) => Some(bytes),
            Cleaned::Dropped => None,
        };
        cleaned.is_changed |= stays.as_ref() != Some(batch.bytes());
        cleaned.bytes += stays.as_ref().map_or(0, Bytes::len);
        cleaned.batches.extend(stays.map(Batch::new).transpose()?);
        Ok(true)
    })?;
    Ok(cleaned)
}
