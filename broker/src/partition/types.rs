//! The values that partitions take and give.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::storage::WalError;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Kafka client's produce request: every rule holds.
    Client,
    /// The broker itself, to an internal topic.
    Coordinator,
}

/// What an append was given.
#[derive(Debug)]
pub struct Appended {
    /// Offset of the first record (of the original, if it is a duplicate).
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The timestamp given to all records, if the topic is set to LogAppendTime (UTC ms).
    pub log_append_time_ms: Option<i64>,
    /// First offset available.
    pub log_start: i64,
    /// An idempotent producer sent again what is already there.
    pub duplicate: bool,
    /// Resolves once the records are durable and below the high watermark.
    pub durable: Durable,
}

/// Resolves once what it stands for is durable, in the order of offsets, after the high watermark has moved.
///
/// While the disk is full it stays pending: the records are held and written once there is room. Whoever
/// answers a client bounds the wait (the produce request's timeout).
#[derive(Debug)]
pub struct Durable(Option<oneshot::Receiver<Result<(), WalError>>>);

impl Durable {
    /// Durable already.
    pub(crate) fn ready() -> Durable {
        Durable(None)
    }

    pub(crate) fn pending(done: oneshot::Receiver<Result<(), WalError>>) -> Durable {
        Durable(Some(done))
    }
}

impl Future for Durable {
    type Output = Result<(), WalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Ok(())),
            Some(done) => Pin::new(done).poll(context).map(|done| done.unwrap_or(Err(WalError::Closed))),
        }
    }
}

/// How much a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// At most so many bytes of batches.
    pub bytes_max: usize,
    /// The first batch is given even if it is larger.
    pub at_least_one: bool,
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

/// A transaction whose records a `read_committed` reader skips, as a fetch response lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
}

/// What a read found. The first batch may begin below the offset asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResult {
    /// Whole batches in order, as stored; one `Bytes` may hold several.
    pub batches: Vec<Bytes>,
    /// The high watermark.
    pub high_watermark: i64,
    /// The last stable offset.
    pub last_stable: i64,
    /// First offset available.
    pub log_start: i64,
    /// Aborted transactions that touch these batches (only when reading committed records).
    pub aborted: Vec<AbortedTransaction>,
}

impl ReadResult {
    /// Bytes of all batches.
    pub fn size_bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// First offset available.
    pub log_start: i64,
    /// Everything below is durable.
    pub high_watermark: i64,
    /// Everything below belongs to no open transaction.
    pub last_stable: i64,
    /// The next offset to give.
    pub log_end: i64,
}

/// One active producer of a partition (Kafka's DescribeProducers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerRow {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Last sequence number, or -1.
    pub last_sequence: i32,
    /// Largest timestamp of its last batch (UTC ms), or -1.
    pub last_timestamp_ms: i64,
    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, or -1.
    pub transaction_start: i64,
}

/// A timestamp and the offset that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTime {
    /// The offset.
    pub offset: i64,
    /// Its timestamp (UTC ms).
    pub timestamp_ms: i64,
    /// Leader epoch of its batch, or -1.
    pub leader_epoch: i32,
}
