//! The store as one object WAL uses it: a request at a time, and a slot's creation until its outcome is known.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use towpath_env::Env;
use towpath_env::retry::RetryPolicy;
use uuid::Uuid;

use super::slot::{self, Place, Slot};
use crate::storage::metrics::WalMetrics;

/// The slots of one WAL.
pub(super) struct Slots {
    store: Arc<dyn ObjectStore>,
    node_id: i32,
    wal_id: Uuid,
    request_timeout: Duration,
    pub env: Env,
    pub metrics: WalMetrics,
}

/// Why a slot could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It holds something else than a slot.
    Damaged(&'static str),
    /// The store failed; it may answer later.
    Store(String),
}

/// What became of a slot that was to be created.
#[derive(Debug)]
pub(super) enum Created {
    /// It is ours; a request that began then created it, or found it created.
    Mine { began: Duration },
    /// Somebody else was first.
    Theirs(Slot),
    /// What stands there does not read.
    Damaged(&'static str),
}

impl Slots {
    pub fn new(
        store: Arc<dyn ObjectStore>,
        (node_id, wal_id): (i32, Uuid),
        request_timeout: Duration,
        (env, metrics): (Env, WalMetrics),
    ) -> Slots {
        Slots { store, node_id, wal_id, request_timeout, env, metrics }
    }

    /// The broker whose slots they are.
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// One of them.
    pub fn place(&self, epoch: i64, slot: u64) -> Place {
        Place { node_id: self.node_id, wal_id: self.wal_id, epoch, slot }
    }

    /// Reads a slot; `None`: nothing is there. One request.
    pub async fn read(&self, place: Place) -> Result<Option<Slot>, ReadError> {
        let path = place.path();
        let get = async { self.store.get(&path).await?.bytes().await };
        match self.request("get", get).await {
            Ok(object) => slot::decode(place, &object).map(Some).map_err(ReadError::Damaged),
            Err(Failed::Store(StoreError::NotFound { .. })) => Ok(None),
            Err(error) => Err(ReadError::Store(error.to_string())),
        }
    }

    /// As [`Slots::read`], repeated for a while when the store fails.
    pub async fn read_surely(&self, place: Place, policy: RetryPolicy) -> Result<Option<Slot>, ReadError> {
        let mut delays = policy.delays(&self.env);
        loop {
            match self.read(place).await {
                Err(ReadError::Store(why)) => match delays.next_delay() {
                    Some(delay) => self.env.sleep(delay).await,
                    None => return Err(ReadError::Store(why)),
                },
                read => return read,
            }
        }
    }

    /// Creates a slot unless it exists; tries until it is known what became of it.
    pub async fn create(&self, place: Place, nonce: Uuid, payload: PutPayload) -> Created {
        let path = place.path();
        let mut delays = RetryPolicy::FOREVER.delays(&self.env);
        let first = self.env.elapsed();
        loop {
            let began = self.env.elapsed();
            let put = self.store.put_opts(&path, payload.clone(), PutMode::Create.into());
            match self.request("put", put).await {
                Ok(_) => return Created::Mine { began },
                Err(error) => {
                    tracing::debug!(%path, %error, "a slot's outcome is not known: reading it back")
                }
            }
            // "Already exists" too: S3 says so where two puts met and neither won, and a client below that repeats
            // a refused request may meet its own.
            match self.read(place).await {
                Ok(Some(slot)) if slot.nonce == nonce => return Created::Mine { began: first },
                Ok(Some(slot)) => return Created::Theirs(slot),
                Err(ReadError::Damaged(why)) => return Created::Damaged(why),
                Ok(None) | Err(ReadError::Store(_)) => {}
            }
            let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
            self.env.sleep(delay).await;
        }
    }

    /// Every slot of this broker that is there: epoch, slot and size. One listing.
    pub async fn list(&self) -> Result<Vec<(i64, u64, u64)>, String> {
        self.metrics.requests.with_label_values(&["list"]).inc();
        let prefix = slot::prefix(self.node_id).into();
        let listed = self.store.list(Some(&prefix)).try_filter_map(|object| async move {
            let place = Place::of_path(object.location.as_ref());
            Ok(place.map(|(epoch, slot)| (epoch, slot, object.size)))
        });
        listed.try_collect().await.map_err(|error| error.to_string())
    }

    /// Deletes slots, in as few requests as the store allows. What is gone already is no failure.
    pub async fn delete(&self, slots: Vec<(i64, u64)>) -> Result<(), String> {
        self.metrics.requests.with_label_values(&["delete"]).inc_by(slots.len() as u64);
        let paths: Vec<_> =
            slots.into_iter().map(|(epoch, slot)| Ok(self.place(epoch, slot).path())).collect();
        let mut deleted = self.store.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Runs one request within its time.
    async fn request<T>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failed> {
        self.metrics.requests.with_label_values(&[kind]).inc();
        match tokio::time::timeout(self.request_timeout, request).await {
            Ok(answer) => answer.map_err(Failed::Store),
            Err(_) => Err(Failed::Timeout(self.request_timeout)),
        }
    }
}

/// Why a request gave nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(StoreError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}
