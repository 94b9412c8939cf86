//! The store as one object WAL uses it: a request at a time, and a slot's creation until its outcome is known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_env::retry::RetryPolicy;
use towpath_shared_log::advice;
use uuid::Uuid;

use super::slot::{self, Place, Slot};
use crate::storage::metrics::WalMetrics;
use crate::storage::wal::{StoreTrouble, WalOpenError};

/// The slots of one WAL.
pub(super) struct Slots {
    store: Arc<dyn ObjectStore>,
    node_id: i32,
    wal_id: Uuid,
    request_timeout: Duration,
    /// The last request that went wrong, and when.
    trouble: Mutex<Option<(Duration, StoreTrouble)>>,
    pub env: Env,
    pub metrics: WalMetrics,
}

/// Why a slot could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It holds something else than a slot.
    Damaged(&'static str),
    /// The store failed; it may answer later.
    Store(StoreTrouble),
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
        Slots { store, node_id, wal_id, request_timeout, trouble: Mutex::default(), env, metrics }
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
        match self.get(place).await.map_err(ReadError::Store)? {
            Some(object) => slot::decode(place, &object).map(Some).map_err(ReadError::Damaged),
            None => Ok(None),
        }
    }

    /// Whether a fence is there, of whichever WAL; `None`: it is not known. One request.
    pub async fn is_fence(&self, place: Place) -> Option<bool> {
        self.get(place).await.ok()?.and_then(|object| slot::is_fence(&object))
    }

    async fn get(&self, place: Place) -> Result<Option<Bytes>, StoreTrouble> {
        let path = place.path();
        let get = async {
            match self.store.get(&path).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.request("get", path.as_ref(), get).await
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
            match self.request("put", path.as_ref(), put).await {
                Ok(_) => return Created::Mine { began },
                Err(trouble) => tracing::debug!(%trouble, "a slot's outcome is not known: reading it back"),
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

    /// Every slot of this broker that is there, or of those behind one: epoch, slot and size. One listing.
    pub async fn list(&self, behind: Option<Place>) -> Result<Vec<(i64, u64, u64)>, StoreTrouble> {
        self.metrics.requests.with_label_values(&["list"]).inc();
        let prefix = slot::prefix(self.node_id);
        let folder = prefix.as_str().into();
        // Names sort as slots do. So what a predecessor puts meanwhile is all that makes this long.
        let names = match behind {
            Some(place) => self.store.list_with_offset(Some(&folder), &place.path()),
            None => self.store.list(Some(&folder)),
        };
        let listed = names.try_filter_map(|object| async move {
            let place = Place::of_path(object.location.as_ref());
            Ok(place.map(|(epoch, slot)| (epoch, slot, object.size)))
        });
        listed.try_collect().await.map_err(|error| trouble("list", &prefix, &error))
    }

    /// Deletes slots, in as few requests as the store allows. What is gone already is no failure.
    pub async fn delete(&self, slots: &[(i64, u64)]) -> Result<(), StoreTrouble> {
        self.metrics.requests.with_label_values(&["delete"]).inc_by(slots.len() as u64);
        let paths: Vec<_> = slots.iter().map(|(epoch, slot)| Ok(self.place(*epoch, *slot).path())).collect();
        let mut deleted = self.store.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(trouble("delete", &slot::prefix(self.node_id), &error)),
            }
        }
        Ok(())
    }

    /// The last request that went wrong, if that was since then.
    pub fn trouble_since(&self, then: Duration) -> Option<StoreTrouble> {
        let last = self.trouble.lock();
        last.as_ref().filter(|(at, _)| *at >= then).map(|(_, trouble)| trouble.clone())
    }

    /// A start has waited long enough: for this request, or for what went wrong last.
    pub fn gave_up(&self, since: Duration, request: &'static str, object: &str) -> WalOpenError {
        let silent = || {
            let said = format!("not done within {:?}", self.env.elapsed() - since);
            StoreTrouble { request, object: object.to_owned(), said, fix: SILENT }
        };
        WalOpenError::Store(self.trouble_since(since).unwrap_or_else(silent).into())
    }

    /// Remembers a request that went wrong.
    pub fn note(&self, trouble: StoreTrouble) {
        *self.trouble.lock() = Some((self.env.elapsed(), trouble));
    }

    /// Runs one request within its time.
    async fn request<T>(
        &self,
        request: &'static str,
        object: &str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreTrouble> {
        self.metrics.requests.with_label_values(&[request]).inc();
        let trouble = match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => trouble(request, object, &error),
            Err(_) => {
                let said = format!("no answer within {:?} (wal_request_timeout_ms)", self.request_timeout);
                StoreTrouble { request, object: object.to_owned(), said, fix: SILENT }
            }
        };
        self.note(trouble.clone());
        Err(trouble)
    }
}

/// What helps where nothing answers.
pub(super) const SILENT: &str =
    "look whether the store is up, and at AWS_ENDPOINT_URL, names, routes and firewalls in between";

fn trouble(request: &'static str, object: &str, error: &StoreError) -> StoreTrouble {
    StoreTrouble { request, object: object.to_owned(), said: advice::words(error), fix: advice::fix(error) }
}
