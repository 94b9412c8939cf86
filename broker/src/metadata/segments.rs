//! Which bytes of which object hold which offsets: the index of committed segments.

use std::collections::HashMap;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::varint::{Reader, Unreadable, put_i64, put_u64, put_uuid};

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
    /// How often its bytes were merged: 0 as uploaded.
    pub generation: u8,
    /// Orders the objects of a generation by age: the entry that committed it, or the youngest object that was
    /// merged into it. All objects that one merge makes of the same sources have the same.
    pub layer: u64,
}

/// Fewest bytes that a written range takes.
const RANGE_BYTES_MIN: usize = 11;

/// Writes ranges: the topics and objects they name once each, then about 20 bytes per range.
pub(super) fn write_ranges<'a>(out: &mut BytesMut, ranges: impl Iterator<Item = &'a SegmentRange> + Clone) {
    let (mut topics, mut objects) = (Table::default(), Table::default());
    let mut count = 0;
    for range in ranges.clone() {
        topics.number(range.topic_id);
        objects.number(range.object.0);
        count += 1;
    }
    topics.write(out);
    objects.write(out);
    put_u64(out, count);
    let (mut offset, mut timestamp_ms) = (0_i64, 0_i64);
    for range in ranges {
        put_u64(out, topics.number(range.topic_id));
        put_u64(out, objects.number(range.object.0));
        put_i64(out, i64::from(range.partition));
        // Wrapping differences: any value reads back, near ones are short.
        put_i64(out, range.base_offset.wrapping_sub(offset));
        put_i64(out, range.last_offset.wrapping_sub(range.base_offset));
        put_i64(out, range.max_timestamp_ms.wrapping_sub(timestamp_ms));
        put_u64(out, range.position);
        put_u64(out, u64::from(range.length));
        out.put_u32_le(range.checksum);
        (offset, timestamp_ms) = (range.last_offset, range.max_timestamp_ms);
    }
}

/// Reads what [`write_ranges`] wrote.
pub(super) fn read_ranges(reader: &mut Reader) -> Result<Vec<SegmentRange>, Unreadable> {
    let (topics, objects) = (read_table(reader)?, read_table(reader)?);
    let count = reader.count(RANGE_BYTES_MIN)?;
    let mut ranges = Vec::with_capacity(count);
    let (mut offset, mut timestamp_ms) = (0_i64, 0_i64);
    for _ in 0..count {
        let (topic_id, object) = (named(&topics, reader)?, ObjectId(named(&objects, reader)?));
        let partition = reader.i32()?;
        let base_offset = offset.wrapping_add(reader.i64()?);
        let last_offset = base_offset.wrapping_add(reader.i64()?);
        let max_timestamp_ms = timestamp_ms.wrapping_add(reader.i64()?);
        let (position, length, checksum) = (reader.u64()?, reader.u32()?, reader.u32_le()?);
        (offset, timestamp_ms) = (last_offset, max_timestamp_ms);
        ranges.push(SegmentRange {
            topic_id,
            partition,
            object,
            base_offset,
            last_offset,
            max_timestamp_ms,
            position,
            length,
            checksum,
        });
    }
    Ok(ranges)
}

/// Numbers ids in the order of their first appearance.
#[derive(Default)]
struct Table {
    ids: Vec<Uuid>,
    numbers: HashMap<Uuid, u64>,
}

impl Table {
    fn number(&mut self, id: Uuid) -> u64 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() as u64 - 1
        })
    }

    fn write(&self, out: &mut BytesMut) {
        put_u64(out, self.ids.len() as u64);
        for id in &self.ids {
            put_uuid(out, *id);
        }
    }
}

fn read_table(reader: &mut Reader) -> Result<Vec<Uuid>, Unreadable> {
    let count = reader.count(16)?;
    (0..count).map(|_| reader.uuid()).collect()
}

fn named(table: &[Uuid], reader: &mut Reader) -> Result<Uuid, Unreadable> {
    let number = reader.u64()?;
    let found = usize::try_from(number).ok().and_then(|number| table.get(number));
    found.copied().ok_or(Unreadable("a range names what its table does not hold"))
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
            segments.push(held);
        }
        assert_eq!(segments.at_or_after(15).map(|found| found.base_offset), Some(10));
        assert_eq!(segments.at_or_after(25).map(|found| found.base_offset), Some(30));
        assert_eq!(segments.at_or_after(40), None);
        assert_eq!(segments.end(), Some(40));
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
