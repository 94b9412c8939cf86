//! The journal: decisions in the order they were made, in the target's object store by put-if-absent.
//!
//! One service writes it at a time. Each entry goes into the slot that this service expects to be next; a slot
//! that is taken means that another service has opened the journal, and this one stops acting for good.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;
use towpath_env::Env;
use towpath_shared_log::{Appended, LogError, SharedLog};

use super::standing::Standing;
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
    standing: Standing,
}

impl Journal {
    /// Replays the journal and takes it over, as `who`, from whoever wrote it before.
    ///
    /// # Errors
    /// The store fails, or an entry does not read.
    pub async fn open(store: Arc<dyn ObjectStore>, env: Env, who: &str) -> Result<Journal, LinkerError> {
        let log = SharedLog::open(store, PREFIX, env.clone()).await?;
        let instance = env.uuid().to_string();
        let (mut next, mut recorded) = match log.latest_checkpoint().await? {
            Some((upto, body)) => (upto, read(upto, &body)?),
            None => (0, Recorded::default()),
        };
        loop {
            next = replay(&log, next, &mut recorded).await?;
            let opened = write(&instance, &Entry::Opened { at_ms: env.now_ms(), who: who.to_owned() });
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
            standing: Standing::default(),
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
    ///
    /// # Errors
    /// [`LinkerError::Superseded`], naming who acts now.
    pub fn check_mine(&self) -> Result<(), LinkerError> {
        self.inner.standing.check()
    }

    /// This service's right to act.
    pub fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    /// Looks whether another service has opened the journal. One request while none has.
    ///
    /// # Errors
    /// [`LinkerError::Superseded`] when one has, from then on always; the store fails.
    pub async fn look(&self) -> Result<(), LinkerError> {
        self.check_mine()?;
        let next = *self.inner.next.lock().await;
        // Not under the lock: a slow answer must not keep decisions from being written.
        match self.inner.log.read_from(next).await {
            Ok(entries) if entries.is_empty() => return Ok(()),
            Ok(_) | Err(LogError::Trimmed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut next = self.inner.next.lock().await;
        self.take_in_my_own(&mut next).await
    }

    /// The slot is taken: by an append of this very service whose outcome was unknown, or by a successor.
    async fn take_in_my_own(&self, next: &mut u64) -> Result<(), LinkerError> {
        let entries = match self.inner.log.read_from(*next).await {
            Ok(entries) => entries,
            // Only who writes the journal trims it, and never what it has not written yet.
            Err(LogError::Trimmed { .. }) => return Err(self.inner.standing.lose(UNNAMED.into())),
            Err(error) => return Err(error.into()),
        };
        for (index, payload) in entries {
            let stamped: Stamped = read(index, &payload)?;
            if stamped.by != self.inner.instance {
                return Err(self.inner.standing.lose(successor(&stamped.entry)));
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

/// A successor of which nothing is known.
const UNNAMED: &str = "another linking service";

/// Who wrote the first entry that is not this service's.
fn successor(entry: &Entry) -> String {
    match entry {
        Entry::Opened { at_ms, who } if !who.is_empty() => {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(*at_ms) * 1_000_000);
            let at = at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
            format!("{who}, started at {at},")
        }
        _ => UNNAMED.into(),
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

    fn committed_at(offset: i64) -> Entry {
        let position = Position { topic: "t".into(), partition: 0, offset, metadata: None };
        let (family, group) = ("views".to_owned(), "ranker".to_owned());
        Entry::SourcePositions { family, group, positions: vec![position] }
    }

    fn linked(family: &str) -> Entry {
        Entry::Linked(Box::new(Linked::of(Plan::new(family, "legacy", "towpath"))))
    }

    #[tokio::test]
    async fn what_was_appended_is_there_after_a_restart() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let journal = Journal::open(store.clone(), Env::seeded(1, 0), "one").await.unwrap();
        journal.append(linked("views")).await.unwrap();
        journal.append(Entry::Group(Box::new(GroupMove::new("views", "ranker", 5)))).await.unwrap();
        let before = journal.recorded();
        let after = Journal::open(store, Env::seeded(2, 0), "two").await.unwrap().recorded();
        assert_eq!(after, before);
        assert!(after.families["views"].groups.contains_key("ranker"));
    }

    #[tokio::test]
    async fn a_second_service_supersedes_the_first_for_good() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = Journal::open(store.clone(), Env::seeded(1, 0), "one").await.unwrap();
        first.append(linked("views")).await.unwrap();
        let second = Journal::open(store, Env::seeded(2, 0), "two").await.unwrap();
        assert!(matches!(first.append(linked("carts")).await, Err(LinkerError::Superseded { .. })));
        second.append(linked("orders")).await.unwrap();
        assert!(matches!(first.append(linked("carts")).await, Err(LinkerError::Superseded { .. })));
        assert_eq!(second.recorded().families.keys().collect::<Vec<_>>(), ["orders", "views"]);
    }

    #[tokio::test]
    async fn a_service_that_writes_nothing_learns_who_took_over_too() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = Journal::open(store.clone(), Env::seeded(1, 0), "one").await.unwrap();
        first.look().await.unwrap();
        let second = Journal::open(store, Env::seeded(2, 0), "two").await.unwrap();
        let told = first.look().await.unwrap_err().to_string();
        assert!(told.starts_with("two, started at 1970-01-01T00:00:00Z,"), "{told}");
        assert_eq!(first.check_mine().unwrap_err().to_string(), told);
        second.look().await.unwrap();
    }

    #[tokio::test]
    async fn a_checkpoint_stands_for_the_entries_before_it() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let journal = Journal::open(store.clone(), Env::seeded(1, 0), "one").await.unwrap();
        journal.append(linked("views")).await.unwrap();
        for offset in 0..CHECKPOINT_ENTRIES as i64 + 10 {
            journal.append(committed_at(offset)).await.unwrap();
        }
        let again = Journal::open(store, Env::seeded(2, 0), "two").await.unwrap();
        assert_eq!(again.recorded(), journal.recorded());
        let [last, before] = &again.recorded().families["views"].source_positions["ranker"];
        assert_eq!((last[0].offset, before[0].offset), (1_009, 1_008));
    }

    #[tokio::test]
    async fn positions_that_are_said_twice_are_one_commit() {
        let journal = Journal::open(Arc::new(InMemory::new()), Env::seeded(1, 0), "one").await.unwrap();
        journal.append(linked("views")).await.unwrap();
        for offset in [1, 2, 2] {
            journal.append(committed_at(offset)).await.unwrap();
        }
        let [last, before] = &journal.recorded().families["views"].source_positions["ranker"];
        assert_eq!((last[0].offset, before[0].offset), (2, 1));
    }
}
