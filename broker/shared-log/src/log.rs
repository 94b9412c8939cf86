//! The log itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use towpath_env::Env;

use crate::LogError;

/// A linearizable log under one prefix of a store. Cheap to clone; clones share what they know of its end.
#[derive(Clone)]
pub struct SharedLog {
    _private: (),
}

/// What became of a conditional append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry stands in the slot.
    Written,
    /// Another entry does.
    Taken,
}

/// Bounds of one log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Largest entry, bytes.
    pub entry_bytes_max: usize,
    /// No request of the log takes longer.
    pub request_timeout: Duration,
    /// For so long an operation repeats failed requests.
    pub retry_total: Duration,
    /// Trimmed entries are deleted no sooner than this after the boundary passed them.
    pub trim_grace: Duration,
}

impl SharedLog {
    /// Opens the log under `prefix`; an empty prefix is an empty log.
    pub async fn open(_store: Arc<dyn ObjectStore>, _prefix: &str, _env: Env) -> Result<SharedLog, LogError> {
        unimplemented!("open the log")
    }

    /// Appends an entry at the end and gives its index. When another writer wins a slot, tries the next.
    pub async fn append(&self, _payload: Bytes) -> Result<u64, LogError> {
        unimplemented!("append")
    }

    /// Appends an entry at `index` if that is the end of the log.
    pub async fn append_at(&self, _index: u64, _payload: Bytes) -> Result<Appended, LogError> {
        unimplemented!("append at")
    }

    /// The entries from `index` on, in order; empty at the end of the log. Gives at most some megabytes at once:
    /// call again from the last index plus one until nothing comes.
    pub async fn read_from(&self, _index: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        unimplemented!("read")
    }

    /// The index of the next entry: everything below it stands in the log now.
    pub async fn end(&self) -> Result<u64, LogError> {
        unimplemented!("end")
    }

    /// Writes a checkpoint: what replaying all entries below `upto` gives.
    pub async fn checkpoint(&self, _upto: u64, _body: Bytes) -> Result<(), LogError> {
        unimplemented!("checkpoint")
    }

    /// The newest checkpoint that reads: its `upto` and its body.
    pub async fn latest_checkpoint(&self) -> Result<Option<(u64, Bytes)>, LogError> {
        unimplemented!("latest checkpoint")
    }

    /// Gives up the entries below `upto`, which a checkpoint must cover. They are deleted by a later call, once the
    /// grace has passed.
    pub async fn trim(&self, _upto: u64) -> Result<(), LogError> {
        unimplemented!("trim")
    }
}
