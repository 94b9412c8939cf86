//! Exact two-way maps between source and target offsets (DESIGN §7). Pure logic, no I/O, no other room.
//!
//! A [`PartitionMap`] holds the runs `(source base, target base, length)` of one partition of one incarnation
//! of a topic. Runs are appended in order on both sides, so each direction is one binary search. Identity
//! mirroring extends one run for ever ([`PartitionMap::identity_through`]).
//!
//! Two questions can be asked, in both directions, and every answer is [`Lookup::Exact`] or
//! [`Lookup::Unmappable`] with the reason; there is no approximation and no clamp:
//!
//! | question                                         | source → target                   | target → source                   |
//! | ------------------------------------------------ | --------------------------------- | --------------------------------- |
//! | where is this very record?                       | [`PartitionMap::target_record`]   | [`PartitionMap::source_record`]   |
//! | a group committed this (the next record to read) | [`PartitionMap::target_position`] | [`PartitionMap::source_position`] |
//!
//! ```
//! use towpath_offset_map::*;
//! let ids = Incarnation { source: TopicId([1; 16]), target: TopicId([2; 16]) };
//! let mut map = PartitionMap::new(ids, SourceOffset(40), TargetOffset(0));
//! map.append(Run { source: SourceOffset(40), target: TargetOffset(0), length: 10 }).unwrap();
//! assert_eq!(map.target_position(ids.source, SourceOffset(45)), Lookup::Exact(TargetOffset(5)));
//! // The end of the last run is a position, but no record.
//! assert_eq!(map.target_position(ids.source, SourceOffset(50)), Lookup::Exact(TargetOffset(10)));
//! assert_eq!(
//!     map.target_record(ids.source, SourceOffset(50)),
//!     Lookup::Unmappable { because: Because::PastEnd { end: SourceOffset(50) } }
//! );
//! ```
//!
//! [`MapStore`] keeps maps between runs of the process; [`MemoryMapStore`] is the version for tests and the
//! demo, the linker has the durable one. [`PartitionMap::to_bytes`] is the compact form (a few bytes a run).
#![forbid(unsafe_code)]

mod encoding;
mod lookup;
mod map;
mod offset;
mod store;

#[cfg(test)]
mod model_tests;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A store whose content is damaged or that failed.
    Store,
    /// One of the two clusters did what a log never does (went back, changed), or the caller mixed them up.
    Caller,
}

pub use encoding::DecodeError;
pub use lookup::{Because, Lookup};
pub use map::{AppendError, Appended, PartitionMap, Run};
pub use offset::{Incarnation, SourceOffset, TargetOffset, TopicId};
pub use store::{Growth, MapKey, MapStore, MapStoreError, MemoryMapStore};
