//! All partitions of this broker, kept in step with the metadata.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::log_state::LogState;
use super::{Partition, Shared, State};
use crate::background::Background;
use crate::metadata::{Image, TopicImage};
use crate::storage::{Lease, WalError};

/// Longest hold-back of a producer's response (ms), reached at the bound.
const THROTTLE_MS_MAX: f64 = 1_000.0;

/// All partitions of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Partitions {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub shared: Arc<Shared>,
    pub wal_id: Uuid,
    pub stopping: CancellationToken,
    pub tasks: Background,
    open: RwLock<Open>,
}

type Topics = Arc<HashMap<Uuid, Arc<TopicImage>>>;

struct Open {
    partitions: HashMap<(Uuid, i32), Arc<Partition>>,
    /// All of them in a fixed order, once somebody asked; until they change.
    ordered: Option<Arc<[Arc<Partition>]>>,
    /// The topics that `partitions` reflects, and the version of their image.
    topics: Topics,
    version: u64,
}

impl Inner {
    pub fn new(shared: Arc<Shared>, wal_id: Uuid, partitions: HashMap<(Uuid, i32), Arc<Partition>>) -> Inner {
        shared.metrics.partitions.set(partitions.len() as i64);
        Inner {
            shared,
            wal_id,
            stopping: CancellationToken::new(),
            tasks: Background::new(),
            open: RwLock::new(Open { partitions, ordered: None, topics: Topics::default(), version: 0 }),
        }
    }

    /// Every partition, in a fixed order. Cheap: they are put in order only when they have changed.
    pub fn all(&self) -> Arc<[Arc<Partition>]> {
        if let Some(ordered) = &self.open.read().ordered {
            return ordered.clone();
        }
        let mut open = self.open.write();
        let Open { partitions, ordered, .. } = &mut *open;
        let in_order = ordered.get_or_insert_with(|| {
            let mut all: Vec<_> = partitions.values().cloned().collect();
            all.sort_unstable_by_key(|partition| (partition.name.topic_id, partition.name.index));
            all.into()
        });
        in_order.clone()
    }

    /// Opens partitions that are new in the image and drops those that are gone. Looks at topics that have changed
    /// only: ten thousand partitions cost a new topic nothing.
    pub fn sync(&self, image: &Image) {
        let mut open = self.open.write();
        // Somebody else may have been faster with a newer image: going back would drop what it opened.
        if image.version < open.version || Arc::ptr_eq(&open.topics, &image.topics_by_id) {
            return;
        }
        open.version = image.version;
        let before = std::mem::replace(&mut open.topics, image.topics_by_id.clone());
        let mut gone = Vec::new();
        if before.keys().any(|topic_id| image.topic_by_id(*topic_id).is_none()) {
            let dropped =
                open.partitions.extract_if(|(topic_id, _), _| image.topic_by_id(*topic_id).is_none());
            gone.extend(dropped.map(|(_, partition)| partition));
        }
        let count = open.partitions.len();
        let is_known =
            |topic: &Arc<TopicImage>| before.get(&topic.id).is_some_and(|before| Arc::ptr_eq(before, topic));
        for topic in image.topics_by_id.values().filter(|topic| !is_known(topic)) {
            for (index, held) in topic.partitions.iter().enumerate() {
                let index = index as i32;
                open.partitions.entry((topic.id, index)).or_insert_with(|| {
                    let mut log = LogState { log_end: held.log_start, ..LogState::default() };
                    log.advance_start(held.log_start);
                    Partition::new(self.shared.clone(), topic.clone(), index, State::new(log))
                });
            }
        }
        if !gone.is_empty() || open.partitions.len() != count {
            open.ordered = None;
        }
        self.shared.metrics.partitions.set(open.partitions.len() as i64);
        drop(open);
        gone.iter().for_each(|partition| partition.drop_log());
    }

    /// Follows the metadata until the broker stops.
    pub async fn follow_metadata(self: Arc<Inner>) {
        let mut changes = self.shared.metadata.changes();
        loop {
            self.sync(&self.shared.metadata.image());
            let changed = tokio::select! {
                changed = changes.changed() => changed,
                () = self.stopping.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

impl Partitions {
    /// The partition, if the topic exists and has so many.
    pub fn get(&self, topic_id: Uuid, index: i32) -> Option<Arc<Partition>> {
        let find = || self.inner.open.read().partitions.get(&(topic_id, index)).cloned();
        find().or_else(|| {
            // Created a moment ago, maybe.
            self.inner.sync(&self.inner.shared.metadata.image());
            find()
        })
    }

    /// How long to hold back the next response to a producer, so that the store keeps up: zero below half of
    /// `unuploaded_bytes_max`, up to one second at the bound.
    pub fn produce_throttle_ms(&self) -> i32 {
        let shared = &self.inner.shared;
        let filled = shared.unuploaded_bytes() as f64 / shared.config.unuploaded_bytes_max as f64;
        ((filled - 0.5) * 2.0 * THROTTLE_MS_MAX).clamp(0.0, THROTTLE_MS_MAX) as i32
    }

    /// Bytes appended since the start.
    pub fn appended_bytes(&self) -> u64 {
        self.inner.shared.metrics.appended_bytes.get()
    }

    /// Resolves when the WAL has failed for good: the process must exit (and restart).
    pub async fn failed(&self) -> WalError {
        self.inner.shared.wal.failed().await
    }

    /// What answers from state need: proof that no other broker has taken over.
    pub fn lease(&self) -> &Lease {
        self.inner.shared.wal.lease()
    }

    /// What the WAL does in the background.
    pub(crate) fn wal_tasks(&self) -> &Background {
        self.inner.shared.wal.tasks()
    }

    /// Uploads, retention, and following the metadata.
    pub(crate) fn tasks(&self) -> &Background {
        &self.inner.tasks
    }

    /// Makes everything durable and stops the background work.
    pub async fn close(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.ended().await;
        self.inner.shared.wal.close().await;
    }

    /// As [`Partitions::close`], but everything that waits is uploaded first and the store learns that nothing is
    /// left in the WAL, so that one of the other kind may follow. What the store does not take within `patience`
    /// stays in the WAL.
    pub async fn seal(&self, patience: Duration) {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.tasks.ended().await;
        if inner.shared.wal.accepting().is_ok() {
            let sealed = async {
                inner.upload_rest().await;
                inner.shared.wal.close().await;
                inner.tell_sealed().await;
            };
            if timeout(patience, sealed).await.is_err() {
                tracing::warn!(
                    "the store does not take what is left in the WAL: the next start reads it there"
                );
            }
        }
        inner.shared.wal.close().await;
    }
}
