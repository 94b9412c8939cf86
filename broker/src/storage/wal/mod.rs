//! The write-ahead log: what is in it is durable and may be acknowledged (DESIGN §5.1).
//!
//! Owns order and durability of records, nothing of their meaning: a record is a small head, a body that is
//! never copied, and the owner to tell. [`Wal`] is the handle that appenders hold; behind its queue writes one of
//! two writers, of which [`disk`] knows this node's disk and [`object`] the object store. Both are held to one
//! list of claims (`conformance`).
//!
//! ```text
//! append ─▶ queue ─┬▶ disk: a thread; one gathered write, one fdatasync ───────┬▶ Owner::durable, in order
//!                  └▶ object: a task; put-if-absent of slots, some in flight ──┘
//! ```

#[cfg(test)]
mod conformance;
mod disk;
mod error;
mod frame;
mod lease;
mod object;
mod queue;
#[cfg(test)]
mod told;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use disk::FaultyFileSystem;
pub use disk::{DiskFileSystem, DiskWalSettings, FileSystem, WalFile, abandon_disk_wal, check_disk_wal};
pub use error::{FencedBy, StoreTrouble, WalError, WalOpenError};
pub use lease::{Lease, LeaseError};
pub use object::{
    AskNewest, ObjectWalBounds, ObjectWalSettings, Registration, collect_object_wal, fence_object_wal,
};
use queue::Shared;

use crate::background::Background;

/// Which write-ahead log makes an acknowledgement durable (DESIGN §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalKind {
    /// Segments on this node's disk, one `fdatasync` per group. The default.
    #[default]
    Disk,
    /// Log objects in the store, created by put-if-absent.
    Object,
}

/// Takes records in order and makes them durable.
pub struct Wal {
    shared: Arc<Shared>,
    wal_id: Uuid,
    lease: Lease,
    /// `None`: a disk WAL.
    object: Option<object::Object>,
    tasks: Background,
}

impl Wal {
    /// The id that the store must name.
    pub fn id(&self) -> Uuid {
        self.wal_id
    }

    /// Whether records are taken now.
    pub fn accepting(&self) -> Result<(), WalError> {
        self.shared.accepting()
    }

    /// Whether nothing will become durable any more.
    pub fn has_failed(&self) -> bool {
        self.shared.queue.lock().failed().is_some()
    }

    /// Bytes queued and not yet durable.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes()
    }

    /// Queues one record; its sequence number. Never waits. If the WAL has failed, the owner is told so.
    pub fn append(&self, record: WalRecord) -> u64 {
        self.shared.append(record)
    }

    /// The sequence number that the next record gets.
    pub fn next_sequence(&self) -> u64 {
        self.shared.next_sequence()
    }

    /// Records below this sequence number are durable.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.shared.durable()
    }

    /// Records below this sequence number are no longer needed, and the metadata says so.
    pub fn trim(&self, below: u64) {
        self.shared.trim(below);
    }

    /// What it needs to answer from state: proof that no other broker has taken over.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What an object WAL does beside its writer: keeping the lease, deleting slots.
    pub(crate) fn tasks(&self) -> &Background {
        &self.tasks
    }

    /// Another broker has taken over: nothing is acknowledged any more.
    pub fn fenced(&self, by: FencedBy) {
        self.shared.fenced(by);
    }

    /// Resolves when the WAL has failed for good.
    pub fn failed(&self) -> impl Future<Output = WalError> + Send + use<> {
        let mut failure = self.shared.failure();
        async move {
            let failed = failure.wait_for(Option::is_some).await;
            // The sender lives as long as the WAL; without it there is nothing left to fail.
            failed.ok().and_then(|error| error.clone()).unwrap_or(WalError::Closed)
        }
    }

    /// Makes everything queued durable, then stops.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.shared.close();
        async move {
            // Dropped: it has failed, which is told elsewhere.
            let _ = closed.await;
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        drop(self.close());
    }
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

impl WalRecord {
    /// Bytes in the WAL.
    fn size_bytes(&self) -> usize {
        frame::frame_bytes(self.head.len(), self.body.len())
    }
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
