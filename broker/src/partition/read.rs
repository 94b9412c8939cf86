//! Reads: from the tail in memory, or from segments through the block cache. Never a hole.

use bytes::Bytes;
use towpath_wire::batch::Batch;

use super::{Isolation, Partition, ReadError, ReadLimits, ReadResult};
use crate::storage::SegmentError;

/// How often a read begins anew because a segment was merged or expired under it.
const ATTEMPTS_MAX: usize = 5;

/// What the lock told a read.
enum Plan {
    Done(ReadResult),
    /// Older than what is in memory; read up to this offset.
    Segments(i64),
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
            let end = match self.plan(from, limits, isolation)? {
                Plan::Done(result) => return Ok(result),
                Plan::Segments(end) => end,
            };
            attempts += 1;
            match self.read_segments(from, end, limits).await {
                Ok(batches) if batches.is_empty() => {
                    // Nothing but a gap up to the tail (or the limit does not take one batch).
                    return Ok(self.from_tail(from, limits, isolation));
                }
                Ok(batches) => return Ok(self.result(from, batches, isolation)),
                // Deleted or merged meanwhile: look again.
                Err(SegmentError::Gone { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(self.unreadable(from, error)),
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
        if from < state.tail.start() && from < end {
            return Ok(Plan::Segments(end));
        }
        drop(state);
        Ok(Plan::Done(self.from_tail(from, limits, isolation)))
    }

    fn from_tail(&self, from: i64, limits: ReadLimits, isolation: Isolation) -> ReadResult {
        let state = self.state.lock();
        let batches = state.tail.read(from, state.read_end(isolation), limits);
        drop(state);
        let result = self.result(from, batches.into_iter().map(Batch::into_bytes).collect(), isolation);
        self.shared.metrics.read_bytes.with_label_values(&["tail"]).inc_by(result.size_bytes() as u64);
        result
    }

    async fn read_segments(
        &self,
        from: i64,
        end: i64,
        mut limits: ReadLimits,
    ) -> Result<Vec<Bytes>, SegmentError> {
        let image = self.shared.metadata.image();
        let Some(held) = image.segments(self.name.topic_id, self.name.index) else { return Ok(Vec::new()) };
        let mut batches = Vec::new();
        for range in held.from(from).iter().take_while(|range| range.base_offset < end) {
            let read = self.shared.segments.read(range, from, end, limits).await?;
            let bytes: usize = read.batches.iter().map(Bytes::len).sum();
            batches.extend(read.batches);
            limits.bytes_max = limits.bytes_max.saturating_sub(bytes);
            limits.at_least_one &= batches.is_empty();
            if read.limited || limits.bytes_max == 0 {
                break;
            }
        }
        let bytes: usize = batches.iter().map(Bytes::len).sum();
        self.shared.metrics.read_bytes.with_label_values(&["segment"]).inc_by(bytes as u64);
        Ok(batches)
    }

    /// The first batch that ends at or behind `at`, durable or not.
    pub(crate) async fn held_at(&self, at: i64) -> Result<Option<Batch>, SegmentError> {
        {
            let state = self.state.lock();
            if at >= state.tail.start() {
                return Ok(state.tail.from(at).next().cloned());
            }
        }
        let one = ReadLimits { bytes_max: 0, at_least_one: true };
        let read = self.read_segments(at, i64::MAX, one).await?;
        let found = read.into_iter().next().and_then(|bytes| Batch::new(bytes).ok());
        Ok(found.or_else(|| self.state.lock().tail.from(at).next().cloned()))
    }

    fn result(&self, from: i64, batches: Vec<Bytes>, isolation: Isolation) -> ReadResult {
        let state = self.state.lock();
        let offsets = state.offsets();
        let aborted = match (isolation, batches.last().and_then(|bytes| last_offset(bytes))) {
            (Isolation::ReadCommitted, Some(last)) => state.log.transactions.aborted_in(from, last + 1),
            _ => Vec::new(),
        };
        ReadResult {
            batches,
            high_watermark: offsets.high_watermark,
            last_stable: offsets.last_stable,
            log_start: offsets.log_start,
            aborted,
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

/// Offset of the last record in a run of whole batches.
fn last_offset(batches: &Bytes) -> Option<i64> {
    towpath_wire::batch::views(batches).filter_map(Result::ok).last().map(|batch| batch.last_offset())
}
