//! What goes wrong, whose fault it is and what to do.

use thiserror::Error;

use crate::advice;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller asked for something that cannot be.
    Caller,
    /// The object store failed or holds something damaged.
    Store,
    /// This program is wrong.
    Bug,
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The URL does not name a store.
    #[error("store URL '{url}': {reason}; fix: use file://DIRECTORY, s3://BUCKET/PREFIX or memory://")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store's client could not be made from URL and environment.
    #[error(
        "store '{url}': {source}; fix: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL"
    )]
    Client {
        /// The URL.
        url: String,
        /// The client's own word.
        #[source]
        source: object_store::Error,
    },
    /// An address in the environment is none.
    #[error(
        "{name}={value} is no address of a store; fix: give it a scheme, http://HOST:PORT or https://HOST"
    )]
    Endpoint {
        /// The variable.
        name: String,
        /// What it holds.
        value: String,
    },
    /// The store's folder cannot be made or opened.
    #[error(
        "store folder {path}: {source}; fix: name a folder that this user may write, on a disk with room"
    )]
    Folder {
        /// The folder.
        path: String,
        /// The system's own word.
        #[source]
        source: std::io::Error,
    },
    /// A request of the start-up probe failed.
    #[error("store probe: {action} {path}: {}; fix: {}", advice::words(.answer), advice::fix(.answer))]
    Request {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// The store's own word; told within the message, so no source of it.
        answer: object_store::Error,
    },
    /// A request of the start-up probe was not answered.
    #[error(
        "store probe: {action} {path}: no answer within {timeout_ms} ms; fix: check AWS_ENDPOINT_URL, and names, routes \
         and firewalls in between"
    )]
    Silent {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// How long one request may take.
        timeout_ms: u64,
    },
    /// The store breaks a rule without which records would be lost.
    #[error("store probe: this store cannot hold Towpath's data: {rule}; fix: use a store that {need}")]
    Unfit {
        /// What it did.
        rule: String,
        /// What is needed.
        need: &'static str,
    },
}

impl StoreError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::Url { .. } | StoreError::Client { .. } | StoreError::Endpoint { .. } => {
                ErrorKind::Caller
            }
            StoreError::Folder { .. }
            | StoreError::Request { .. }
            | StoreError::Silent { .. }
            | StoreError::Unfit { .. } => ErrorKind::Store,
        }
    }
}

/// Why the log could not do what was asked.
#[derive(Debug, Error)]
pub enum LogError {
    /// A request failed; it had no effect, or had one that may be repeated.
    #[error("{action} {path}: {source}; fix: make the store answer, then try again")]
    Store {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// The store's own word.
        #[source]
        source: object_store::Error,
    },
    /// The store never answered in time; nothing was changed.
    #[error("{action} {path}: no answer within {timeout_ms} ms; fix: make the store answer, then try again")]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// How long one request may take.
        timeout_ms: u64,
    },
    /// An entry was sent and may stand in the log now, later, or never.
    #[error("entry {index} at {path} may or may not be in the log; read the log before trying again")]
    Unknown {
        /// The slot it was sent to.
        index: u64,
        /// The slot's object.
        path: String,
    },
    /// An object of the log does not hold what was written.
    #[error(
        "entry {index} at {path} is damaged: {reason}; fix: restore the object from a backup or a version"
    )]
    Corrupt {
        /// The slot.
        index: u64,
        /// The slot's object.
        path: String,
        /// What does not hold.
        reason: &'static str,
    },
    /// Somebody deleted an entry.
    #[error(
        "entry {index} at {path} is missing, and entry {later} behind it is there; fix: restore the object from a backup \
         or a version, and start nothing on this store before"
    )]
    Hole {
        /// The slot that is empty.
        index: u64,
        /// The slot's object.
        path: String,
        /// A later slot that is not.
        later: u64,
    },
    /// The entries asked for were trimmed.
    #[error("entry {index} of {prefix} is trimmed, up to {boundary}; start from the latest checkpoint")]
    Trimmed {
        /// The log.
        prefix: String,
        /// The entry asked for.
        index: u64,
        /// The first entry that is still there.
        boundary: u64,
    },
    /// An append would leave a hole.
    #[error("entry {index} of {prefix} lies behind the end {end}: the log has no holes")]
    Gap {
        /// The log.
        prefix: String,
        /// The slot asked for.
        index: u64,
        /// The next free slot.
        end: u64,
    },
    /// The entry is too large.
    #[error("an entry of {size_bytes} bytes is larger than {max_bytes}; split it")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Trimming needs a checkpoint that holds what is trimmed.
    #[error(
        "cannot trim {prefix} to {upto}: the latest checkpoint covers {covered} entries; write one first"
    )]
    NotCheckpointed {
        /// The log.
        prefix: String,
        /// How far to trim was asked.
        upto: u64,
        /// How far the latest checkpoint reaches.
        covered: u64,
    },
}

impl LogError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            LogError::Store { .. }
            | LogError::Timeout { .. }
            | LogError::Unknown { .. }
            | LogError::Corrupt { .. }
            | LogError::Hole { .. } => ErrorKind::Store,
            LogError::Trimmed { .. } | LogError::TooLarge { .. } => ErrorKind::Caller,
            LogError::Gap { .. } | LogError::NotCheckpointed { .. } => ErrorKind::Bug,
        }
    }
}
