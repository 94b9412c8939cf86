//! Committed offsets of a group: fetch, commit.

use std::collections::BTreeMap;

use super::Each;
use crate::client::{Client, ClientError, TopicPartition};

/// A committed offset as the coordinator keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// The leader epoch it was committed with; −1: none.
    pub leader_epoch: i32,
    /// What the consumer wrote beside it.
    pub metadata: Option<String>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it; −1: none.
    pub leader_epoch: i32,
    /// What to write beside it.
    pub metadata: Option<String>,
}

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAs {
    /// Nobody: possible only while the group is empty.
    Outsider,
    /// A member with its generation (or KIP-848 member epoch).
    Member {
        /// Generation or member epoch.
        generation: i32,
        /// The id the coordinator gave.
        member_id: String,
        /// The static member's instance id.
        instance_id: Option<String>,
    },
}

/// All committed offsets of a group. With `require_stable` offsets with a pending transactional commit are waited
/// for, until the request time-out (KIP-447).
///
/// # Errors
/// `UnstableOffsetCommit` when the wait was too long; the group's error.
pub async fn offset_fetch_all(
    _client: &Client,
    _group: &str,
    _require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    unimplemented!("admin verb")
}

/// The committed offsets of these partitions; those without a commit are left out.
///
/// # Errors
/// As [`offset_fetch_all`].
pub async fn offset_fetch(
    _client: &Client,
    _group: &str,
    _partitions: &[TopicPartition],
    _require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    unimplemented!("admin verb")
}

/// Commits offsets in one request; for each its outcome.
///
/// # Errors
/// The request as a whole failed. Committing is harmless to repeat as long as nobody else commits.
pub async fn offset_commit(
    _client: &Client,
    _group: &str,
    _as_whom: &CommitAs,
    _offsets: &BTreeMap<TopicPartition, OffsetToCommit>,
) -> Result<Each<TopicPartition, ()>, ClientError> {
    unimplemented!("admin verb")
}
