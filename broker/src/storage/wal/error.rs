//! Why the WAL takes no records, or does not open.

use std::{fmt, io};

use uuid::Uuid;

use super::disk::is_full;

/// Why a record is not durable, or can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk is full. Recovers by itself once there is room.
    #[error("the WAL's disk is full; fix: free space in the data directory")]
    Full,
    /// The object store does not answer. Recovers by itself once it does.
    #[error("the object store has made nothing durable for {waited_ms} ms{}", last_words(last))]
    Unavailable {
        /// How long the oldest write waits.
        waited_ms: u64,
        /// The last request since then that went wrong.
        last: Option<Box<StoreTrouble>>,
    },
    /// Another broker of the same id has taken over; nothing is acknowledged here any more.
    #[error(
        "{0} has taken over from this broker, and this one must not go on; fix: see that one broker only runs on this \
         store, or give this one a --store of its own"
    )]
    Fenced(FencedBy),
    /// Writing failed for good, for this reason with its fix; the broker must restart. Nothing that was not durable was
    /// acknowledged.
    #[error("the WAL failed: {0}")]
    Failed(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Closed,
}

impl WalError {
    /// The WAL has failed for good by a bug.
    pub(super) fn bug(what: impl fmt::Display) -> WalError {
        WalError::Failed(format!("bug: {what}; fix: report it, then restart the broker"))
    }
}

/// A request to the object store that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreTrouble {
    /// What was asked for.
    pub request: &'static str,
    /// Of which object.
    pub object: String,
    /// What the store said, or did not.
    pub said: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl fmt::Display for StoreTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreTrouble { request, object, said, fix } = self;
        write!(f, "{request} {object}: {said}; fix: {fix}")
    }
}

fn last_words(last: &Option<Box<StoreTrouble>>) -> String {
    match last {
        Some(trouble) => format!(", last: {trouble}"),
        None => "; fix: look at the store and the network to it".to_owned(),
    }
}

/// Who has taken over from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedBy {
    /// The broker id that both use.
    pub node_id: i32,
    /// The successor's registration.
    pub epoch: i64,
    /// Where the successor tells clients to connect to.
    pub address: String,
}

impl fmt::Display for FencedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FencedBy { node_id, epoch, address } = self;
        write!(f, "another broker {node_id} at {address} (epoch {epoch})")
    }
}

/// Why a WAL does not open.
#[derive(Debug, thiserror::Error)]
pub enum WalOpenError {
    /// The directory can't be read or written.
    #[error("cannot {what}: {source}; fix: {}", io_fix(source))]
    Io {
        /// What was tried, with the file's or the directory's path.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another broker writes here.
    #[error(
        "{directory} is in use by another broker; fix: stop that one first, or give this one a data directory \
         of its own"
    )]
    InUse {
        /// The WAL's directory.
        directory: String,
    },
    /// The object store could not be read or written.
    #[error("the WAL in the store: {0}")]
    Store(Box<StoreTrouble>),
    /// A slot of an object WAL does not hold what was written: acknowledged records are lost.
    #[error(
        "the WAL's slot {object} is damaged: {reason}; fix: restore the object from a backup or a version, or \
         accept the loss of what it held with --accept-wal-loss"
    )]
    Slot {
        /// The slot.
        object: String,
        /// What does not hold.
        reason: String,
    },
    /// A slot of an object WAL is not there, and others say that it was: acknowledged records may be lost.
    #[error(
        "the WAL's slot {object} is gone: {because}; fix: restore the object from a backup or a version, or accept \
         the loss of what it held with --accept-wal-loss"
    )]
    Missing {
        /// The slot.
        object: String,
        /// What says that it was there.
        because: String,
    },
    /// Another broker came up under the same id while this one started.
    #[error(
        "{0} came up while this one started, and goes on; fix: see that one broker only runs with this node_id on \
         this store"
    )]
    Superseded(FencedBy),
    /// The other kind of WAL may hold acknowledged records.
    #[error(
        "the {bound} WAL of this broker was not closed cleanly at its last start, and may hold acknowledged records \
         that this start, with the {asked} WAL, would not see; fix: start once with --wal {bound} and stop it with \
         SIGTERM, or accept the loss with --accept-wal-loss"
    )]
    OtherKind {
        /// The kind that the store names.
        bound: &'static str,
        /// The kind asked for.
        asked: &'static str,
    },
    /// Damage before the last record known to be on disk: acknowledged records are lost.
    #[error(
        "WAL file {file} is damaged at byte {position} (sequence {sequence}), and later records say that it was \
         on disk; fix: restore the file, or accept the loss of what it held with --accept-wal-loss"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        position: u64,
        /// Sequence number of the record that should be there.
        sequence: u64,
    },
    /// The store belongs to another disk WAL.
    #[error(
        "the store expects disk WAL {expected}, this directory holds {found}; fix: mount the right data \
         directory, or accept the loss of what the other one held with --accept-wal-loss"
    )]
    OtherWal {
        /// The id in the store.
        expected: Uuid,
        /// The id on disk, or `none`.
        found: String,
    },
    /// The store belongs to no WAL yet, but this directory's holds records.
    #[error(
        "the store knows no WAL, but this directory holds WAL {found} with records: the store is another one or \
         was emptied; fix: name the right store, or give up the WAL's records with --accept-wal-loss"
    )]
    UnknownToStore {
        /// The id on disk.
        found: Uuid,
    },
    /// Records between what the store holds and what this WAL holds are missing.
    #[error(
        "the store holds everything below WAL sequence {trimmed_to}, this WAL holds {first}..{end}: it is an old \
         copy; fix: mount the right data directory, or accept the loss with --accept-wal-loss"
    )]
    Gap {
        /// What the store holds (exclusive).
        trimmed_to: u64,
        /// First sequence of the WAL.
        first: u64,
        /// One past its last.
        end: u64,
    },
}

impl WalOpenError {
    /// Wraps an I/O error of what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> WalOpenError {
        let what = what.into();
        move |source| WalOpenError::Io { what, source }
    }
}

fn io_fix(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the broker's user read and write there, or choose another --data"
        }
        _ if is_full(source) => "free space on that disk, or choose another with --data",
        _ => "look at that disk and at the system's log, or choose another with --data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_the_path_and_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let told = WalOpenError::io("make a new file of the WAL in /data/wal")(full).to_string();
        assert_eq!(
            told,
            "cannot make a new file of the WAL in /data/wal: no storage space; fix: free space on that disk, or \
             choose another with --data"
        );
    }
}
