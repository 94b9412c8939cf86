//! Two sides of one window, record by record, into classified differences.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Record;
use super::digest::ContentDigest;

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The offset: the same record, in the same order, under another number.
    Offset,
    /// The key.
    Key,
    /// The value.
    Value,
    /// The timestamp.
    Timestamp,
    /// Who set the timestamp.
    TimestampType,
    /// How many headers.
    HeaderCount,
    /// The name of the header at this place.
    HeaderName {
        /// Its place, from 0.
        index: usize,
    },
    /// The value of a header.
    Header {
        /// Its place, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset => f.write_str("offset"),
            Self::Key => f.write_str("key"),
            Self::Value => f.write_str("value"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampType => f.write_str("timestamp type"),
            Self::HeaderCount => f.write_str("number of headers"),
            Self::HeaderName { index } => write!(f, "name of header {index}"),
            Self::Header { index, name } => write!(f, "header {index} ({name:?})"),
        }
    }
}

/// One field that is not the same on both sides. Never holds what the field contains.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Which field.
    pub field: Field,
    /// Bytes on the source; `None` is null. For numbers: the number itself.
    pub source: Option<i64>,
    /// Bytes on the target; `None` is null. For numbers: the number itself.
    pub target: Option<i64>,
    /// Position of the first byte that differs, for keys, values and headers that both have.
    pub first_difference: Option<u64>,
}

/// What is different about a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// On the source, not on the target.
    Missing,
    /// On the target, not on the source.
    Extra,
    /// On the target once more than on the source.
    Duplicated {
        /// Where the source has it.
        of: i64,
    },
    /// On both, but not in the same order.
    Reordered {
        /// Where the target has it.
        target_offset: i64,
    },
    /// On both, with different fields.
    Altered {
        /// Which.
        changes: Vec<Change>,
    },
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Difference {
    /// The record's offset: the source's, for extra and duplicated records the target's.
    pub offset: i64,
    /// What is different.
    pub kind: DifferenceKind,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.kind {
            DifferenceKind::Missing => write!(f, "offset {offset} is missing on the target"),
            DifferenceKind::Extra => write!(f, "offset {offset} is on the target only"),
            DifferenceKind::Duplicated { of } => {
                write!(f, "offset {offset} on the target repeats offset {of}")
            }
            DifferenceKind::Reordered { target_offset } => {
                write!(f, "offset {offset} is out of order, at offset {target_offset} on the target")
            }
            DifferenceKind::Altered { changes } => {
                write!(f, "offset {offset} is altered: ")?;
                for (index, change) in changes.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", change.field)?;
                    if let Some(at) = change.first_difference {
                        write!(f, " from byte {at}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// How many differences of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceCounts {
    /// Missing on the target.
    pub missing: u64,
    /// On the target only.
    pub extra: u64,
    /// Repeated on the target.
    pub duplicated: u64,
    /// Out of order.
    pub reordered: u64,
    /// With other fields.
    pub altered: u64,
}

impl DifferenceCounts {
    /// Counts one more.
    pub fn add(&mut self, difference: &Difference) {
        match difference.kind {
            DifferenceKind::Missing => self.missing += 1,
            DifferenceKind::Extra => self.extra += 1,
            DifferenceKind::Duplicated { .. } => self.duplicated += 1,
            DifferenceKind::Reordered { .. } => self.reordered += 1,
            DifferenceKind::Altered { .. } => self.altered += 1,
        }
    }

    /// Counts those of another partition too.
    pub fn merge(&mut self, other: &DifferenceCounts) {
        self.missing += other.missing;
        self.extra += other.extra;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.altered += other.altered;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.missing + self.extra + self.duplicated + self.reordered + self.altered
    }
}

/// Records that were not given in the order of their offsets: a reader's bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} was read after offset {after}; fix: report this, a reader must go forward")]
pub struct Unsorted {
    /// What came.
    pub offset: i64,
    /// What had come before.
    pub after: i64,
}

/// Compares the records of one window, each side sorted by offset. Whole in itself: a duplicate of a record
/// outside the window is an extra record. Differences come in the order of their offsets.
///
/// Records are matched by offset and content; what is left by content alone (reordered, or the offset altered,
/// or duplicated); what is left then by offset alone (altered); the rest is missing or extra.
pub fn compare(source: &[Record], target: &[Record]) -> Result<Vec<Difference>, Unsorted> {
    check_sorted(source)?;
    check_sorted(target)?;
    let mut window = Window::new(source, target);
    window.match_moved();
    let mut differences = window.moved_differences();
    differences.extend(window.rest());
    differences.sort_by_key(|difference| (difference.offset, order(&difference.kind)));
    Ok(differences)
}

fn order(kind: &DifferenceKind) -> u8 {
    match kind {
        DifferenceKind::Missing => 0,
        DifferenceKind::Altered { .. } => 1,
        DifferenceKind::Reordered { .. } => 2,
        DifferenceKind::Duplicated { .. } => 3,
        DifferenceKind::Extra => 4,
    }
}

fn check_sorted(records: &[Record]) -> Result<(), Unsorted> {
    match records.windows(2).find(|pair| pair[1].offset <= pair[0].offset) {
        Some(pair) => Err(Unsorted { offset: pair[1].offset, after: pair[0].offset }),
        None => Ok(()),
    }
}

struct Window<'a> {
    source: BTreeMap<i64, (&'a Record, ContentDigest)>,
    target: BTreeMap<i64, (&'a Record, ContentDigest)>,
    /// Source offset to target offset, of records with the same content.
    pairs: BTreeMap<i64, i64>,
    paired_targets: BTreeSet<i64>,
}

impl<'a> Window<'a> {
    fn new(source: &'a [Record], target: &'a [Record]) -> Self {
        let side = |records: &'a [Record]| -> BTreeMap<i64, (&'a Record, ContentDigest)> {
            records.iter().map(|record| (record.offset, (record, record.content()))).collect()
        };
        let (source, target) = (side(source), side(target));
        let mut pairs = BTreeMap::new();
        for (offset, (_, content)) in &source {
            if target.get(offset).is_some_and(|(_, other)| other == content) {
                pairs.insert(*offset, *offset);
            }
        }
        let paired_targets = pairs.values().copied().collect();
        Self { source, target, pairs, paired_targets }
    }

    /// Pairs what is left by content, each with the first of its like that is left.
    fn match_moved(&mut self) {
        let mut left: HashMap<ContentDigest, VecDeque<i64>> = HashMap::new();
        for (offset, (_, content)) in &self.target {
            if !self.paired_targets.contains(offset) {
                left.entry(*content).or_default().push_back(*offset);
            }
        }
        for (offset, (_, content)) in &self.source {
            if self.pairs.contains_key(offset) {
                continue;
            }
            if let Some(to) = left.get_mut(content).and_then(VecDeque::pop_front) {
                self.pairs.insert(*offset, to);
                self.paired_targets.insert(to);
            }
        }
    }

    /// Pairs under different offsets: reordered if any other pair overtakes or is overtaken, otherwise only the
    /// number is another.
    fn moved_differences(&self) -> Vec<Difference> {
        let pairs: Vec<(i64, i64)> = self.pairs.iter().map(|(from, to)| (*from, *to)).collect();
        let mut least_after = vec![i64::MAX; pairs.len() + 1];
        for (index, (_, to)) in pairs.iter().enumerate().rev() {
            least_after[index] = least_after[index + 1].min(*to);
        }
        let mut most_before = i64::MIN;
        let mut differences = Vec::new();
        for (index, (from, to)) in pairs.iter().enumerate() {
            let crossed = most_before > *to || least_after[index + 1] < *to;
            most_before = most_before.max(*to);
            if from == to {
                continue;
            }
            let kind = if crossed {
                DifferenceKind::Reordered { target_offset: *to }
            } else {
                DifferenceKind::Altered { changes: vec![number(Field::Offset, *from, *to)] }
            };
            differences.push(Difference { offset: *from, kind });
        }
        differences
    }

    /// Records without a counterpart of the same content.
    fn rest(&self) -> Vec<Difference> {
        let mut known: HashMap<ContentDigest, i64> = HashMap::new();
        for (offset, (_, content)) in &self.source {
            known.entry(*content).or_insert(*offset);
        }
        let mut differences = Vec::new();
        let mut answered = BTreeSet::new();
        for (offset, (record, content)) in &self.target {
            if self.paired_targets.contains(offset) {
                continue;
            }
            let counterpart = self.source.get(offset).filter(|_| !self.pairs.contains_key(offset));
            let kind = match (known.get(content), counterpart) {
                (Some(of), _) => DifferenceKind::Duplicated { of: *of },
                (None, Some((source, _))) => {
                    answered.insert(*offset);
                    DifferenceKind::Altered { changes: changes(source, record) }
                }
                (None, None) => DifferenceKind::Extra,
            };
            differences.push(Difference { offset: *offset, kind });
        }
        let missing = self
            .source
            .keys()
            .filter(|offset| !self.pairs.contains_key(offset) && !answered.contains(offset));
        differences
            .extend(missing.map(|offset| Difference { offset: *offset, kind: DifferenceKind::Missing }));
        differences
    }
}

/// The fields in which two records differ, the offset not among them.
pub(crate) fn changes(source: &Record, target: &Record) -> Vec<Change> {
    let mut found = Vec::new();
    bytes(&mut found, Field::Key, source.key.as_deref(), target.key.as_deref());
    bytes(&mut found, Field::Value, source.value.as_deref(), target.value.as_deref());
    if source.timestamp_ms != target.timestamp_ms {
        found.push(number(Field::Timestamp, source.timestamp_ms, target.timestamp_ms));
    }
    if source.timestamp_type != target.timestamp_type {
        found.push(Change {
            field: Field::TimestampType,
            source: None,
            target: None,
            first_difference: None,
        });
    }
    if source.headers.len() != target.headers.len() {
        found.push(number(Field::HeaderCount, source.headers.len() as i64, target.headers.len() as i64));
    }
    for (index, ((name, value), (other_name, other))) in
        source.headers.iter().zip(&target.headers).enumerate()
    {
        let (a, b) = (Some(name.as_bytes()), Some(other_name.as_bytes()));
        bytes(&mut found, Field::HeaderName { index }, a, b);
        bytes(&mut found, Field::Header { index, name: name.clone() }, value.as_deref(), other.as_deref());
    }
    found
}

fn number(field: Field, source: i64, target: i64) -> Change {
    Change { field, source: Some(source), target: Some(target), first_difference: None }
}

fn bytes(found: &mut Vec<Change>, field: Field, source: Option<&[u8]>, target: Option<&[u8]>) {
    if source == target {
        return;
    }
    let first_difference = source
        .zip(target)
        .map(|(a, b)| a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len())) as u64);
    let length = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.len() as i64);
    found.push(Change { field, source: length(source), target: length(target), first_difference });
}
