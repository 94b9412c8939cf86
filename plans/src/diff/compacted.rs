//! Compacted topics: each side may have dropped other old records, so only the latest of each key must agree, and
//! whatever both still hold.

use std::collections::HashMap;

use super::compare::{Difference, DifferenceKind, Unsorted, changes};
use super::{ContentDigest, Record};
use crate::Side;

/// The latest record of a key.
#[derive(Clone, Copy, Debug)]
struct Latest {
    offset: i64,
    tombstone: bool,
    content: ContentDigest,
}

/// Compares the latest record of each key. Feed all records of both sides within the comparable range, each side
/// in order; memory is about 100 bytes for each key and side.
///
/// A key that one side only knows by a tombstone, and the other not at all, is equal: tombstones are dropped after
/// `delete.retention.ms`, on each side when its own cleaner comes by.
#[derive(Debug, Default)]
pub struct CompactedDiff {
    source: HashMap<[u8; 32], Latest>,
    target: HashMap<[u8; 32], Latest>,
}

impl CompactedDiff {
    /// Takes one record. A record without a key (which a compacted topic refuses, but may hold from before it was
    /// compacted) has no latest; [`compare_common`] still sees it.
    pub fn push(&mut self, side: Side, record: &Record) {
        let Some(key) = &record.key else { return };
        let latest =
            Latest { offset: record.offset, tombstone: record.value.is_none(), content: record.content() };
        let keys = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        let slot = keys.entry(Self::key_name(key)).or_insert(latest);
        if latest.offset >= slot.offset {
            *slot = latest;
        }
    }

    /// Takes in what another one saw: the sides may be read apart.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        for (keys, others) in [(&mut self.source, other.source), (&mut self.target, other.target)] {
            for (key, latest) in others {
                let slot = keys.entry(key).or_insert(latest);
                if latest.offset >= slot.offset {
                    *slot = latest;
                }
            }
        }
        self
    }

    /// How a key is known here: what a reader compares with when it looks for some keys only.
    pub fn key_name(key: &[u8]) -> [u8; 32] {
        *blake3::hash(key).as_bytes()
    }

    /// How many keys the side knows.
    pub fn keys(&self, side: Side) -> usize {
        match side {
            Side::Source => self.source.len(),
            Side::Target => self.target.len(),
        }
    }

    /// The differences, by offset: a latest record that is missing or extra on the target. A latest record that
    /// both have at one offset with other content is left to [`compare_common`], which names the fields.
    pub fn finish(self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (key, latest) in &self.source {
            let other = self.target.get(key);
            let gone = other.is_none() && latest.tombstone;
            if !gone && other.is_none_or(|other| other.offset < latest.offset) {
                differences.push(Difference { offset: latest.offset, kind: DifferenceKind::Missing });
            }
        }
        for (key, latest) in &self.target {
            let other = self.source.get(key);
            let gone = other.is_none() && latest.tombstone;
            if !gone && other.is_none_or(|other| other.offset < latest.offset) {
                let repeats = other.filter(|other| other.content == latest.content);
                let kind = match repeats {
                    Some(other) => DifferenceKind::Duplicated { of: other.offset },
                    None => DifferenceKind::Extra,
                };
                differences.push(Difference { offset: latest.offset, kind });
            }
        }
        differences.sort_by_key(|difference| difference.offset);
        differences
    }
}

/// Compares, record for record, the offsets that both sides hold; offsets that one side holds alone are left to
/// [`CompactedDiff`]. Each side sorted by offset. Answers the differences and how many records were compared.
pub fn compare_common(source: &[Record], target: &[Record]) -> Result<(Vec<Difference>, u64), Unsorted> {
    let (mut s, mut t) = (0, 0);
    let (mut differences, mut compared) = (Vec::new(), 0);
    for records in [source, target] {
        if let Some(pair) = records.windows(2).find(|pair| pair[1].offset <= pair[0].offset) {
            return Err(Unsorted { offset: pair[1].offset, after: pair[0].offset });
        }
    }
    while let (Some(a), Some(b)) = (source.get(s), target.get(t)) {
        if a.offset == b.offset {
            compared += 1;
            let changes = changes(a, b);
            if !changes.is_empty() {
                differences.push(Difference { offset: a.offset, kind: DifferenceKind::Altered { changes } });
            }
        }
        s += usize::from(a.offset <= b.offset);
        t += usize::from(b.offset <= a.offset);
    }
    Ok((differences, compared))
}
