//! Producers and transactions: who writes, what is open, fencing.

use super::Each;
use crate::client::{Client, ClientError, TopicPartition};

/// A producer that a partition's leader remembers (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The last sequence number it wrote.
    pub last_sequence: i32,
    /// When it last wrote, in UTC milliseconds.
    pub last_timestamp_ms: i64,
    /// The first offset of its open transaction, if one is open.
    pub transaction_start: Option<i64>,
}

/// A transaction in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    /// The transactional id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// `Empty`, `Ongoing`, `PrepareCommit`, …
    pub state: String,
}

/// A producer id with its epoch, as the coordinator gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// The producers that each partition's leader remembers; one request per broker.
///
/// # Errors
/// No leader could be asked at all; [`ClientError::Unsupported`] before Kafka 2.8.
pub async fn describe_producers(
    _client: &Client,
    _partitions: &[TopicPartition],
) -> Result<Each<TopicPartition, Vec<ActiveProducer>>, ClientError> {
    unimplemented!("admin verb")
}

/// The transactions of all coordinators; `producer_ids` narrows them, empty means all.
///
/// # Errors
/// Any broker could not be asked: a listing with holes would read as transactions that do not exist.
pub async fn list_transactions(
    _client: &Client,
    _producer_ids: &[i64],
) -> Result<Vec<TransactionListing>, ClientError> {
    unimplemented!("admin verb")
}

/// Takes over a transactional id (InitProducerId): its running producer is fenced, its open transaction aborted.
///
/// # Errors
/// The coordinator's error.
pub async fn fence_producer(
    _client: &Client,
    _transactional_id: &str,
) -> Result<ProducerIdentity, ClientError> {
    unimplemented!("admin verb")
}
