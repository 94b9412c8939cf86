//! The write-ahead log: what is in it is durable and may be acknowledged (DESIGN §5.1).
//!
//! Owns order and durability of records, nothing of their meaning: a record is a small head, a body that is
//! never copied, and the owner to tell. [`DiskWal`] writes to this node's disk; the object WAL comes second
//! behind the same [`Wal`].
//!
//! ```text
//! append ─▶ queue ─▶ writer thread: one gathered write, one fdatasync ─▶ Owner::durable, in order
//! ```

mod disk;
mod error;
#[cfg(test)]
mod fault;
mod file_system;
mod files;
mod frame;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

pub use disk::{DiskWal, DiskWalSettings};
pub use error::{WalError, WalOpenError};
#[cfg(test)]
pub(crate) use fault::FaultyFileSystem;
pub use file_system::{DiskFileSystem, FileSystem, WalFile};

/// Takes records in order and makes them durable.
pub trait Wal: Send + Sync {
    /// Whether records are taken now.
    fn accepting(&self) -> Result<(), WalError>;

    /// Bytes queued and not yet durable.
    fn queued_bytes(&self) -> usize;

    /// Queues one record; its sequence number. Never waits. If the WAL has failed, the owner is told so.
    fn append(&self, record: WalRecord) -> u64;

    /// The sequence number that the next record gets.
    fn next_sequence(&self) -> u64;

    /// Records below this sequence number are durable.
    fn durable(&self) -> watch::Receiver<u64>;

    /// Records below this sequence number are no longer needed.
    fn trim(&self, below: u64);

    /// Resolves when the WAL has failed for good.
    fn failed(&self) -> BoxFuture<'static, WalError>;

    /// Makes everything queued durable, then stops.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// One record on its way into the WAL.
pub struct WalRecord {
    /// What the record is, in the owner's own encoding.
    pub head: Bytes,
    /// Bytes shared with the rest of the broker; written as they are.
    pub body: Bytes,
    /// The CRC-32C of the end of `body`, where known already; otherwise it is computed.
    pub body_crc: Option<KnownCrc>,
    /// Who is told when the record is durable.
    pub owner: Arc<dyn Owner>,
    /// What the owner is told.
    pub mark: i64,
}

/// A checksum that somebody has verified: CRC-32C of the bytes from `from` to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCrc {
    /// Where the covered bytes begin.
    pub from: usize,
    /// Their CRC-32C.
    pub crc: u32,
}

/// Told about its records by the WAL's writer, in order. Must be quick.
pub trait Owner: Send + Sync {
    /// Every record of this owner up to the one with this mark is durable.
    fn durable(&self, mark: i64);
    /// The WAL has failed: nothing queued will become durable.
    fn failed(&self, error: &WalError);
}

/// One record as the WAL gives it back at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its sequence number.
    pub sequence: u64,
    /// See [`WalRecord::head`].
    pub head: Bytes,
    /// See [`WalRecord::body`].
    pub body: Bytes,
}
