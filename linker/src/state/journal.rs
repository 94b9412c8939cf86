//! The journal: decisions in the order they were made, in the target's object store by put-if-absent.
//!
//! One service writes it at a time. Each entry goes into the slot that this service expects to be next; a slot
//! that is taken means that another service has opened the journal, and this one stops acting for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use object_store::ObjectStore;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use towpath_env::Env;
use towpath_shared_log::{Appended, SharedLog};

use super::{Entry, Recorded};
use crate::error::LinkerError;

/// Where the journal lives in the store.
const PREFIX: &str = "linker/journal";
/// A checkpoint is written every so many entries, and what it covers is given up.
const CHECKPOINT_ENTRIES: u64 = 1_000;

/// The journal of one service. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    log: SharedLog,
    /// Nonce of this service process; every entry carries its writer's.
    instance: String,
    recorded: RwLock<Recorded>,
    /// Index of the next entry; held while one is written.
    next: Mutex<u64>,
    superseded: AtomicBool,
}

impl Journal {
    /// Replays the journal and takes it over from whoever wrote it before.
    ///
    /// # Errors
    /// The store fails, or an entry does not read.
    pub async fn open(store: Arc<dyn ObjectStore>, env: Env) -> Result<Journal, LinkerError> {
        let log = SharedLog::open(store, PREFIX, env.clone()).await?;
        let instance = env.uuid().to_string();
        let (mut next, mut recorded) = match log.latest_checkpoint().await? {
            Some((upto, body)) => (upto, read(upto, &body)?),
            None => (0, Recorded::default()),
        };
        loop {
            next = replay(&log, next, &mut recorded).await?;
            let opened = write(&instance, &Entry::Opened { at_ms: env.now_ms() });
            match log.append_at(next, opened).await? {
                Appended::Written => break,
                Appended::Taken => {}
            }
        }
        let inner = Inner {
            log,
            instance,
            recorded: RwLock::new(recorded),
            next: Mutex::new(next + 1),
            superseded: AtomicBool::new(false),
        };
        Ok(Journal { inner: Arc::new(inner) })
    }

    /// Writes an entry; when this returns, it survives anything.
    ///
    /// # Errors
    /// [`LinkerError::Superseded`] when another service has taken over, from then on always. Any other error
    /// leaves unknown whether the entry stands; the next append finds out.
    pub async fn append(&self, entry: Entry) -> Result<(), LinkerError> {
        let mut next = self.inner.next.lock().await;
        self.check_mine()?;
        let payload = write(&self.inner.instance, &entry);
        while self.inner.log.append_at(*next, payload.clone()).await? == Appended::Taken {
            self.take_in_my_own(&mut next).await?;
        }
        self.inner.recorded.write().apply(&entry);
        *next += 1;
        if next.is_multiple_of(CHECKPOINT_ENTRIES) {
            let body = Bytes::from(json(&*self.inner.recorded.read()));
            // A checkpoint that fails costs time at the next start, nothing else.
            if let Err(error) = self.checkpoint(*next, body).await {
                tracing::info!(%error, "journal checkpoint not written; the next one covers it");
            }
        }
        Ok(())
    }

    /// What the journal says now.
    pub fn recorded(&self) -> Recorded {
        self.inner.recorded.read().clone()
    }

    /// Looks at what the journal says now without copying it.
    pub fn with<T>(&self, look: impl FnOnce(&Recorded) -> T) -> T {
        look(&self.inner.recorded.read())
    }

    /// Whether this service may still act.
    pub fn check_mine(&self) -> Result<(), LinkerError> {
        match self.inner.superseded.load(Ordering::Acquire) {
            true => Err(LinkerError::Superseded),
            false => Ok(()),
        }
    }

    /// The slot is taken: by an append of this very service whose outcome was unknown, or by a successor.
    async fn take_in_my_own(&self, next: &mut u64) -> Result<(), LinkerError> {
        for (index, payload) in self.inner.log.read_from(*next).await? {
            let stamped: Stamped = read(index, &payload)?;
            if stamped.by != self.inner.instance {
                self.inner.superseded.store(true, Ordering::Release);
                return Err(LinkerError::Superseded);
            }
            self.inner.recorded.write().apply(&stamped.entry);
            *next = index + 1;
        }
        Ok(())
    }

    async fn checkpoint(&self, upto: u64, body: Bytes) -> Result<(), LinkerError> {
        self.inner.log.checkpoint(upto, body).await?;
        Ok(self.inner.log.trim(upto).await?)
    }
}

async fn replay(log: &SharedLog, mut next: u64, recorded: &mut Recorded) -> Result<u64, LinkerError> {
    loop {
        let entries = log.read_from(next).await?;
        if entries.is_empty() {
            return Ok(next);
        }
        for (index, payload) in entries {
            recorded.apply(&read::<Stamped>(index, &payload)?.entry);
            next = index + 1;
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(index: u64, payload: &[u8]) -> Result<T, LinkerError> {
    serde_json::from_slice(payload).map_err(|error| LinkerError::Config {
        place: format!("{PREFIX}/{index:020}"),
        problem: format!("the journal does not read: {error}"),
        fix: "start the version of towpath that wrote it, or a newer one".into(),
    })
}

fn write(by: &str, entry: &Entry) -> Bytes {
    Bytes::from(json(&Stamped { by: by.to_owned(), entry: entry.clone() }))
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
struct Stamped {
    /// Nonce of the service process that wrote it.
    by: String,
    entry: Entry,
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Entries are made of strings, integers, booleans, lists and maps by string: nothing that JSON can refuse.
    #[allow(clippy::expect_used)]
    serde_json::to_vec(value).expect("the journal is always JSON")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use towpath_plans::Plan;
    use towpath_plans::transition::{GroupMove, Position};

    use super::super::Linked;
    use super::*;

    fn linked(family: &str) -> Entry {
        let plan = Plan::new(family, "legacy", "towpath");
        let plan_hash = plan.hash();
        Entry::Linked(Box::new(Linked {
            plan,
            plan_hash,
            source_cluster_id: "a".into(),
            target_cluster_id: "b".into(),
            actor: "lead".into(),
            at_ms: 1,
        }))
    }

    #[tokio::test]
    async fn what_was_appended_is_there_after_a_restart() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let journal = Journal::open(store.clone(), Env::seeded(1, 0)).await.unwrap();
        journal.append(linked("views")).await.unwrap();
        journal.append(Entry::Group(Box::new(GroupMove::new("views", "ranker", 5)))).await.unwrap();
        let before = journal.recorded();
        let after = Journal::open(store, Env::seeded(2, 0)).await.unwrap().recorded();
        assert_eq!(after, before);
        assert!(after.families["views"].groups.contains_key("ranker"));
    }

    #[tokio::test]
    async fn a_second_service_supersedes_the_first_for_good() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = Journal::open(store.clone(), Env::seeded(1, 0)).await.unwrap();
        first.append(linked("views")).await.unwrap();
        let second = Journal::open(store, Env::seeded(2, 0)).await.unwrap();
        assert!(matches!(first.append(linked("carts")).await, Err(LinkerError::Superseded)));
        second.append(linked("orders")).await.unwrap();
        assert!(matches!(first.append(linked("carts")).await, Err(LinkerError::Superseded)));
        assert_eq!(second.recorded().families.keys().collect::<Vec<_>>(), ["orders", "views"]);
    }

    #[tokio::test]
    async fn a_checkpoint_stands_for_the_entries_before_it() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let journal = Journal::open(store.clone(), Env::seeded(1, 0)).await.unwrap();
        journal.append(linked("views")).await.unwrap();
        for offset in 0..CHECKPOINT_ENTRIES as i64 + 10 {
            let position = Position { topic: "t".into(), partition: 0, offset, metadata: None };
            let (family, group) = ("views".to_owned(), "ranker".to_owned());
            journal
                .append(Entry::SourcePositions { family, group, positions: vec![position] })
                .await
                .unwrap();
        }
        let again = Journal::open(store, Env::seeded(2, 0)).await.unwrap();
        assert_eq!(again.recorded(), journal.recorded());
        let [last, before] = &again.recorded().families["views"].source_positions["ranker"];
        assert_eq!((last[0].offset, before[0].offset), (1_009, 1_008));
    }
}
