//! The transaction index of one partition (Kafka's `ProducerStateManager` and `TransactionIndex` in one).

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::partition::AbortedTransaction;

/// An aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// The last stable offset just after the marker: a read that ends there needs no later entries.
    pub last_stable: i64,
}

/// Open and aborted transactions of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransactionIndex {
    /// First offset of each open transaction, by producer.
    open: HashMap<i64, i64>,
    /// The same the other way round, to find the first one.
    open_offsets: BTreeMap<i64, i64>,
    /// Ended, but the marker may not be below the high watermark yet: `(first offset, marker)`.
    undecided: VecDeque<(i64, i64)>,
    /// By marker, ascending.
    aborted: VecDeque<Aborted>,
}

impl TransactionIndex {
    /// What a snapshot held.
    pub fn restore(open: Vec<(i64, i64)>, aborted: Vec<Aborted>) -> TransactionIndex {
        TransactionIndex {
            open_offsets: open
                .iter()
                .map(|&(producer_id, first_offset)| (first_offset, producer_id))
                .collect(),
            open: open.into_iter().collect(),
            undecided: VecDeque::new(),
            aborted: aborted.into(),
        }
    }

    /// First offset of the producer's open transaction.
    pub fn open_since(&self, producer_id: i64) -> Option<i64> {
        self.open.get(&producer_id).copied()
    }

    /// The open transactions in order: `(producer id, first offset)`.
    pub fn open(&self) -> impl Iterator<Item = (i64, i64)> {
        self.open_offsets.iter().map(|(first_offset, producer_id)| (*producer_id, *first_offset))
    }

    /// The aborted transactions in order of their markers.
    pub fn aborted(&self) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter()
    }

    /// A transactional batch at `first_offset` was appended.
    pub fn written(&mut self, producer_id: i64, first_offset: i64) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.open.entry(producer_id) {
            entry.insert(first_offset);
            self.open_offsets.insert(first_offset, producer_id);
        }
    }

    /// A marker was appended. Without an open transaction it means nothing (Kafka writes such markers too).
    pub fn ended(&mut self, producer_id: i64, marker: i64, is_abort: bool) {
        let Some(first_offset) = self.open.remove(&producer_id) else { return };
        self.open_offsets.remove(&first_offset);
        self.undecided.push_back((first_offset, marker));
        if is_abort {
            let last_stable = self.open_offsets.keys().next().copied().unwrap_or(marker + 1);
            self.aborted.push_back(Aborted { producer_id, first_offset, last_offset: marker, last_stable });
        }
    }

    /// Everything below `high_watermark` is decided for good.
    pub fn advance(&mut self, high_watermark: i64) {
        while self.undecided.front().is_some_and(|(_, marker)| *marker < high_watermark) {
            self.undecided.pop_front();
        }
    }

    /// Forgets what lies wholly before the log start.
    pub fn drop_before(&mut self, log_start: i64) {
        while self.aborted.front().is_some_and(|aborted| aborted.last_offset < log_start) {
            self.aborted.pop_front();
        }
    }

    /// Forgets an aborted transaction of which no record is left, nor its marker; whether it was known.
    pub fn forget(&mut self, producer_id: i64, marker: i64) -> bool {
        let at = self.aborted.partition_point(|aborted| aborted.last_offset < marker);
        let is_it = |held: &Aborted| held.last_offset == marker && held.producer_id == producer_id;
        self.aborted.get(at).is_some_and(is_it) && self.aborted.remove(at).is_some()
    }

    /// The last stable offset: below it no transaction is open or ended by a marker that is not yet visible.
    pub fn last_stable(&self, high_watermark: i64) -> i64 {
        let open = self.open_offsets.keys().next().copied();
        let undecided = self.undecided.iter().map(|(first_offset, _)| *first_offset).min();
        open.into_iter().chain(undecided).fold(high_watermark, i64::min)
    }

    /// The aborted transactions that touch `from..end`, of those that `is_read` says have a record or their marker
    /// there. One of which compaction has left nothing must not be told: a reader would take the producer for aborted
    /// until a marker that never comes.
    pub fn aborted_in(
        &self,
        from: i64,
        end: i64,
        is_read: impl Fn(&Aborted) -> bool,
    ) -> Vec<AbortedTransaction> {
        let start = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.range(start..) {
            if aborted.first_offset < end && is_read(aborted) {
                let Aborted { producer_id, first_offset, .. } = *aborted;
                found.push(AbortedTransaction { producer_id, first_offset });
            }
            if aborted.last_stable >= end {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stable_offset_waits_for_the_first_open_transaction_and_for_visible_markers() {
        let mut index = TransactionIndex::default();
        index.written(1, 10);
        index.written(2, 12);
        index.written(1, 14);
        assert_eq!(index.last_stable(20), 10);
        index.ended(1, 20, true);
        index.advance(20);
        assert_eq!(index.last_stable(20), 10, "the marker itself is not visible yet");
        index.advance(21);
        assert_eq!(index.last_stable(21), 12);
        index.ended(2, 21, false);
        index.advance(22);
        assert_eq!(index.last_stable(22), 22);
    }

    #[test]
    fn a_read_lists_exactly_the_aborted_transactions_that_touch_it() {
        let mut index = TransactionIndex::default();
        index.written(1, 0);
        index.written(2, 5);
        index.ended(2, 8, true);
        index.ended(1, 10, true);
        index.written(3, 11);
        index.ended(3, 12, false);
        index.written(4, 20);
        index.ended(4, 30, true);
        let producers = |from, end| -> Vec<i64> {
            index.aborted_in(from, end, |_| true).iter().map(|aborted| aborted.producer_id).collect()
        };
        assert_eq!(producers(0, 31), [2, 1, 4]);
        assert_eq!(producers(9, 20), [1]);
        assert_eq!(producers(0, 5), [1]);
        assert_eq!(producers(11, 20), Vec::<i64>::new());
        assert_eq!(producers(25, 26), [4]);
    }

    #[test]
    fn a_transaction_without_a_trace_is_not_told_and_can_be_forgotten() {
        let mut index = TransactionIndex::default();
        for (producer_id, first_offset, marker) in [(1, 0, 3), (1, 4, 6), (2, 7, 9)] {
            index.written(producer_id, first_offset);
            index.ended(producer_id, marker, true);
        }
        let told = index.aborted_in(0, 10, |aborted| aborted.first_offset == 4);
        assert_eq!(told, [AbortedTransaction { producer_id: 1, first_offset: 4 }]);
        assert!(!index.forget(2, 6) && !index.forget(1, 5));
        assert!(index.forget(1, 6) && !index.forget(1, 6));
        let left: Vec<i64> = index.aborted().map(|aborted| aborted.last_offset).collect();
        assert_eq!(left, [3, 9]);
    }

    #[test]
    fn a_marker_without_a_transaction_changes_nothing() {
        let mut index = TransactionIndex::default();
        index.ended(9, 3, true);
        assert_eq!(index, TransactionIndex::default());
    }
}
