//! What a partition remembers of its producers (Kafka's `ProducerStateManager`).

use std::collections::HashMap;

use bytes::Bytes;
use towpath_wire::batch::Batch;

use super::Refusal;

/// Batches remembered per producer: as many as a Java client keeps in flight (KIP-98).
pub(crate) const BATCHES_KEPT: usize = 5;

/// One of a producer's last batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub last_offset: i64,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub epoch: i16,
    /// Of the last marker; -1: none.
    pub coordinator_epoch: i32,
    /// Largest timestamp of the last batch, ms.
    pub last_timestamp_ms: i64,
    /// The last batches of this epoch, oldest first.
    pub written: Vec<Written>,
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer { epoch, coordinator_epoch: -1, last_timestamp_ms: -1, written: Vec::new() }
    }

    /// Last sequence number written under this epoch.
    pub fn last_sequence(&self) -> Option<i32> {
        self.written.last().map(|written| written.last_sequence)
    }
}

/// All producers of a partition, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers(pub HashMap<i64, Producer>);

impl Producers {
    /// Judges a client's batch by its sequence numbers: a duplicate (with the original), or fit to be appended.
    pub fn check<B: AsRef<[u8]>>(&self, batch: &Batch<B>) -> Result<Option<Written>, Refusal> {
        let (producer_id, epoch) = (batch.producer_id(), batch.producer_epoch());
        if producer_id < 0 {
            return Ok(None);
        }
        let Some(known) = self.0.get(&producer_id) else { return Ok(None) };
        let (first, last) = (batch.base_sequence(), batch.last_sequence());
        if epoch < known.epoch {
            return Err(Refusal::ProducerEpoch { producer_id, current: known.epoch, found: epoch });
        }
        if epoch > known.epoch {
            return match first {
                0 => Ok(None),
                found => Err(Refusal::OutOfOrderSequence { producer_id, expected: 0, found }),
            };
        }
        let original =
            known.written.iter().find(|old| old.first_sequence == first && old.last_sequence == last);
        if original.is_some() {
            return Ok(original.copied());
        }
        match known.last_sequence().map(|last| if last == i32::MAX { 0 } else { last + 1 }) {
            Some(expected) if expected != first => {
                Err(Refusal::OutOfOrderSequence { producer_id, expected, found: first })
            }
            _ => Ok(None),
        }
    }

    /// Takes note of a data batch.
    pub fn written<B: AsRef<[u8]>>(&mut self, batch: &Batch<B>) {
        let producer = self.of_epoch(batch.producer_id(), batch.producer_epoch());
        producer.last_timestamp_ms = batch.max_timestamp_ms();
        if producer.written.len() == BATCHES_KEPT {
            producer.written.remove(0);
        }
        producer.written.push(Written {
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
        });
    }

    /// Takes note of a transaction's marker.
    pub fn marked(&mut self, batch: &Batch<Bytes>) {
        let producer = self.of_epoch(batch.producer_id(), batch.producer_epoch());
        producer.last_timestamp_ms = batch.max_timestamp_ms();
        if let Some(epoch) = coordinator_epoch(batch) {
            producer.coordinator_epoch = epoch;
        }
    }

    fn of_epoch(&mut self, producer_id: i64, epoch: i16) -> &mut Producer {
        let producer = self.0.entry(producer_id).or_insert_with(|| Producer::new(epoch));
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.written.clear();
        }
        producer
    }

    /// Forgets producers without a batch since `oldest_ms`, and of more than `count_max` those idle for longest;
    /// never one that `keep` names.
    pub fn expire(&mut self, oldest_ms: i64, count_max: usize, keep: impl Fn(i64) -> bool) {
        self.0.retain(|id, producer| producer.last_timestamp_ms >= oldest_ms || keep(*id));
        if self.0.len() > count_max {
            let mut by_age: Vec<_> =
                self.0.iter().map(|(id, known)| (known.last_timestamp_ms, *id)).collect();
            by_age.sort_unstable();
            for (_, id) in by_age.into_iter().take(self.0.len() - count_max) {
                if !keep(id) {
                    self.0.remove(&id);
                }
            }
        }
    }
}

/// The coordinator's epoch in an end-transaction marker (version i16, epoch i32).
fn coordinator_epoch(batch: &Batch<Bytes>) -> Option<i32> {
    /// Markers are never compressed and hold a few bytes.
    const MARKER_BYTES_MAX: usize = 1024;
    let value = batch.records(MARKER_BYTES_MAX).ok()?.next()?.ok()?.value?;
    value.get(2..6)?.try_into().ok().map(i32::from_be_bytes)
}
