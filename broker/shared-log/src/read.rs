//! Reading: entries in order, the end, and the boundary behind which slots may be gone.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStoreExt};
use towpath_env::retry::{Failure, RetryPolicy, retry};

use crate::entry::Stored;
use crate::log::is_refusal;
use crate::{LogError, SharedLog};

/// Requests under way at once while catching up.
const READS_IN_FLIGHT: u64 = 32;
/// One call gives no more entries than this (or little more).
const READ_ENTRIES_MAX: usize = 4_096;
/// One call stops after this many bytes.
const READ_BYTES_MAX: usize = 32 << 20;

impl SharedLog {
    /// The entries from `index` on, in order; empty at the end of the log. Gives at most 4,096 entries or about
    /// 32 MiB: call again from the last index plus one until nothing comes.
    ///
    /// At the end of the log it costs one request. [`LogError::Trimmed`] when `index` lies below the boundary.
    pub async fn read_from(&self, index: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        let mut entries = Vec::new();
        let (mut next, mut bytes) = (index, 0);
        // What is known to be there is fetched at full width; the unknown is felt for, twice as wide each time.
        let mut width = (self.known_end().saturating_sub(index)).clamp(1, READS_IN_FLIGHT);
        'all: while entries.len() < READ_ENTRIES_MAX && bytes < READ_BYTES_MAX {
            let mut window = futures::stream::iter(next..next + width)
                .map(|index| self.get_entry(index))
                .buffered(READS_IN_FLIGHT as usize);
            while let Some(stored) = window.try_next().await? {
                let Some(stored) = stored else { break 'all };
                bytes += stored.payload.len();
                entries.push((next, stored.payload));
                next += 1;
            }
            width = (width * 2).min(READS_IN_FLIGHT);
        }
        // After the reading, so that nothing read (or not found) can have been a slot already given up.
        let boundary = self.proved_boundary(index).await?;
        if boundary > index {
            return Err(LogError::Trimmed { prefix: self.inner.prefix.clone(), index, boundary });
        }
        if !entries.is_empty() {
            self.learn_end(next);
        }
        Ok(entries)
    }

    /// Fails with [`LogError::Hole`] where an entry lies behind `end`, which reading the log led to: the one in between
    /// was deleted, and an append there would give the log a second history. A listing, for a start.
    pub async fn nothing_behind(&self, end: u64) -> Result<(), LogError> {
        let later = self.entries(|index| index > end).await?.into_iter().map(|(index, _)| index).min();
        match later {
            // Another writer may have gone on since.
            Some(later) if self.get_entry(end).await?.is_none() => {
                Err(LogError::Hole { index: end, path: self.entry_path(end).to_string(), later })
            }
            _ => Ok(()),
        }
    }

    /// The entries whose index is asked for, in no order. A listing: never on a hot path.
    pub(crate) async fn entries(&self, which: impl Fn(u64) -> bool) -> Result<Vec<(u64, Path)>, LogError> {
        let folder = Path::from(self.inner.prefix.clone());
        self.patiently(|| async {
            let list = self.inner.store.list_with_delimiter(Some(&folder));
            let listed = self.request("list", &folder, list).await?;
            let named = listed.objects.into_iter().filter_map(|object| {
                let index = object.location.filename()?.parse().ok()?;
                Some((index, object.location))
            });
            Ok(named.filter(|(index, _)| which(*index)).collect())
        })
        .await
    }

    /// Finds the end by doubling and halving, from what is known and at least `from`, which must be an index whose
    /// predecessor was taken (or zero). One request when the known end is the end.
    pub(crate) async fn find_end(&self, from: u64) -> Result<u64, LogError> {
        loop {
            let mut taken_below = from.max(self.known_end()).max(self.inner.known.lock().boundary);
            let begun_at = taken_below;
            let mut free = None;
            let mut step = 1;
            while free.is_none() {
                let at = taken_below + step - 1;
                if self.exists(at).await? {
                    taken_below = at + 1;
                    step *= 2;
                } else {
                    free = Some(at);
                }
            }
            let mut free = free.unwrap_or(taken_below);
            while taken_below < free {
                let at = taken_below + (free - taken_below) / 2;
                if self.exists(at).await? {
                    taken_below = at + 1;
                } else {
                    free = at;
                }
            }
            if self.proved_boundary(begun_at).await? <= begun_at {
                self.learn_end(taken_below);
                return Ok(taken_below);
            }
        }
    }

    /// The trim boundary, from memory while that is proof enough for `index`, else read from the store.
    pub(crate) async fn proved_boundary(&self, index: u64) -> Result<u64, LogError> {
        {
            let known = self.inner.known.lock();
            let age = self.inner.env.elapsed().saturating_sub(known.boundary_read_at);
            if known.boundary > index || age < self.inner.options.trim_grace / 2 {
                return Ok(known.boundary);
            }
        }
        self.read_boundary().await
    }

    /// Reads the boundary: the highest name under `trim/`.
    pub(crate) async fn read_boundary(&self) -> Result<u64, LogError> {
        let begun_at = self.inner.env.elapsed();
        let boundary = self.numbers_under("trim").await?.into_iter().max().unwrap_or(0);
        self.learn_boundary(boundary, begun_at);
        Ok(boundary)
    }

    pub(crate) fn learn_boundary(&self, boundary: u64, read_at: Duration) {
        let seen_at = self.inner.env.elapsed();
        let mut known = self.inner.known.lock();
        known.boundary = known.boundary.max(boundary);
        known.boundary_read_at = known.boundary_read_at.max(read_at);
        known.end = known.end.max(boundary);
        if boundary > 0 {
            known.boundaries_seen.entry(boundary).or_insert(seen_at);
        }
    }

    /// The indexes of the objects in one folder of the log. A listing: never on a hot path.
    pub(crate) async fn numbers_under(&self, folder: &str) -> Result<Vec<u64>, LogError> {
        let folder = Path::from(format!("{}/{folder}", self.inner.prefix));
        self.patiently(|| async {
            let list = self.inner.store.list(Some(&folder)).try_collect::<Vec<_>>();
            let listed = self.request("list", &folder, list).await?;
            Ok(listed.iter().filter_map(|object| object.location.filename()?.parse().ok()).collect())
        })
        .await
    }

    pub(crate) async fn get_entry(&self, index: u64) -> Result<Option<Stored>, LogError> {
        self.patiently(|| self.get_entry_once(index)).await
    }

    async fn exists(&self, index: u64) -> Result<bool, LogError> {
        let path = self.entry_path(index);
        self.patiently(|| async {
            match self.request("look for", &path, self.inner.store.head(&path)).await {
                Ok(_) => Ok(true),
                Err(LogError::Store { source: ObjectError::NotFound { .. }, .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Repeats a request that changes nothing (or the same thing each time) until it is answered.
    pub(crate) async fn patiently<T, F, Fut>(&self, mut request: F) -> Result<T, LogError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, LogError>>,
    {
        let policy = RetryPolicy::within(self.inner.options.retry_total);
        retry(&self.inner.env, policy, || {
            let attempt = request();
            async {
                attempt.await.map_err(|error| match error {
                    LogError::Timeout { .. } => Failure::Transient(error),
                    LogError::Store { source: ObjectError::NotFound { .. }, .. } => Failure::Permanent(error),
                    LogError::Store { .. } if !is_refusal(&error) => Failure::Transient(error),
                    _ => Failure::Permanent(error),
                })
            }
        })
        .await
    }
}
