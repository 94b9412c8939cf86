//! What compaction makes of each batch: pure, batch by batch, in the order of offsets.
//!
//! The rules are Apache Kafka's (`Cleaner.cleanInto`, `CleanedTransactionMetadata`, KIP-98, KIP-534):
//!
//! - Below [`Bounds::end`] the last record of each key stays, but a tombstone only until its delete horizon. What
//!   lies at or behind the end stays as it is, byte for byte.
//! - A record without a key goes: it can't be overwritten, and a compacted topic takes none.
//! - The first time that a tombstone stays, or a marker whose transaction has no batch left, its batch gets a delete
//!   horizon: now and `delete.retention.ms`.
//! - The records of aborted transactions go at once. A marker goes when no batch of its transaction is left and
//!   its horizon has passed.
//! - The last batch of each live producer stays even without records, so that its sequence can be told from the
//!   log, and so does the last batch below the end, so that readers get past what is gone behind it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use towpath_wire::batch::{Batch, BatchError, ControlKind};

use super::key_map::KeyMap;
use crate::partition::DECOMPRESSED_BYTES_MAX;
use crate::partition::producers::Producers;
use crate::transaction::Aborted;

/// How far a pass goes, and by which clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Where a batch begins or the log ends: only what lies below is compacted.
    pub end: i64,
    /// UTC ms.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
}

/// What the partition knows of its producers and transactions at the beginning of a pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The aborted transactions of each producer, as `(first offset, marker)`.
    aborted: HashMap<i64, Vec<(i64, i64)>>,
    /// The last batch of each live producer.
    last: HashMap<i64, LastBatch>,
}

#[derive(Clone, Copy, Debug)]
enum LastBatch {
    /// A data batch that ends at this offset.
    Data(i64),
    /// None under this epoch: then any marker of it.
    Marker(i16),
}

impl Known {
    /// As the partition's state tells it.
    pub fn new<'a>(aborted: impl Iterator<Item = &'a Aborted>, producers: &Producers) -> Known {
        let mut known = Known::default();
        for one in aborted {
            known.aborted.entry(one.producer_id).or_default().push((one.first_offset, one.last_offset));
        }
        known.last.extend(producers.0.iter().map(|(id, producer)| {
            let data = producer.written.last().map(|written| LastBatch::Data(written.last_offset));
            (*id, data.unwrap_or(LastBatch::Marker(producer.epoch)))
        }));
        known
    }

    /// Whether a data batch belongs to an aborted transaction.
    pub fn is_aborted(&self, batch: &Batch) -> bool {
        let offset = batch.base_offset();
        let of_producer = self.aborted.get(&batch.producer_id()).filter(|_| batch.is_transactional());
        of_producer.is_some_and(|all| {
            // One producer's transactions follow each other.
            let after = all.partition_point(|(first, _)| *first <= offset);
            after > 0 && all[after - 1].1 >= offset
        })
    }

    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        match self.last.get(&batch.producer_id()) {
            _ if batch.producer_id() < 0 => false,
            Some(LastBatch::Data(offset)) => batch.last_offset() == *offset,
            Some(LastBatch::Marker(epoch)) => batch.is_control() && batch.producer_epoch() == *epoch,
            None => false,
        }
    }
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// It stays, byte for byte.
    Kept,
    /// It stays with fewer records, or with a delete horizon.
    Rewritten(Bytes),
    /// It goes.
    Dropped,
}

/// Records and bytes of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub records_read: u64,
    pub records_kept: u64,
    /// Of those that went: records without a key.
    pub records_without_key: u64,
    pub bytes_read: u64,
    pub bytes_kept: u64,
}

/// Compacts one partition's batches, which come in the order of their offsets from the log start on.
pub(super) struct Cleaner {
    bounds: Bounds,
    known: Arc<Known>,
    map: KeyMap,
    /// Producers of whose current transaction a batch stays.
    left: HashSet<i64>,
    /// The abort markers that stay.
    abort_markers: HashSet<i64>,
    counts: Counts,
}

/// What the rules say of a batch's records.
struct Verdict {
    keep: Vec<bool>,
    kept: usize,
    /// A tombstone stays, or a marker without a transaction.
    is_mortal: bool,
}

impl Cleaner {
    /// With the last offset of each key below the end.
    pub fn new(bounds: Bounds, known: Arc<Known>, map: KeyMap) -> Cleaner {
        Cleaner {
            bounds,
            known,
            map,
            left: HashSet::new(),
            abort_markers: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// Only what lies below is compacted.
    pub fn end(&self) -> i64 {
        self.bounds.end
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The aborted transactions of which nothing is left, as producer and marker, once all batches were judged.
    pub fn forgotten(&self) -> Vec<(i64, i64)> {
        let all = self
            .known
            .aborted
            .iter()
            .flat_map(|(id, of_producer)| of_producer.iter().map(|(_, marker)| (*id, *marker)));
        all.filter(|(_, marker)| *marker < self.bounds.end && !self.abort_markers.contains(marker)).collect()
    }

    /// Judges the next batch. Fails when it is damaged: then nothing may be compacted here.
    pub fn clean(&mut self, batch: &Batch) -> Result<Cleaned, BatchError> {
        let (records, bytes) = (u64::try_from(batch.record_count()).unwrap_or(0), batch.size_bytes() as u64);
        self.counts.records_read += records;
        self.counts.bytes_read += bytes;
        let cleaned = match batch.base_offset() < self.bounds.end {
            true if batch.is_control() => self.clean_marker(batch)?,
            true => self.clean_data(batch)?,
            false => Cleaned::Kept,
        };
        let (records, bytes) = match &cleaned {
            Cleaned::Kept => (records, bytes),
            Cleaned::Rewritten(bytes) => {
                let kept = Batch::new(bytes.as_ref())?.record_count();
                (u64::try_from(kept).unwrap_or(0), bytes.len() as u64)
            }
            Cleaned::Dropped => (0, 0),
        };
        self.counts.records_kept += records;
        self.counts.bytes_kept += bytes;
        Ok(cleaned)
    }

    fn clean_data(&mut self, batch: &Batch) -> Result<Cleaned, BatchError> {
        let cleaned = if self.known.is_aborted(batch) {
            batch.check_crc()?;
            self.without_records(batch)
        } else {
            let open = batch.open(DECOMPRESSED_BYTES_MAX)?;
            let is_over = self.is_past_horizon(batch);
            let mut verdict = Verdict { keep: Vec::new(), kept: 0, is_mortal: false };
            for record in open.records() {
                let record = record?;
                self.counts.records_without_key += u64::from(record.key.is_none());
                let is_last = |key| self.map.get(key).is_none_or(|last| record.offset >= last);
                let stays = record.key.is_some_and(is_last) && !(record.is_tombstone && is_over);
                verdict.keep.push(stays);
                verdict.kept += usize::from(stays);
                verdict.is_mortal |= stays && record.is_tombstone;
            }
            match verdict.kept {
                0 => self.without_records(batch),
                _ => self.rebuilt(batch, &open, &verdict)?,
            }
        };
        if batch.is_transactional() && cleaned != Cleaned::Dropped {
            self.left.insert(batch.producer_id());
        }
        Ok(cleaned)
    }

    fn clean_marker(&mut self, batch: &Batch) -> Result<Cleaned, BatchError> {
        let open = batch.open(DECOMPRESSED_BYTES_MAX)?;
        // One that lost its record has been judged before.
        if batch.record_count() == 0 {
            return Ok(self.without_records(batch));
        }
        let Some(kind @ (ControlKind::Abort | ControlKind::Commit)) = batch.control_kind() else {
            return Ok(Cleaned::Kept);
        };
        let has_batches = self.left.remove(&batch.producer_id());
        if !has_batches && self.is_past_horizon(batch) {
            return Ok(self.without_records(batch));
        }
        if kind == ControlKind::Abort {
            self.abort_markers.insert(batch.last_offset());
        }
        let keep = open.records().map(|record| record.map(|_| true)).collect::<Result<Vec<_>, _>>()?;
        let kept = keep.len();
        self.rebuilt(batch, &open, &Verdict { keep, kept, is_mortal: !has_batches })
    }

    fn is_past_horizon(&self, batch: &Batch) -> bool {
        batch.has_delete_horizon() && batch.base_timestamp_ms() <= self.bounds.now_ms
    }

    /// A batch of which no record stays.
    fn without_records(&self, batch: &Batch) -> Cleaned {
        let is_last = batch.next_offset() >= self.bounds.end || self.known.is_last_of_producer(batch);
        match is_last {
            true if batch.record_count() == 0 => Cleaned::Kept,
            true => Cleaned::Rewritten(batch.emptied()),
            false => Cleaned::Dropped,
        }
    }

    fn rebuilt(
        &self,
        batch: &Batch,
        open: &towpath_wire::batch::OpenBatch,
        verdict: &Verdict,
    ) -> Result<Cleaned, BatchError> {
        let needs_horizon = verdict.is_mortal && !batch.has_delete_horizon();
        if verdict.kept == verdict.keep.len() && !needs_horizon {
            return Ok(Cleaned::Kept);
        }
        let horizon_ms = self.bounds.now_ms.saturating_add(self.bounds.delete_retention_ms);
        open.rebuild(&verdict.keep, needs_horizon.then_some(horizon_ms)).map(Cleaned::Rewritten)
    }
}
