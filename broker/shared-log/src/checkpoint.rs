//! Checkpoints, and giving up the entries that they make needless.
//!
//! `PREFIX/checkpoint/N` holds what replaying all entries below N gives. `PREFIX/trim/N` is a boundary: entries
//! below N may be gone. Boundaries are only added, the highest counts, so a writer that lags cannot set it back.

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStoreExt, PutPayload};

use crate::{LogError, SharedLog, entry};

/// So many checkpoints are kept: the newest, and one in case it is damaged.
const CHECKPOINTS_KEPT: usize = 2;

impl SharedLog {
    /// Writes a checkpoint: what replaying all entries below `upto` gives. Two writers of one `upto` are expected
    /// to write the same state; the later put stands.
    pub async fn checkpoint(&self, upto: u64, body: Bytes) -> Result<(), LogError> {
        self.check_size(body.len())?;
        let bytes = entry::encode(upto, self.inner.env.uuid(), &body);
        self.put_again_and_again(self.numbered("checkpoint", upto), bytes).await
    }

    /// The newest checkpoint that reads: its `upto` and its body. A damaged one is passed over for the one before,
    /// unless the entries between are given up already.
    pub async fn latest_checkpoint(&self) -> Result<Option<(u64, Bytes)>, LogError> {
        loop {
            let mut numbers = self.numbers_under("checkpoint").await?;
            numbers.sort_unstable();
            let Some(newest) = numbers.last().copied() else { return Ok(None) };
            let mut damage = None;
            for upto in numbers.into_iter().rev() {
                match self.read_checkpoint(upto).await {
                    Ok(Some(body)) if self.proved_boundary(upto).await? <= upto => {
                        self.learn_end(upto);
                        return Ok(Some((upto, body)));
                    }
                    // Deleted between listing and reading: there is a newer one.
                    Ok(_) if upto == newest => break,
                    Ok(_) => {}
                    Err(error @ LogError::Corrupt { .. }) => {
                        tracing::warn!(%error, "a checkpoint is damaged; the one before it is tried");
                        damage = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(damage) = damage {
                return Err(damage);
            }
        }
    }

    /// Gives up the entries below `upto`, which a checkpoint must cover. They are deleted by a later call, once the
    /// grace has passed since this handle first saw the boundary.
    pub async fn trim(&self, upto: u64) -> Result<(), LogError> {
        let mut checkpoints = self.numbers_under("checkpoint").await?;
        checkpoints.sort_unstable();
        let covered = checkpoints.last().copied().unwrap_or(0);
        if upto > covered {
            return Err(LogError::NotCheckpointed { prefix: self.inner.prefix.clone(), upto, covered });
        }
        let boundary = self.read_boundary().await?;
        if upto > boundary {
            let marker = entry::encode(upto, self.inner.env.uuid(), &[]);
            self.put_again_and_again(self.numbered("trim", upto), marker).await?;
            self.read_boundary().await?;
        }
        self.delete_given_up(checkpoints).await
    }

    /// Deletes what lies below a boundary that has stood for a grace, and what that makes needless.
    async fn delete_given_up(&self, checkpoints: Vec<u64>) -> Result<(), LogError> {
        let now = self.inner.env.elapsed();
        let ripe = {
            let known = self.inner.known.lock();
            let ripe = known
                .boundaries_seen
                .iter()
                .rev()
                .find(|(_, seen_at)| now.saturating_sub(**seen_at) >= self.inner.options.trim_grace);
            ripe.map(|(boundary, _)| *boundary)
        };
        let Some(ripe) = ripe else { return Ok(()) };
        let mut paths = Vec::new();
        // A zombie below the boundary, put by a writer that slept through the grace, goes with the rest.
        paths.extend(self.entries(|index| index < ripe).await?.into_iter().map(|(_, path)| path));
        let older = checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
        let needless = checkpoints[..older].iter().filter(|upto| **upto < ripe);
        paths.extend(needless.map(|upto| self.numbered("checkpoint", *upto)));
        let boundaries = self.numbers_under("trim").await?;
        paths.extend(boundaries.iter().filter(|mark| **mark < ripe).map(|mark| self.numbered("trim", *mark)));
        let gone = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let deleted = self.inner.store.delete_stream(gone);
        let mut deleted = std::pin::pin!(deleted);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(ObjectError::NotFound { .. }) => {}
                // The next call finds what is left.
                Err(error) => {
                    tracing::info!(log = self.inner.prefix, %error, "a trimmed object was not deleted yet")
                }
            }
        }
        self.inner.known.lock().boundaries_seen.retain(|boundary, _| *boundary >= ripe);
        Ok(())
    }

    async fn read_checkpoint(&self, upto: u64) -> Result<Option<Bytes>, LogError> {
        let path = self.numbered("checkpoint", upto);
        let read = self.patiently(|| {
            self.request("read", &path, async { self.inner.store.get(&path).await?.bytes().await })
        });
        match read.await {
            Ok(bytes) => {
                let stored = entry::decode(upto, bytes);
                let damaged = |reason| LogError::Corrupt { index: upto, path: path.to_string(), reason };
                stored.map(|stored| Some(stored.payload)).map_err(damaged)
            }
            Err(LogError::Store { source: ObjectError::NotFound { .. }, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put_again_and_again(&self, path: Path, bytes: Bytes) -> Result<(), LogError> {
        self.patiently(|| {
            self.request("write", &path, self.inner.store.put(&path, PutPayload::from_bytes(bytes.clone())))
        })
        .await
        .map(drop)
    }

    fn numbered(&self, folder: &str, index: u64) -> Path {
        Path::from(format!("{}/{folder}/{index:020}", self.inner.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::TryStreamExt;
    use object_store::ObjectStore;
    use object_store::memory::InMemory;
    use towpath_env::Env;

    use super::*;
    use crate::fault::{Faults, FaultyStore};
    use crate::{Appended, LogOptions};

    const GRACE: Duration = Duration::from_secs(600);

    async fn open(store: &Arc<InMemory>, env: &Env) -> SharedLog {
        let options = LogOptions { trim_grace: GRACE, ..LogOptions::default() };
        SharedLog::open_with(store.clone(), "log", env.clone(), options).await.unwrap()
    }

    async fn fill(log: &SharedLog, count: u64) {
        for _ in 0..count {
            log.append(Bytes::from_static(b"entry")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_deleted_entry_is_not_taken_for_the_end_of_the_log() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let log = open(&store, &env).await;
        fill(&log, 5).await;
        log.nothing_behind(5).await.unwrap();
        // Who read less than there is only lags.
        log.nothing_behind(3).await.unwrap();
        store.delete(&log.entry_path(3)).await.unwrap();
        let reader = open(&store, &env).await;
        let end = reader.read_from(0).await.unwrap().len() as u64;
        let refused = reader.nothing_behind(end).await.unwrap_err();
        assert!(matches!(refused, LogError::Hole { index: 3, later: 4, .. }), "{refused}");
    }

    async fn entries_in(store: &InMemory) -> usize {
        let listed = store.list_with_delimiter(Some(&Path::from("log"))).await.unwrap();
        listed.objects.len()
    }

    /// Trims to `upto` and lets the grace pass, so that the entries are deleted.
    async fn trim_for_good(log: &SharedLog, env: &Env, upto: u64) {
        log.checkpoint(upto, Bytes::from_static(b"state")).await.unwrap();
        log.trim(upto).await.unwrap();
        env.sleep(GRACE).await;
        log.trim(upto).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn trimmed_entries_stay_for_the_grace_and_then_go() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let log = open(&store, &env).await;
        fill(&log, 10).await;
        assert!(matches!(log.trim(5).await, Err(LogError::NotCheckpointed { covered: 0, .. })));
        log.checkpoint(8, Bytes::from_static(b"state")).await.unwrap();
        log.trim(8).await.unwrap();
        assert_eq!(entries_in(&store).await, 10);
        env.sleep(GRACE).await;
        log.trim(8).await.unwrap();
        assert_eq!(entries_in(&store).await, 2);
        assert!(matches!(log.read_from(7).await, Err(LogError::Trimmed { boundary: 8, .. })));
        let reopened = open(&store, &env).await;
        assert_eq!(reopened.latest_checkpoint().await.unwrap(), Some((8, Bytes::from_static(b"state"))));
        assert_eq!(reopened.read_from(8).await.unwrap().len(), 2);
        assert_eq!(reopened.append(Bytes::new()).await.unwrap(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_slept_through_a_trim_cannot_win_a_deleted_slot() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let (awake, asleep) = (open(&store, &env).await, open(&store, &env).await);
        fill(&awake, 10).await;
        assert_eq!(asleep.append_at(10, Bytes::new()).await.unwrap(), Appended::Written);
        fill(&awake, 10).await;
        trim_for_good(&awake, &env, 20).await;
        // The sleeper still believes that slot 11 is the end, and the store would let it create it.
        assert_eq!(asleep.append_at(11, Bytes::from_static(b"void")).await.unwrap(), Appended::Taken);
        assert_eq!(asleep.append(Bytes::from_static(b"counts")).await.unwrap(), 21);
        let read = awake.read_from(20).await.unwrap();
        assert_eq!(read.last().unwrap(), &(21, Bytes::from_static(b"counts")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_slept_through_a_trim_learns_so_and_not_that_the_log_ended() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let (awake, asleep) = (open(&store, &env).await, open(&store, &env).await);
        fill(&awake, 10).await;
        trim_for_good(&awake, &env, 9).await;
        assert!(matches!(asleep.read_from(0).await, Err(LogError::Trimmed { boundary: 9, .. })));
        assert_eq!(asleep.end().await.unwrap(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_checkpoint_is_passed_over_while_the_entries_are_there() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let log = open(&store, &env).await;
        fill(&log, 10).await;
        log.checkpoint(4, Bytes::from_static(b"four")).await.unwrap();
        log.checkpoint(8, Bytes::from_static(b"eight")).await.unwrap();
        let path = log.numbered("checkpoint", 8);
        store.put(&path, "damaged".into()).await.unwrap();
        assert_eq!(log.latest_checkpoint().await.unwrap(), Some((4, Bytes::from_static(b"four"))));
        trim_for_good(&log, &env, 6).await;
        store.delete(&log.numbered("checkpoint", 6)).await.unwrap();
        assert!(matches!(log.latest_checkpoint().await, Err(LogError::Corrupt { index: 8, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn old_checkpoints_and_boundaries_do_not_pile_up() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let log = open(&store, &env).await;
        for round in 1..=20 {
            fill(&log, 5).await;
            trim_for_good(&log, &env, round * 5).await;
        }
        let left = store.list(None).try_collect::<Vec<_>>().await.unwrap();
        assert!(left.len() <= 4, "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_counted_and_was_trimmed_before_its_writer_knew_is_not_written_twice() {
        let (store, env) = (Arc::new(InMemory::new()), Env::seeded(1, 0));
        let deaf = FaultyStore::new(store.clone(), env.clone(), Faults::NONE);
        let options = LogOptions { trim_grace: GRACE, retry_total: 4 * GRACE, ..LogOptions::default() };
        let writer = SharedLog::open_with(deaf.clone(), "log", env.clone(), options).await.unwrap();
        // Every put takes effect and every answer is lost.
        deaf.set_faults(Faults { lost_answers: 1_000, ..Faults::NONE });
        let append = tokio::spawn(async move { writer.append(Bytes::from_static(b"once")).await });
        env.sleep(Duration::from_secs(1)).await;
        let other = open(&store, &env).await;
        assert_eq!(other.read_from(0).await.unwrap(), [(0, Bytes::from_static(b"once"))]);
        fill(&other, 5).await;
        trim_for_good(&other, &env, 3).await;
        deaf.set_faults(Faults::NONE);
        assert!(matches!(append.await.unwrap(), Err(LogError::Unknown { index: 0, .. })));
        assert_eq!(other.end().await.unwrap(), 6);
    }
}
