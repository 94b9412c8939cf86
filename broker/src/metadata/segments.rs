//! Which bytes of which object hold which offsets: the index of committed segments.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one data object of the store. Made once, by the writer, before the object is put; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub Uuid);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A contiguous run of bytes in one object that holds the batches of one partition for a range of offsets.
///
/// Offsets inside may have gaps (compaction, mirrored gaps); ranges of one partition never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: i32,
    /// The object.
    pub object: ObjectId,
    /// First offset covered.
    pub base_offset: i64,
    /// Last offset covered (inclusive).
    pub last_offset: i64,
    /// Largest record timestamp inside, UTC ms; -1: none.
    pub max_timestamp_ms: i64,
    /// Where the bytes start in the object.
    pub position: u64,
    /// How many bytes.
    pub length: u32,
    /// CRC-32C of the bytes.
    pub checksum: u32,
}

/// The committed ranges of one partition, ordered by offset, not overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSegments {
    ranges: Vec<SegmentRange>,
}

impl PartitionSegments {
    /// All ranges, ascending.
    pub fn ranges(&self) -> &[SegmentRange] {
        &self.ranges
    }

    /// The next offset that is not committed to the store: one past the last range; `None` when there is none.
    pub fn end(&self) -> Option<i64> {
        self.ranges.last().map(|range| range.last_offset + 1)
    }

    /// The range that covers `offset`, or the first one behind it.
    pub fn at_or_after(&self, offset: i64) -> Option<&SegmentRange> {
        self.ranges.get(self.ranges.partition_point(|range| range.last_offset < offset))
    }

    /// The ranges from the one that covers `offset` (or the first behind it) to the end.
    pub fn from(&self, offset: i64) -> &[SegmentRange] {
        &self.ranges[self.ranges.partition_point(|range| range.last_offset < offset)..]
    }

    /// Bytes in all ranges.
    pub fn size_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.length)).sum()
    }

    /// Whether `range` lies behind everything committed so far.
    pub(super) fn accepts(&self, range: &SegmentRange) -> bool {
        range.base_offset <= range.last_offset && self.end().is_none_or(|end| range.base_offset >= end)
    }

    pub(super) fn push(&mut self, range: SegmentRange) {
        self.ranges.push(range);
    }

    /// The positions of the ranges that `range` would replace exactly: it starts where one starts and ends where
    /// one ends.
    pub(super) fn run_of(&self, range: &SegmentRange) -> Option<std::ops::Range<usize>> {
        let first = self.ranges.partition_point(|held| held.base_offset < range.base_offset);
        let after = self.ranges.partition_point(|held| held.last_offset <= range.last_offset);
        let exact = first < after
            && self.ranges[first].base_offset == range.base_offset
            && self.ranges[after - 1].last_offset == range.last_offset;
        exact.then_some(first..after)
    }

    pub(super) fn replace(&mut self, run: std::ops::Range<usize>, range: SegmentRange) -> Vec<SegmentRange> {
        self.ranges.splice(run, [range]).collect()
    }

    /// Takes out the ranges that lie wholly before `log_start`.
    pub(super) fn drop_before(&mut self, log_start: i64) -> Vec<SegmentRange> {
        let keep_from = self.ranges.partition_point(|range| range.last_offset < log_start);
        self.ranges.drain(..keep_from).collect()
    }
}

/// What the image knows of one committed data object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectImage {
    /// Size of the whole object.
    pub size_bytes: u64,
    /// How many ranges of the index still point into it; at zero it may be barred and deleted.
    pub live_ranges: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(base_offset: i64, last_offset: i64) -> SegmentRange {
        SegmentRange {
            topic_id: Uuid::nil(),
            partition: 0,
            object: ObjectId(Uuid::nil()),
            base_offset,
            last_offset,
            max_timestamp_ms: -1,
            position: 0,
            length: 10,
            checksum: 0,
        }
    }

    #[test]
    fn a_lookup_finds_the_covering_range_or_the_next() {
        let mut segments = PartitionSegments::default();
        for held in [range(0, 9), range(10, 19), range(30, 39)] {
            assert!(segments.accepts(&held));
            segments.push(held);
        }
        assert_eq!(segments.at_or_after(15).map(|found| found.base_offset), Some(10));
        assert_eq!(segments.at_or_after(25).map(|found| found.base_offset), Some(30));
        assert_eq!(segments.at_or_after(40), None);
        assert_eq!(segments.end(), Some(40));
        assert!(!segments.accepts(&range(39, 50)));
        assert!(!segments.accepts(&range(50, 49)));
    }

    #[test]
    fn only_whole_runs_can_be_replaced() {
        let mut segments = PartitionSegments::default();
        for held in [range(0, 9), range(10, 19), range(30, 39)] {
            segments.push(held);
        }
        assert_eq!(segments.run_of(&range(10, 39)), Some(1..3));
        assert_eq!(segments.run_of(&range(5, 19)), None);
        assert_eq!(segments.run_of(&range(0, 15)), None);
        assert_eq!(segments.run_of(&range(50, 60)), None);
        assert_eq!(segments.replace(1..3, range(10, 39)).len(), 2);
        assert_eq!(segments.drop_before(10).len(), 1);
        assert_eq!(segments.ranges(), &[range(10, 39)]);
    }
}
