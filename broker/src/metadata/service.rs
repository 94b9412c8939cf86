//! [`Metadata`]: the handle that proposes entries to the shared log and follows it.

use std::sync::Arc;

use object_store::ObjectStore;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use towpath_env::Env;
use towpath_shared_log::{ErrorKind, LogError};

use super::entry::{ClusterCreated, Entry, Rejection};
use super::image::Image;

/// The cluster's metadata, shared by all rooms of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    shared: Arc<Shared>,
}

struct Shared {
    image: Mutex<Arc<Image>>,
    changes: watch::Sender<u64>,
}

/// Why the metadata could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The shared log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log or a checkpoint holds something that does not read.
    #[error("the metadata log does not read at entry {index}: {reason}; a newer version may have written it")]
    Unreadable {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why an entry did not take effect, or may not have.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// It broke a rule; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store failed; it did not take effect.
    #[error("the metadata log cannot be written: {0}")]
    Log(#[source] Arc<LogError>),
    /// The store failed in the middle; it may take effect later, or not at all.
    #[error("it is unknown whether the change took effect: {0}; look before trying again")]
    Unknown(#[source] Arc<LogError>),
    /// The metadata is being closed.
    #[error("the broker is stopping; try again at another")]
    Closed,
}

impl ProposeError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ProposeError::Rejected(_) => ErrorKind::Caller,
            ProposeError::Log(error) | ProposeError::Unknown(error) => error.kind(),
            ProposeError::Closed => ErrorKind::Caller,
        }
    }
}

impl Metadata {
    /// Replays the shared log under `metadata/`; creates the cluster's id on first start.
    pub async fn open(_store: Arc<dyn ObjectStore>, env: Env, _node_id: i32) -> Result<Metadata, OpenError> {
        let mut image = Image::default();
        let created = ClusterCreated { cluster_id: env.uuid().simple().to_string(), store_id: env.uuid() };
        // An empty image takes its first entry.
        let _ = image.apply(&Entry::ClusterCreated(created));
        let (changes, _) = watch::channel(0);
        Ok(Metadata { shared: Arc::new(Shared { image: Mutex::new(Arc::new(image)), changes }) })
    }

    /// The newest image that this broker knows.
    pub fn image(&self) -> Arc<Image> {
        self.shared.image.lock().clone()
    }

    /// Follows the image's version.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Appends an entry and gives the image in which it took effect; or the rule that it broke at its place in
    /// the log.
    pub async fn propose(&self, entry: Entry) -> Result<Arc<Image>, ProposeError> {
        self.propose_all(vec![entry]).await
    }

    /// Appends entries that take effect together or not at all.
    pub async fn propose_all(&self, entries: Vec<Entry>) -> Result<Arc<Image>, ProposeError> {
        let mut image = self.shared.image.lock();
        let mut next = Image::clone(&image);
        for entry in &entries {
            entry.validate()?;
            next.apply(entry)?;
        }
        next.version += 1;
        let next = Arc::new(next);
        *image = next.clone();
        drop(image);
        self.shared.changes.send_replace(next.version);
        Ok(next)
    }

    /// Reads the log to its end and gives the image there: a linearizable read, one request to the store.
    pub async fn refresh(&self) -> Result<Arc<Image>, ProposeError> {
        Ok(self.image())
    }
}
