//! The log itself: who wins a slot, and how a writer learns whether it did.
//!
//! Rules, and why they make the log linearizable:
//!
//! - Entry N is written by put-if-absent, and only by a writer that knows slot N-1 to be taken. So the log has no
//!   holes, and existence is monotone: binary search finds the end.
//! - A put whose outcome is unknown is resolved by reading the slot back: the nonce tells whose entry it is. A 404
//!   there is no failure; the same bytes are put again, so a late arrival of the first changes nothing. Even
//!   "already exists" is read back: S3 answers 409 also where two puts met and neither won.
//! - Put-if-absent protects only slots that still exist, and trimming deletes slots. So a put (or a read) counts
//!   only while the trim boundary was proved to lie at or below it less than half a grace ago; otherwise the
//!   boundary is read again before the answer is given. Deletion begins a whole grace after the boundary moved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_env::retry::RetryPolicy;

use crate::LogError;
use crate::entry::{self, Stored};

/// A linearizable log under one prefix of a store. Cheap to clone; clones share what they know of its end.
#[derive(Clone)]
pub struct SharedLog {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: String,
    pub(crate) env: Env,
    pub(crate) options: LogOptions,
    pub(crate) known: Mutex<Known>,
    /// One append of this handle at a time: two would only take each other's slot.
    turn: tokio::sync::Mutex<()>,
}

/// What this handle has learned. Never more than the truth, so it may lag.
#[derive(Default)]
pub(crate) struct Known {
    /// Every slot below it was taken at some time.
    pub(crate) end: u64,
    /// Every slot below it may be gone.
    pub(crate) boundary: u64,
    /// When (by `Env::elapsed`) the reading of `boundary` began.
    pub(crate) boundary_read_at: Duration,
    /// When each boundary was first seen by this handle.
    pub(crate) boundaries_seen: BTreeMap<u64, Duration>,
}

/// What became of a conditional append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry stands in the slot.
    Written,
    /// Another entry does.
    Taken,
}

/// What a put-if-absent led to.
enum Slot {
    Mine,
    Theirs,
    /// The slot lies below the boundary: the entry does not count.
    Trimmed,
}

/// Bounds of one log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Largest entry or checkpoint, bytes.
    pub entry_bytes_max: usize,
    /// No request of the log takes longer.
    pub request_timeout: Duration,
    /// For so long an operation repeats failed requests.
    pub retry_total: Duration,
    /// Trimmed entries are deleted no sooner than this after the boundary passed them.
    pub trim_grace: Duration,
}

impl Default for LogOptions {
    /// 256 MiB, 10 s, 30 s, 10 min.
    fn default() -> LogOptions {
        LogOptions {
            entry_bytes_max: 256 << 20,
            request_timeout: Duration::from_secs(10),
            retry_total: Duration::from_secs(30),
            trim_grace: Duration::from_secs(600),
        }
    }
}

impl SharedLog {
    /// Opens the log under `prefix`; an empty prefix is an empty log.
    pub async fn open(store: Arc<dyn ObjectStore>, prefix: &str, env: Env) -> Result<SharedLog, LogError> {
        SharedLog::open_with(store, prefix, env, LogOptions::default()).await
    }

    /// Opens the log with bounds of the caller's choice. All handles of one log must have one `trim_grace`.
    pub async fn open_with(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        env: Env,
        options: LogOptions,
    ) -> Result<SharedLog, LogError> {
        let prefix = prefix.trim_matches('/').to_owned();
        let (known, turn) = (Mutex::default(), tokio::sync::Mutex::new(()));
        let log = SharedLog { inner: Arc::new(Inner { store, prefix, env, options, known, turn }) };
        log.read_boundary().await?;
        Ok(log)
    }

    /// Appends an entry at the end and gives its index. When another writer wins a slot, tries the next.
    ///
    /// On [`LogError::Unknown`] the entry may be in the log now, later, or never; on any other error it is not.
    pub async fn append(&self, payload: Bytes) -> Result<u64, LogError> {
        let _turn = self.inner.turn.lock().await;
        let mut index = self.known_end();
        loop {
            match self.put_slot(index, &payload).await? {
                Slot::Mine => return Ok(index),
                Slot::Theirs => index = self.find_end(index + 1).await?,
                Slot::Trimmed => index = self.find_end(0).await?,
            }
        }
    }

    /// Appends an entry at `index` if that is the end of the log. [`LogError::Gap`] when the end lies before.
    pub async fn append_at(&self, index: u64, payload: Bytes) -> Result<Appended, LogError> {
        let _turn = self.inner.turn.lock().await;
        if index > self.known_end() {
            let end = self.find_end(0).await?;
            if index > end {
                return Err(LogError::Gap { prefix: self.inner.prefix.clone(), index, end });
            }
        }
        match self.put_slot(index, &payload).await? {
            Slot::Mine => Ok(Appended::Written),
            Slot::Theirs | Slot::Trimmed => Ok(Appended::Taken),
        }
    }

    /// The index of the next entry: everything below it stands in the log now, nothing from it on did when asked.
    pub async fn end(&self) -> Result<u64, LogError> {
        self.find_end(0).await
    }

    /// The prefix that this log lives under.
    pub fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// Puts the entry into the slot unless another holds it. The slot before it must be taken.
    async fn put_slot(&self, index: u64, payload: &Bytes) -> Result<Slot, LogError> {
        self.check_size(payload.len())?;
        let path = self.entry_path(index);
        let nonce = self.inner.env.uuid();
        let body = entry::encode(index, nonce, payload);
        let mut delays = RetryPolicy::within(self.inner.options.retry_total).delays(&self.inner.env);
        // Whether an earlier put may have taken effect without our seeing it.
        let mut in_doubt = false;
        loop {
            match self.create(&path, &body).await {
                Ok(()) => return self.confirm(index, in_doubt).await,
                Err(error) if !in_doubt && is_refusal(&error) => return Err(error),
                // "Already exists" too: the client below repeats refused requests, and may have met its own.
                Err(error) => in_doubt |= !is_refusal(&error),
            }
            match self.get_entry_once(index).await {
                Ok(Some(stored)) if stored.nonce == nonce => return self.confirm(index, in_doubt).await,
                Ok(Some(_)) => {
                    self.learn_end(index + 1);
                    return Ok(Slot::Theirs);
                }
                Err(error @ LogError::Corrupt { .. }) => return Err(error),
                Ok(None) | Err(_) => {}
            }
            match delays.next_delay() {
                Some(delay) => self.inner.env.sleep(delay).await,
                None => return Err(LogError::Unknown { index, path: path.to_string() }),
            }
        }
    }

    /// A slot that was created counts unless trimming had passed it. When an earlier put of it is in doubt, that
    /// one may have counted, been read, and been trimmed since: then nobody can tell.
    async fn confirm(&self, index: u64, in_doubt: bool) -> Result<Slot, LogError> {
        let unknown = || LogError::Unknown { index, path: self.entry_path(index).to_string() };
        // The entry is written: an error from here on leaves it in doubt for the caller.
        let boundary = self.proved_boundary(index).await.map_err(|_| unknown())?;
        if boundary <= index {
            self.learn_end(index + 1);
            return Ok(Slot::Mine);
        }
        if in_doubt { Err(unknown()) } else { Ok(Slot::Trimmed) }
    }

    async fn create(&self, path: &Path, body: &Bytes) -> Result<(), LogError> {
        let payload = PutPayload::from_bytes(body.clone());
        let put = self.inner.store.put_opts(path, payload, PutMode::Create.into());
        self.request("create", path, put).await.map(drop)
    }

    /// Runs one request within its time.
    pub(crate) async fn request<T>(
        &self,
        action: &'static str,
        path: &Path,
        request: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, LogError> {
        let timeout = self.inner.options.request_timeout;
        match tokio::time::timeout(timeout, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(LogError::Store { action, path: path.to_string(), source }),
            Err(_) => {
                let timeout_ms = timeout.as_millis() as u64;
                Err(LogError::Timeout { action, path: path.to_string(), timeout_ms })
            }
        }
    }

    /// Reads the slot once; `None`: nothing is there.
    pub(crate) async fn get_entry_once(&self, index: u64) -> Result<Option<Stored>, LogError> {
        let path = self.entry_path(index);
        let get = async { self.inner.store.get(&path).await?.bytes().await };
        let bytes = match self.request("read", &path, get).await {
            Ok(bytes) => bytes,
            Err(LogError::Store { source: ObjectError::NotFound { .. }, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored = entry::decode(index, bytes);
        stored.map(Some).map_err(|reason| LogError::Corrupt { index, path: path.to_string(), reason })
    }

    pub(crate) fn check_size(&self, size_bytes: usize) -> Result<(), LogError> {
        let max_bytes = self.inner.options.entry_bytes_max.min(u32::MAX as usize);
        if size_bytes > max_bytes {
            return Err(LogError::TooLarge { size_bytes, max_bytes });
        }
        Ok(())
    }

    pub(crate) fn known_end(&self) -> u64 {
        self.inner.known.lock().end
    }

    pub(crate) fn learn_end(&self, end: u64) {
        let mut known = self.inner.known.lock();
        known.end = known.end.max(end);
    }

    /// `PREFIX/00000000000000000042`: names sort as indexes do.
    pub(crate) fn entry_path(&self, index: u64) -> Path {
        Path::from(format!("{}/{index:020}", self.inner.prefix))
    }
}

/// The store answered that it did not and will not do it.
pub(crate) fn is_refusal(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Store {
            source: ObjectError::PermissionDenied { .. }
                | ObjectError::Unauthenticated { .. }
                | ObjectError::NotImplemented { .. }
                | ObjectError::NotSupported { .. }
                | ObjectError::InvalidPath { .. }
                | ObjectError::UnknownConfigurationKey { .. },
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::fault::{Faults, FaultyStore};

    fn memory() -> Arc<FaultyStore> {
        FaultyStore::new(Arc::new(InMemory::new()), Env::seeded(1, 0), Faults::NONE)
    }

    #[tokio::test(start_paused = true)]
    async fn entries_come_back_in_order_after_reopening() {
        let (store, env) = (memory(), Env::seeded(2, 0));
        let log = SharedLog::open(store.clone(), "journal/", env.clone()).await.unwrap();
        for number in 0..100_u64 {
            assert_eq!(log.append(Bytes::from(number.to_string())).await.unwrap(), number);
        }
        let reopened = SharedLog::open(store, "journal", env).await.unwrap();
        assert_eq!(reopened.end().await.unwrap(), 100);
        let read = reopened.read_from(40).await.unwrap();
        let expected = (40..100_u64).map(|number| (number, Bytes::from(number.to_string())));
        assert_eq!(read, expected.collect::<Vec<_>>());
        assert_eq!(reopened.read_from(100).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_writer_pays_one_request_per_entry() {
        let store = memory();
        let log = SharedLog::open(store.clone(), "log", Env::seeded(2, 0)).await.unwrap();
        let before = store.requests();
        for _ in 0..50 {
            log.append(Bytes::from_static(b"x")).await.unwrap();
        }
        let after = store.requests();
        assert_eq!((after.puts - before.puts, after.gets, after.lists - before.lists), (50, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_conditional_append_takes_only_the_end() {
        let (store, env) = (memory(), Env::seeded(2, 0));
        let one = SharedLog::open(store.clone(), "log", env.clone()).await.unwrap();
        let two = SharedLog::open(store, "log", env).await.unwrap();
        assert_eq!(one.append_at(0, Bytes::from_static(b"a")).await.unwrap(), Appended::Written);
        assert_eq!(two.append_at(0, Bytes::from_static(b"b")).await.unwrap(), Appended::Taken);
        assert!(matches!(two.append_at(5, Bytes::new()).await, Err(LogError::Gap { end: 1, .. })));
        assert_eq!(two.append_at(1, Bytes::from_static(b"c")).await.unwrap(), Appended::Written);
        assert_eq!(one.append(Bytes::from_static(b"d")).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_is_unknown_when_the_store_never_answers() {
        let store = memory();
        let log = SharedLog::open(store.clone(), "log", Env::seeded(2, 0)).await.unwrap();
        store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
        assert!(matches!(log.append(Bytes::new()).await, Err(LogError::Unknown { index: 0, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_entry_is_named_and_not_passed_over() {
        let store = Arc::new(InMemory::new());
        let log = SharedLog::open(store.clone(), "log", Env::seeded(2, 0)).await.unwrap();
        log.append(Bytes::from_static(b"fine")).await.unwrap();
        log.append(Bytes::from_static(b"damaged")).await.unwrap();
        let path = log.entry_path(1);
        let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        store.put(&path, bytes.into()).await.unwrap();
        assert!(matches!(log.read_from(0).await, Err(LogError::Corrupt { index: 1, .. })));
    }
}
