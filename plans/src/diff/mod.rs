//! The deciding half of the diff (DESIGN §10): digests, comparison, classification. The linker has the readers.
//!
//! Both sides are given in the **source's offset numbering** (an identity mirror has no other; elsewhere the
//! reader translates with the offset map first). The way of a partition:
//!
//! 1. each reader feeds a [`RangeDigester`], which cuts the partition at multiples of a fixed number of offsets;
//! 2. [`unequal`] names the ranges whose digests differ; [`Bisection`] narrows large ones down;
//! 3. the records of what is left go to [`compare`], which classifies every difference.
//!
//! Compacted topics: [`CompactedDiff`] compares the latest record of each key, and [`compare_common`] what both
//! sides still hold, record for record.

mod bisect;
mod compacted;
mod compare;
mod digest;
mod progress;

pub use bisect::{Bisection, OffsetRange, comparable, unequal};
pub use compacted::{CompactedDiff, compare_common};
pub use compare::{Change, Difference, DifferenceCounts, DifferenceKind, Field, Unsorted, compare};
pub use digest::{ContentDigest, RangeDigest, RangeDigester, RecordDigest, RecordHasher};
pub use progress::{PartitionProgress, verdict_of};

use serde::{Deserialize, Serialize};

/// Which clock set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's at append.
    LogAppendTime,
    /// Not told (message format v0).
    None,
}

/// One record as a reader saw it, with its offset in the source's numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The offset.
    pub offset: i64,
    /// The timestamp, ms since the epoch; -1 where there is none.
    pub timestamp_ms: i64,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null (a tombstone).
    pub value: Option<Vec<u8>>,
    /// The headers in order; names may repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

#[cfg(test)]
mod tests;
