//! Offsets of partitions: list, look up by time or epoch, delete before.

use super::Each;
use crate::client::{Client, ClientError, TopicPartition};

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    ReadCommittedLatest,
    /// The record with the highest timestamp (KIP-734, Kafka 3.0).
    MaxTimestamp,
    /// The first record at or after this time, in UTC milliseconds.
    At(i64),
}

/// An offset found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; −1 when no record is at or after the time asked for.
    pub offset: i64,
    /// The record's timestamp; −1 where none belongs to it.
    pub timestamp_ms: i64,
    /// The leader epoch of the record; −1 when unknown.
    pub leader_epoch: i32,
}

/// Where an epoch ends on the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked for; −1 when there is none.
    pub leader_epoch: i32,
    /// The offset after its last record; −1 when there is none.
    pub end_offset: i64,
}

/// One offset of each partition; one request per broker.
///
/// # Errors
/// No leader could be asked at all; otherwise each partition has its own outcome.
pub async fn list_offsets(
    _client: &Client,
    _partitions: &[TopicPartition],
    _spec: OffsetSpec,
) -> Result<Each<TopicPartition, ListedOffset>, ClientError> {
    unimplemented!("admin verb")
}

/// Ends of leader epochs (KIP-320), one request per broker.
///
/// # Errors
/// As [`list_offsets`].
pub async fn epoch_ends(
    _client: &Client,
    _partitions: &[(TopicPartition, i32)],
) -> Result<Each<TopicPartition, EpochEnd>, ClientError> {
    unimplemented!("admin verb")
}

/// Deletes records before an offset (−1: all); answers with each partition's log start offset after it.
///
/// # Errors
/// As [`list_offsets`].
pub async fn delete_records(
    _client: &Client,
    _before: &[(TopicPartition, i64)],
) -> Result<Each<TopicPartition, i64>, ClientError> {
    unimplemented!("admin verb")
}
