//! Random logs, with transactions, tombstones, codecs, headers and gaps; random passes over them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use towpath_wire::batch::{Batch, BatchBuilder, Codec, ControlKind, RecordView};

use super::super::cleaner::{Bounds, Cleaned, Cleaner, Known};
use super::super::key_map::{ENTRY_BYTES, KeyMap};
use super::super::key_scan::KeyScan;
use crate::partition::AbortedTransaction;
use crate::partition::log_state::LogState;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const RETENTION_MS: i64 = 100;

/// One batch, by its recipe.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Data {
        /// Producers 0 to 2 write transactions, 3 is idempotent, 4 is nobody.
        producer: i64,
        /// Keys (0: none) and whether there is a value.
        records: Vec<(u8, bool)>,
        codec: usize,
        gap: i64,
    },
    Marker {
        producer: i64,
        is_abort: bool,
    },
}

pub(super) fn given() -> impl Strategy<Value = Given> {
    let records = proptest::collection::vec((0_u8..8, proptest::bool::weighted(0.7)), 1..5);
    let data = (0_i64..5, records, 0_usize..5, 0_i64..3)
        .prop_map(|(producer, records, codec, gap)| Given::Data { producer, records, codec, gap });
    let marker =
        (0_i64..3, any::<bool>()).prop_map(|(producer, is_abort)| Given::Marker { producer, is_abort });
    prop_oneof![4 => data, 1 => marker]
}

/// The batches that a leader would have written, and what it knows after them.
pub(super) fn written(given: &[Given]) -> (Vec<Batch>, LogState) {
    let mut log = LogState::default();
    let mut sequences = HashMap::<i64, i32>::new();
    let mut batches = Vec::new();
    for (number, one) in given.iter().enumerate() {
        let time_ms = 1_000 + number as i64;
        let bytes = match one {
            Given::Data { producer, records, codec, gap } => {
                let mut builder = BatchBuilder::new(log.log_end + gap).leader_epoch(3).codec(CODECS[*codec]);
                if *producer < 4 {
                    let sequence = sequences.entry(*producer).or_default();
                    builder = builder.producer(*producer, 0, *sequence);
                    *sequence += records.len() as i32;
                }
                if *producer < 3 {
                    builder = builder.transactional();
                }
                for (index, (key, has_value)) in records.iter().enumerate() {
                    let value = format!("{number}-{index}");
                    let value = has_value.then_some(value.as_bytes());
                    let key = [*key];
                    builder.append(
                        time_ms + index as i64,
                        (key[0] != 0).then_some(&key),
                        value,
                        &[(b"h", value)],
                    );
                }
                builder.build().unwrap()
            }
            Given::Marker { producer, is_abort } => {
                let kind = if *is_abort { ControlKind::Abort } else { ControlKind::Commit };
                BatchBuilder::end_transaction(log.log_end, kind, (*producer, 0), 1, time_ms).build().unwrap()
            }
        };
        let batch = Batch::new(bytes.freeze()).unwrap();
        log.append(&batch);
        batches.push(batch);
    }
    log.transactions.advance(log.log_end);
    (batches, log)
}

/// One pass as the task makes it; the batches after it, and where it ended.
pub(super) fn pass(
    batches: &[Batch],
    log: &mut LogState,
    (first_dirty, bound): (i64, i64),
    now_ms: i64,
    keys_max: usize,
) -> (Vec<Batch>, i64) {
    let known = Arc::new(Known::new(log.transactions.aborted(), &log.producers));
    let map = KeyMap::new(keys_max.saturating_mul(ENTRY_BYTES), usize::MAX >> 8, [1; 32]);
    let mut scan = KeyScan::new(known.clone(), map, (first_dirty, bound));
    let _ = batches.iter().all(|batch| scan.add(batch).unwrap());
    let end = scan.end();
    if end == first_dirty {
        return (batches.to_vec(), end);
    }
    let bounds = Bounds { end, now_ms, delete_retention_ms: RETENTION_MS };
    let mut cleaner = Cleaner::new(bounds, known, scan.into_map());
    let mut after = Vec::new();
    for batch in batches {
        match cleaner.clean(batch).unwrap() {
            Cleaned::Kept => after.push(batch.clone()),
            Cleaned::Rewritten(bytes) => after.push(Batch::new(bytes).unwrap()),
            Cleaned::Dropped => {}
        }
    }
    for (producer_id, marker) in cleaner.forgotten() {
        log.transactions.forget(producer_id, marker);
    }
    (after, end)
}

/// Every record of data batches, with its batch.
pub(super) fn records(batches: &[Batch]) -> Vec<(RecordView, &Batch)> {
    let data = batches.iter().filter(|batch| !batch.is_control());
    data.flat_map(|batch| batch.records(1 << 20).unwrap().map(move |record| (record.unwrap(), batch)))
        .collect()
}

/// What a client shows that reads committed records.
pub(super) fn committed(batches: &[Batch], log: &LogState) -> Vec<RecordView> {
    let last_stable = log.transactions.last_stable(log.log_end);
    let visible: Vec<Batch> =
        batches.iter().filter(|batch| batch.next_offset() <= last_stable).cloned().collect();
    let bytes: Vec<Bytes> = visible.iter().map(|batch| batch.bytes().clone()).collect();
    shown(&visible, crate::partition::read::aborted_among(&log.transactions, 0, &bytes))
}

/// What a client shows of one response: not what the list calls aborted, from there on until that producer's abort
/// marker comes by.
pub(super) fn shown(batches: &[Batch], mut told: Vec<AbortedTransaction>) -> Vec<RecordView> {
    told.sort_by_key(|one| one.first_offset);
    let mut told = told.into_iter().peekable();
    let mut aborted = HashSet::new();
    let mut shown = Vec::new();
    for batch in batches {
        while let Some(one) = told.next_if(|one| one.first_offset <= batch.last_offset()) {
            aborted.insert(one.producer_id);
        }
        if batch.control_kind() == Some(ControlKind::Abort) {
            aborted.remove(&batch.producer_id());
        }
        let hidden = batch.is_transactional() && aborted.contains(&batch.producer_id());
        if !batch.is_control() && !hidden {
            shown.extend(batch.records(1 << 20).unwrap().map(Result::unwrap));
        }
    }
    shown
}

/// The last record of each key; of tombstones only that they are one.
pub(super) fn latest(records: &[RecordView]) -> BTreeMap<Bytes, (i64, Option<Bytes>)> {
    let keyed = records.iter().filter_map(|record| Some((record.key.clone()?, record)));
    keyed.map(|(key, record)| (key, (record.offset, record.value.clone()))).collect()
}

/// One pass of a run.
#[derive(Clone, Debug)]
struct Step {
    /// How much of the log there is, in eighths.
    share: usize,
    later_ms: i64,
    keys_max: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop_oneof![Just(1_usize), 2_usize..12, Just(1_000_usize)];
    let step = (1_usize..9, prop_oneof![0_i64..30, 90_i64..300], keys);
    let step = step.prop_map(|(share, later_ms, keys_max)| Step { share, later_ms, keys_max });
    proptest::collection::vec(step, 1..7)
}

struct Run {
    all: Vec<Batch>,
    /// What is left of the batches that were there at the last pass.
    left: Vec<Batch>,
    seen: usize,
    log: LogState,
    compacted_to: i64,
    now_ms: i64,
    /// When a pass first came by a key's last record that is a tombstone: by offset.
    first_cleaned: HashMap<i64, i64>,
}

impl Run {
    /// The log as it was when it had this share of its batches, so that later ones come between passes.
    fn grow(&mut self, given: &[Given], share: usize) {
        let count = (given.len() * share / 8).max(self.seen);
        self.left.extend_from_slice(&self.all[self.seen..count]);
        self.seen = count;
        let forgotten: HashSet<i64> = {
            let held: HashSet<i64> = self.log.transactions.aborted().map(|one| one.last_offset).collect();
            let before = written(&given[..count.min(given.len())]).1;
            let end = self.log.log_end;
            before
                .transactions
                .aborted()
                .map(|one| one.last_offset)
                .filter(|at| *at < end && !held.contains(at))
                .collect()
        };
        self.log = written(&given[..count]).1;
        let again: Vec<(i64, i64)> =
            self.log.transactions.aborted().map(|one| (one.producer_id, one.last_offset)).collect();
        for (producer_id, marker) in again.into_iter().filter(|(_, marker)| forgotten.contains(marker)) {
            self.log.transactions.forget(producer_id, marker);
        }
    }

    fn step(&mut self, given: &[Given], step: &Step) {
        self.grow(given, step.share);
        self.now_ms += step.later_ms;
        let bound = self.log.transactions.last_stable(self.log.log_end);
        let before = committed(&self.left, &self.log);
        let range = (self.compacted_to.min(bound), bound);
        let (after, end) = pass(&self.left, &mut self.log, range, self.now_ms, step.keys_max);
        self.check_bytes(&after, end);
        let shown = committed(&after, &self.log);
        self.check_visible(&before, &shown, (end, end > range.0));
        if end > range.0 {
            // Once more, over everything: nothing is left to do.
            let (again, _) = pass(&after, &mut self.log.clone(), (0, end), self.now_ms, 10_000);
            assert_eq!(again, after, "a second pass at once changes nothing");
        }
        (self.left, self.compacted_to) = (after, self.compacted_to.max(end));
        self.check_markers();
        self.check_producers();
    }

    /// What is left is what was, at its offset; behind the end nothing is touched.
    fn check_bytes(&self, after: &[Batch], end: i64) {
        let original: HashMap<i64, RecordView> =
            records(&self.all).into_iter().map(|(record, _)| (record.offset, record)).collect();
        for (record, _) in records(after) {
            assert_eq!(record, original[&record.offset]);
        }
        let behind = |batches: &[Batch]| -> Vec<Batch> {
            batches.iter().filter(|batch| batch.base_offset() >= end).cloned().collect()
        };
        assert_eq!(behind(after), behind(&self.left));
        for batch in after {
            batch.check_crc().unwrap();
            let was = self.all.iter().find(|was| was.base_offset() == batch.base_offset()).unwrap();
            assert_eq!(batch.last_offset(), was.last_offset());
            assert_eq!(
                (batch.producer_id(), batch.base_sequence()),
                (was.producer_id(), was.base_sequence())
            );
            assert_eq!(batch.leader_epoch(), was.leader_epoch());
        }
        let last = self.left.iter().rfind(|batch| batch.next_offset() <= end).map(Batch::next_offset);
        assert_eq!(after.iter().rfind(|batch| batch.next_offset() <= end).map(Batch::next_offset), last);
    }

    fn check_visible(&mut self, before: &[RecordView], after: &[RecordView], (end, has_run): (i64, bool)) {
        let (was, is) = (latest(before), latest(after));
        for (key, (offset, value)) in &was {
            if value.is_some() || *offset >= end {
                assert_eq!(is.get(key), Some(&(*offset, value.clone())), "the last record of a key stays");
                continue;
            }
            let since_ms = *self.first_cleaned.entry(*offset).or_insert(self.now_ms);
            if self.now_ms < since_ms + RETENTION_MS {
                assert!(is.contains_key(key), "a tombstone stays until its horizon");
            } else if has_run {
                assert!(!is.contains_key(key), "a tombstone goes behind its horizon");
            }
        }
        assert!(is.keys().all(|key| was.contains_key(key)), "nothing comes back");
        let clean: Vec<&RecordView> = after.iter().filter(|record| record.offset < end).collect();
        let keys: HashSet<&Bytes> = clean.iter().map(|record| record.key.as_ref().unwrap()).collect();
        assert_eq!(clean.len(), keys.len(), "below the end each key has one record");
    }

    /// A marker is there as long as a batch of its transaction is.
    fn check_markers(&self) {
        let (mut open, mut markers) = (HashMap::<i64, Vec<i64>>::new(), HashMap::new());
        for batch in self.all.iter().filter(|batch| batch.is_transactional()) {
            let of_producer = open.entry(batch.producer_id()).or_default();
            match batch.is_control() {
                true => drop(markers.insert(batch.base_offset(), std::mem::take(of_producer))),
                false => of_producer.push(batch.base_offset()),
            }
        }
        let left: HashSet<i64> = self.left.iter().map(Batch::base_offset).collect();
        let end = self.left.last().map_or(0, Batch::next_offset);
        for (marker, data) in markers.iter().filter(|(marker, _)| **marker < end) {
            assert!(left.contains(marker) || data.iter().all(|offset| !left.contains(offset)));
        }
        for (record, batch) in records(&self.left) {
            let known = Known::new(self.log.transactions.aborted(), &self.log.producers);
            assert!(record.offset >= self.compacted_to || !known.is_aborted(batch));
        }
    }

    /// From what is left, producers' sequences can be told as from all.
    fn check_producers(&self) {
        let mut again = LogState::default();
        self.left.iter().for_each(|batch| again.append(batch));
        for (id, producer) in &self.log.producers.0 {
            let rebuilt = again.producers.0.get(id).and_then(|rebuilt| rebuilt.last_sequence());
            assert_eq!(rebuilt, producer.last_sequence(), "producer {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_written_and_however_often_it_is_compacted_readers_see_the_last_of_each_key(
        given in proptest::collection::vec(given(), 1..40),
        steps in steps(),
    ) {
        let (all, _) = written(&given);
        let mut run = Run {
            all,
            left: Vec::new(),
            seen: 0,
            log: LogState::default(),
            compacted_to: 0,
            now_ms: 10_000,
            first_cleaned: HashMap::new(),
        };
        for step in &steps {
            run.step(&given, step);
        }
    }
}
