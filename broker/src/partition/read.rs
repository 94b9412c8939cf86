//! Reads: from the tail in memory, or from segments through the block cache. Never a hole.

use std::collections::HashMap;

use bytes::Bytes;
use towpath_wire::batch::{Batch, views};

use super::{AbortedTransaction, Isolation, Partition, ReadError, ReadLimits, ReadResult, State};
use crate::storage::{SegmentError, SegmentRead};
use crate::transaction::TransactionIndex;

/// How often a read begins anew because a segment was merged or expired under it.
const ATTEMPTS_MAX: usize = 5;

/// What the lock told a read.
enum Plan {
    Done(ReadResult),
    /// Older than what is in memory.
    Segments(Older),
}

/// What a read of segments rests on.
#[derive(Clone, Copy)]
struct Older {
    /// Read up to this offset.
    end: i64,
    /// Where memory began when the lock was held: what lies below is in segments.
    tail_start: i64,
    /// [`State::aborted_forgotten`] when the lock was held.
    aborted_forgotten: u64,
}

impl Partition {
    /// Whole batches from the one that holds `from` (or the next one) on, up to the isolation's bound. Empty when
    /// `from` is at or above that bound.
    pub async fn read(
        &self,
        from: i64,
        limits: ReadLimits,
        isolation: Isolation,
    ) -> Result<ReadResult, ReadError> {
        let mut attempts = 0;
        loop {
            let older = match self.plan(from, limits, isolation)? {
                Plan::Done(result) => return Ok(result),
                Plan::Segments(older) => older,
            };
            let read = match self.read_segments(from, older.end, limits).await {
                Ok(read) => read,
                // Deleted or merged meanwhile: look again.
                Err(SegmentError::Gone { .. }) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    continue;
                }
                Err(error) => return Err(self.unreadable(from, error)),
            };
            // Empty and limited: the next batch is there, but too large or not yet to be read.
            if !read.batches.is_empty() || read.limited {
                let state = self.state.lock();
                // Compaction forgot an aborted transaction meanwhile: these batches may still hold its records.
                if state.aborted_forgotten != older.aborted_forgotten {
                    continue;
                }
                return Ok(result(&state, from, read.batches, isolation));
            }
            // Nothing but a gap up to the tail, if that still begins where it did.
            if let Some(found) = self.tail_behind_gap(from, older, limits, isolation) {
                return Ok(found);
            }
        }
    }

    fn plan(&self, from: i64, limits: ReadLimits, isolation: Isolation) -> Result<Plan, ReadError> {
        let state = self.state.lock();
        let offsets = state.offsets();
        if from < offsets.log_start || from > offsets.log_end {
            return Err(ReadError::OffsetOutOfRange {
                partition: self.name.clone(),
                offset: from,
                log_start: offsets.log_start,
                high_watermark: offsets.high_watermark,
            });
        }
        let end = state.read_end(isolation);
        let tail_start = state.tail.start();
        if from < tail_start && from < end {
            let aborted_forgotten = state.aborted_forgotten;
            return Ok(Plan::Segments(Older { end, tail_start, aborted_forgotten }));
        }
        // Under the same lock: an upload may move the tail's start past `from` as soon as it is released.
        let batches = self.counted(state.tail.read(from, end, limits));
        Ok(Plan::Done(result(&state, from, batches, isolation)))
    }

    /// The tail's batches up to the end that was planned with; `None` when an upload moved the tail's start.
    fn tail_behind_gap(
        &self,
        from: i64,
        older: Older,
        limits: ReadLimits,
        isolation: Isolation,
    ) -> Option<ReadResult> {
        let state = self.state.lock();
        if state.tail.start() != older.tail_start {
            return None;
        }
        let batches = self.counted(state.tail.read(from, older.end, limits));
        Some(result(&state, from, batches, isolation))
    }

    /// Batches of the tail as what is sent, counted.
    fn counted(&self, batches: Vec<Batch>) -> Vec<Bytes> {
        let bytes: usize = batches.iter().map(Batch::size_bytes).sum();
        self.shared.metrics.read_bytes.with_label_values(&["tail"]).inc_by(bytes as u64);
        batches.into_iter().map(Batch::into_bytes).collect()
    }

    async fn read_segments(
        &self,
        from: i64,
        end: i64,
        mut limits: ReadLimits,
    ) -> Result<SegmentRead, SegmentError> {
        let image = self.shared.metadata.image();
        let mut all = SegmentRead::default();
        let Some(held) = image.segments(self.name.topic_id, self.name.index) else { return Ok(all) };
        for range in held.from(from).iter().take_while(|range| range.base_offset < end) {
            let read = self.shared.segments.read(range, from, end, limits).await?;
            let bytes: usize = read.batches.iter().map(Bytes::len).sum();
            all.batches.extend(read.batches);
            limits.bytes_max = limits.bytes_max.saturating_sub(bytes);
            limits.at_least_one &= all.batches.is_empty();
            all.limited = read.limited;
            if read.limited || (limits.bytes_max == 0 && !all.batches.is_empty()) {
                break;
            }
        }
        let bytes: usize = all.batches.iter().map(Bytes::len).sum();
        self.shared.metrics.read_bytes.with_label_values(&["segment"]).inc_by(bytes as u64);
        Ok(all)
    }

    /// The first batch that ends at or behind `at`, durable or not.
    pub(crate) async fn held_at(&self, at: i64) -> Result<Option<Batch>, SegmentError> {
        loop {
            let tail_start = {
                let state = self.state.lock();
                if at >= state.tail.start() {
                    return Ok(state.tail.from(at).next().cloned());
                }
                state.tail.start()
            };
            let one = ReadLimits { bytes_max: 0, at_least_one: true };
            let read = self.read_segments(at, i64::MAX, one).await?;
            if let Some(bytes) = read.batches.into_iter().next() {
                return Ok(Batch::new(bytes).ok());
            }
            let state = self.state.lock();
            if state.tail.start() == tail_start {
                return Ok(state.tail.from(at).next().cloned());
            }
        }
    }

    pub(crate) fn unreadable(&self, offset: i64, error: SegmentError) -> ReadError {
        let log_start = self.offsets().log_start;
        if offset < log_start {
            let high_watermark = self.offsets().high_watermark;
            return ReadError::OffsetOutOfRange {
                partition: self.name.clone(),
                offset,
                log_start,
                high_watermark,
            };
        }
        tracing::error!(partition = %self.name, offset, %error, "a segment could not be read");
        match error {
            SegmentError::Store { reason, .. } => {
                ReadError::Store { partition: self.name.clone(), offset, reason }
            }
            SegmentError::Gone { object } => ReadError::Damaged {
                partition: self.name.clone(),
                offset,
                object,
                reason: "the object is missing".to_owned(),
            },
            SegmentError::Damaged { object, reason } => {
                ReadError::Damaged { partition: self.name.clone(), offset, object, reason }
            }
        }
    }
}

fn result(state: &State, from: i64, batches: Vec<Bytes>, isolation: Isolation) -> ReadResult {
    let offsets = state.offsets();
    let aborted = match isolation {
        Isolation::ReadCommitted => aborted_among(&state.log.transactions, from, &batches),
        Isolation::ReadUncommitted => Vec::new(),
    };
    ReadResult {
        batches,
        high_watermark: offsets.high_watermark,
        last_stable: offsets.last_stable,
        log_start: offsets.log_start,
        aborted,
    }
}

/// The aborted transactions of which something is among these batches.
pub(super) fn aborted_among(
    transactions: &TransactionIndex,
    from: i64,
    batches: &[Bytes],
) -> Vec<AbortedTransaction> {
    let Some(last) = batches.last().and_then(last_offset) else { return Vec::new() };
    if transactions.aborted().next().is_none() {
        return Vec::new();
    }
    let mut read = HashMap::<i64, Vec<i64>>::new();
    for batch in batches.iter().flat_map(|bytes| views(bytes)).filter_map(Result::ok) {
        // A marker that lost its record ends nothing any more.
        let is_told = batch.is_transactional() && !(batch.is_control() && batch.record_count() == 0);
        if is_told {
            read.entry(batch.producer_id()).or_default().push(batch.base_offset());
        }
    }
    transactions.aborted_in(from, last + 1, |aborted| {
        let of_producer = read.get(&aborted.producer_id);
        let next =
            of_producer.and_then(|all| all.get(all.partition_point(|base| *base < aborted.first_offset)));
        next.is_some_and(|base| *base <= aborted.last_offset)
    })
}

/// Offset of the last record in a run of whole batches.
fn last_offset(batches: &Bytes) -> Option<i64> {
    views(batches).filter_map(Result::ok).last().map(|batch| batch.last_offset())
}
