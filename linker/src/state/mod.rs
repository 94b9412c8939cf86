//! What the service remembers: the journal in the target's object store is the truth, the cache may be lost.

pub mod cache;
pub mod journal;
mod recorded;
pub mod standing;

pub use recorded::{Entry, FamilyRecord, Linked, Recorded};
