//! How far the diff of one partition has come, and what it says: what is saved, so that a diff can be resumed.

use serde::{Deserialize, Serialize};

use super::bisect::OffsetRange;
use super::compare::{Difference, DifferenceCounts};
use crate::gates::Verdict;

/// The diff of one partition. Survives a restart: go on at [`PartitionProgress::through`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First source offset of the comparison.
    pub from: i64,
    /// Compared through here (exclusive).
    pub through: i64,
    /// Records of the source that were compared.
    pub records: u64,
    /// Differences by kind, all of them.
    pub counts: DifferenceCounts,
    /// The first differences, at most `samples_max`.
    pub samples: Vec<Difference>,
    /// How many samples are kept.
    pub samples_max: u64,
    /// Ranges that only one side held when the comparison came by: reported, not counted as loss.
    pub expired: Vec<OffsetRange>,
    /// When `through` was reached, ms since the epoch.
    pub at_ms: i64,
}

impl PartitionProgress {
    /// Nothing compared yet, beginning at source offset `from`.
    pub fn new(topic: impl Into<String>, partition: i32, from: i64, samples_max: u64) -> Self {
        Self {
            topic: topic.into(),
            partition,
            from,
            through: from,
            records: 0,
            counts: DifferenceCounts::default(),
            samples: Vec::new(),
            samples_max,
            expired: Vec::new(),
            at_ms: 0,
        }
    }

    /// Takes in the comparison of the range that follows: `records` of the source, and what was different. A
    /// range that was taken in already is ignored (a replay after a restart); answers whether it counted.
    pub fn compared(&mut self, range: OffsetRange, records: u64, found: &[Difference], at_ms: i64) -> bool {
        if range.from != self.through || range.to < range.from {
            return false;
        }
        self.through = range.to;
        self.at_ms = at_ms;
        self.records += records;
        for difference in found {
            self.counts.add(difference);
            if (self.samples.len() as u64) < self.samples_max {
                self.samples.push(difference.clone());
            }
        }
        true
    }

    /// Skips a range that has expired on one side; the same rule about replays.
    pub fn expired(&mut self, range: OffsetRange, at_ms: i64) -> bool {
        let counted = self.compared(range, 0, &[], at_ms);
        if counted && range.offsets() > 0 {
            self.expired.push(range);
        }
        counted
    }

    /// `fail` with any difference; `pass` when it reached `end` (the source's high watermark at the time);
    /// `inconclusive` until then.
    pub fn verdict(&self, end: i64) -> Verdict {
        match self.counts.total() {
            0 if self.through >= end => Verdict::Pass,
            0 => Verdict::Inconclusive,
            _ => Verdict::Fail,
        }
    }
}

/// The verdict over partitions, each with the end it had to reach: the worst of them, and `inconclusive` when
/// nothing at all was compared.
pub fn verdict_of<'a>(partitions: impl IntoIterator<Item = (&'a PartitionProgress, i64)>) -> Verdict {
    let mut records = 0;
    let mut worst = None;
    for (partition, end) in partitions {
        records += partition.records;
        worst = worst.max(Some(partition.verdict(end)));
    }
    match worst {
        Some(Verdict::Pass) if records == 0 => Verdict::Inconclusive,
        Some(verdict) => verdict,
        None => Verdict::Inconclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::super::DifferenceKind;
    use super::*;

    fn range(from: i64, to: i64) -> OffsetRange {
        OffsetRange { from, to }
    }

    #[test]
    fn a_range_counts_once_and_in_its_turn() {
        let mut progress = PartitionProgress::new("views", 0, 10, 1);
        let missing = |offset| Difference { offset, kind: DifferenceKind::Missing };
        assert!(progress.compared(range(10, 20), 9, &[missing(11), missing(12)], 1));
        assert!(!progress.compared(range(10, 20), 9, &[missing(11)], 2));
        assert!(!progress.compared(range(30, 40), 9, &[], 2));
        assert!(progress.expired(range(20, 30), 3));
        assert_eq!((progress.through, progress.records, progress.counts.missing), (30, 9, 2));
        assert_eq!((progress.samples.len(), progress.expired.len(), progress.at_ms), (1, 1, 3));
        let json = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<PartitionProgress>(&json).unwrap(), progress);
    }

    #[test]
    fn an_empty_comparison_is_inconclusive_and_one_difference_fails_all() {
        let empty = PartitionProgress::new("views", 0, 0, 5);
        assert_eq!(verdict_of([]), Verdict::Inconclusive);
        assert_eq!(verdict_of([(&empty, 0)]), Verdict::Inconclusive);
        let mut good = PartitionProgress::new("views", 1, 0, 5);
        good.compared(range(0, 8), 8, &[], 1);
        assert_eq!(verdict_of([(&empty, 0), (&good, 8)]), Verdict::Pass);
        assert_eq!(verdict_of([(&empty, 0), (&good, 9)]), Verdict::Inconclusive);
        let mut bad = PartitionProgress::new("views", 2, 0, 0);
        bad.compared(range(0, 1), 1, &[Difference { offset: 0, kind: DifferenceKind::Extra }], 1);
        assert!(bad.samples.is_empty());
        assert_eq!(verdict_of([(&good, 9), (&bad, 1)]), Verdict::Fail);
    }
}
