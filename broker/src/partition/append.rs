//! Ordinary appends: validate, give offsets in place, queue for the WAL.

use bytes::{Bytes, BytesMut};
use towpath_wire::batch::{
    Batch, CRC_COVERS_FROM, patch_base_offset, patch_leader_epoch, patch_log_append_time,
};

use super::producers::Written;
use super::state::State;
use super::validate::{check, refuse};
use super::wal_entry::WalEntry;
use super::{AppendError, Appended, Origin, Partition, Refusal};
use crate::metadata::config::TimestampType;
use crate::storage::{KnownCrc, WalRecord};

impl Partition {
    /// Validates all batches, gives them offsets in place and queues them for the WAL. Quick: never waits.
    pub fn append(&self, records: BytesMut, origin: Origin) -> Result<Appended, AppendError> {
        self.try_append(records, origin).map_err(|reason| self.refused(reason))
    }

    fn try_append(&self, mut records: BytesMut, origin: Origin) -> Result<Appended, Refusal> {
        let view = self.view().ok_or(Refusal::Deleted)?;
        if let Some(mirror) = view.mirror() {
            return Err(Refusal::Mirrored { link: mirror.link.clone() });
        }
        let now_ms = self.shared.env.now_ms();
        let sizes = check(&records, &view.settings, origin, now_ms)?;
        let bytes = records.len();
        self.shared.admit(bytes)?;
        let by_broker =
            origin == Origin::Client && view.settings.timestamp_type == TimestampType::LogAppendTime;
        let log_append_time_ms = by_broker.then_some(now_ms);

        let mut state = self.state.lock();
        state.usable()?;
        let original = first_batch(&records)?.map_or(Ok(None), |batch| state.log.producers.check(&batch))?;
        if let Some(original) = original {
            return Ok(duplicate(&mut state, original, log_append_time_ms));
        }
        let base_offset = state.log.log_end;
        let mut next_offset = base_offset;
        let mut position = 0;
        for size in &sizes {
            let batch = &mut records[position..position + size];
            patch_base_offset(batch, next_offset);
            patch_leader_epoch(batch, view.leader_epoch);
            if let Some(now_ms) = log_append_time_ms {
                patch_log_append_time(batch, now_ms);
            }
            next_offset = first_batch(batch)?.map_or(next_offset, |batch| batch.next_offset());
            position += size;
        }
        let mut records = records.freeze();
        for size in sizes {
            // Cut where `check` found the batches.
            let batch = Batch::new(records.split_to(size)).map_err(refuse)?;
            self.queue(&mut state, batch);
        }
        let durable = state.durable(next_offset);
        let log_start = state.log.log_start;
        // Counted before an upload can take it away again: that locks the partition first.
        self.shared.appended(bytes);
        drop(state);
        Ok(Appended {
            base_offset,
            last_offset: next_offset - 1,
            log_append_time_ms,
            log_start,
            duplicate: false,
            durable,
        })
    }

    /// Takes a batch at its final offset into the state and queues it for the WAL.
    pub(crate) fn queue(&self, state: &mut State, batch: Batch) {
        let record = WalRecord {
            head: self.batch_head.clone(),
            body: batch.bytes().clone(),
            // Verified or just computed, so that no byte is summed twice.
            body_crc: Some(KnownCrc { from: CRC_COVERS_FROM, crc: batch.crc() }),
            owner: self.me(),
            mark: batch.next_offset(),
        };
        state.log.append(&batch);
        state.log.applied_below = self.shared.wal.append(record) + 1;
        state.pushed(batch, &self.shared.env);
    }

    /// Queues a change without a batch.
    pub(crate) fn queue_entry(&self, state: &mut State, entry: &WalEntry, body: Bytes) {
        let head = entry.encode(self.name.topic_id, self.name.index);
        let record = WalRecord { head, body, body_crc: None, owner: self.me(), mark: state.log.log_end };
        state.log.applied_below = self.shared.wal.append(record) + 1;
        state.touched(&self.shared.env);
        self.shared.upload.notify_one();
    }
}

fn first_batch(records: &[u8]) -> Result<Option<Batch<&[u8]>>, Refusal> {
    towpath_wire::batch::views(records).next().transpose().map_err(refuse)
}

/// The answer to a batch that is there already: its original's, once that is durable.
fn duplicate(state: &mut State, original: Written, log_append_time_ms: Option<i64>) -> Appended {
    let durable = state.durable(original.last_offset + 1);
    Appended {
        base_offset: original.base_offset,
        last_offset: original.last_offset,
        log_append_time_ms,
        log_start: state.log.log_start,
        duplicate: true,
        durable,
    }
}
