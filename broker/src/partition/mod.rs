//! Partitions: validate, assign offsets, append, read, high watermark (DESIGN §5.1, §5.4).
//!
//! Owns all partitions of this broker and Kafka's rules about a log. Never talks to clients: `api` and `group`
//! call it. What survives a crash is `LogState`; the rest of a partition is rebuilt from it.

mod error;
mod types;

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;
use uuid::Uuid;

pub use error::{AppendError, Kind, PartitionName, ReadError, Refusal};
pub use types::{
    AbortedTransaction, Appended, Durable, Isolation, OffsetAndTime, Offsets, Origin, ProducerRow,
    ReadLimits, ReadResult,
};

use crate::mirror::{MirrorBatches, MirrorIdentity, MirrorStatus, Mirrored};
use crate::storage::WalError;

/// All partitions of this broker.
#[derive(Clone)]
pub struct Partitions {}

impl Partitions {
    /// The partition, if the topic exists and has so many.
    pub fn get(&self, _topic_id: Uuid, _index: i32) -> Option<Arc<Partition>> {
        unimplemented!("partitions")
    }

    /// How long to hold back the next response to a producer, so that the store keeps up: zero below half of
    /// `unuploaded_bytes_max`, up to one second at the bound.
    pub fn produce_throttle_ms(&self) -> i32 {
        0
    }

    /// Resolves when the WAL has failed for good: the process must exit (and restart).
    pub async fn failed(&self) -> WalError {
        unimplemented!("partitions")
    }

    /// Makes everything durable and stops the background work.
    pub async fn close(&self) {}
}

/// One partition.
pub struct Partition {}

impl Partition {
    /// What people call it.
    pub fn name(&self) -> &PartitionName {
        unimplemented!("partitions")
    }

    /// Validates all batches, gives them offsets in place and queues them for the WAL. Quick: never waits.
    pub fn append(&self, _records: BytesMut, _origin: Origin) -> Result<Appended, AppendError> {
        unimplemented!("partitions")
    }

    /// Appends batches at their source's offsets (DESIGN §5.5), and moves log start and log end with the source.
    /// Returns once queued; [`Mirrored::durable`] tells when it is safe.
    pub async fn append_mirrored(
        &self,
        _identity: &MirrorIdentity,
        _batches: MirrorBatches,
    ) -> Result<Mirrored, AppendError> {
        unimplemented!("partitions")
    }

    /// What a mirror partition is doing.
    pub fn mirror_status(&self) -> MirrorStatus {
        unimplemented!("partitions")
    }

    /// Whole batches from the one that holds `from` (or the next one) on, up to the isolation's bound.
    pub async fn read(
        &self,
        _from: i64,
        _limits: ReadLimits,
        _isolation: Isolation,
    ) -> Result<ReadResult, ReadError> {
        unimplemented!("partitions")
    }

    /// The bounds of the log now.
    pub fn offsets(&self) -> Offsets {
        unimplemented!("partitions")
    }

    /// The leader epoch that this broker advertises.
    pub fn leader_epoch(&self) -> i32 {
        unimplemented!("partitions")
    }

    /// Where `epoch` ended (Kafka's OffsetForLeaderEpoch): the largest epoch known that is not above it, and its
    /// end; `(-1, -1)` when unknown.
    pub fn epoch_end(&self, _epoch: i32) -> (i32, i64) {
        unimplemented!("partitions")
    }

    /// The first record with a timestamp of at least `timestamp_ms` (Kafka's ListOffsets).
    pub async fn offset_for_time(&self, _timestamp_ms: i64) -> Result<Option<OffsetAndTime>, ReadError> {
        unimplemented!("partitions")
    }

    /// The record with the largest timestamp (ListOffsets with -3).
    pub async fn max_timestamp(&self) -> Result<Option<OffsetAndTime>, ReadError> {
        unimplemented!("partitions")
    }

    /// Gives up everything below `before` (-1: the high watermark); the new log start.
    pub async fn delete_records(&self, _before: i64) -> Result<i64, AppendError> {
        unimplemented!("partitions")
    }

    /// Resolves once a reader at `offset` has something to read.
    pub async fn wait_past(&self, _offset: i64, _isolation: Isolation) {
        unimplemented!("partitions")
    }

    /// Notifies `waiter` once when a reader at `offset` has something to read (at once if it has already). One
    /// waiter may wait on many partitions; a dropped one is forgotten.
    pub fn notify_past(&self, _offset: i64, _isolation: Isolation, _waiter: &Arc<Notify>) {
        unimplemented!("partitions")
    }

    /// The active producers (Kafka's DescribeProducers).
    pub fn producers(&self) -> Vec<ProducerRow> {
        unimplemented!("partitions")
    }

    /// Bytes from log start to log end, for DescribeLogDirs.
    pub fn size_bytes(&self) -> u64 {
        0
    }
}
