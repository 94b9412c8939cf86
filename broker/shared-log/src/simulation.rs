//! Several writers and readers on one misbehaving store, crashing at any point: the history must be that of one
//! log. Each run is drawn from a seed and replays exactly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use towpath_env::Env;

use crate::fault::{Faults, FaultyStore};
use crate::{Appended, LogError, LogOptions, SharedLog};

const WRITERS: u64 = 4;
const APPENDS: u64 = 25;

/// What happened to one payload, with the order of events in the whole run.
#[derive(Clone, Debug)]
struct Attempt {
    started: u64,
    outcome: Option<(u64, Outcome)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    At(u64),
    Refused,
    Unknown,
}

#[derive(Default)]
struct History {
    clock: u64,
    attempts: HashMap<Bytes, Attempt>,
    /// Reads of the end: (started, finished, end).
    ends: Vec<(u64, u64, u64)>,
    /// What readers saw.
    seen: BTreeMap<u64, Bytes>,
}

impl History {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

struct World {
    store: Arc<dyn ObjectStore>,
    env: Env,
    history: Arc<Mutex<History>>,
}

impl World {
    async fn open(&self) -> SharedLog {
        let options = LogOptions {
            request_timeout: Duration::from_secs(1),
            retry_total: Duration::from_secs(8),
            trim_grace: Duration::from_secs(20),
            ..LogOptions::default()
        };
        loop {
            let opened = SharedLog::open_with(self.store.clone(), "log", self.env.clone(), options).await;
            if let Ok(log) = opened {
                return log;
            }
        }
    }

    /// Appends with crashes: now and then the future is dropped in the middle and a new handle goes on.
    async fn write(&self, writer: u64) {
        let mut log = self.open().await;
        for number in 0..APPENDS {
            let payload = Bytes::from(format!("{writer}:{number}"));
            let started = self.history.lock().tick();
            self.history.lock().attempts.insert(payload.clone(), Attempt { started, outcome: None });
            let crash_ms = match self.env.random_u64() % 4 {
                0 => self.env.random_u64() % 600,
                _ => 3_600_000,
            };
            let conditional = self.env.random_u64().is_multiple_of(3);
            let work = append(&log, payload.clone(), conditional);
            let Ok(outcome) = tokio::time::timeout(Duration::from_millis(crash_ms), work).await else {
                log = self.open().await;
                continue;
            };
            self.note(&payload, outcome);
            if self.env.random_u64().is_multiple_of(10) {
                // Long enough for a trim to pass.
                self.env.sleep(Duration::from_secs(self.env.random_u64() % 60)).await;
            }
        }
    }

    fn note(&self, payload: &Bytes, outcome: Outcome) {
        let mut history = self.history.lock();
        let finished = history.tick();
        if let Some(attempt) = history.attempts.get_mut(payload) {
            attempt.outcome = Some((finished, outcome));
        }
    }

    /// Reads on and on, as a broker does: from a checkpoint when its position was trimmed. Trims now and then.
    async fn follow(&self, trims: bool) {
        let mut log = self.open().await;
        let mut next = 0;
        loop {
            self.env.sleep(Duration::from_millis(self.env.random_u64() % 2_000)).await;
            if self.env.random_u64().is_multiple_of(20) {
                log = self.open().await;
            }
            match log.read_from(next).await {
                Ok(entries) => {
                    let mut history = self.history.lock();
                    for (index, payload) in entries {
                        assert_eq!(index, next, "a reader skipped or repeated an index");
                        next += 1;
                        let before = history.seen.insert(index, payload.clone());
                        assert!(before.is_none_or(|held| held == payload), "two readers differ at {index}");
                    }
                }
                Err(LogError::Trimmed { boundary, .. }) => next = next.max(boundary),
                Err(error) => assert_ne!(error.kind(), crate::ErrorKind::Bug, "{error}"),
            }
            let started = self.history.lock().tick();
            if let Ok(end) = log.end().await {
                let mut history = self.history.lock();
                let finished = history.tick();
                history.ends.push((started, finished, end));
            }
            // Only what every reader has seen may be given up, or the check below could not compare it.
            if trims && next > 0 && log.checkpoint(next, Bytes::from_static(b"state")).await.is_ok() {
                let _ = log.trim(next).await;
            }
        }
    }
}

async fn append(log: &SharedLog, payload: Bytes, conditional: bool) -> Outcome {
    let result = if conditional {
        match log.end().await {
            Err(_) => return Outcome::Refused,
            Ok(end) => match log.append_at(end, payload).await {
                Ok(Appended::Written) => Ok(end),
                Ok(Appended::Taken) => return Outcome::Refused,
                Err(error) => Err(error),
            },
        }
    } else {
        log.append(payload).await
    };
    match result {
        Ok(index) => Outcome::At(index),
        Err(LogError::Unknown { .. }) => Outcome::Unknown,
        Err(error) => {
            assert_ne!(error.kind(), crate::ErrorKind::Bug, "{error}");
            Outcome::Refused
        }
    }
}

/// What linearizability means here.
fn check(history: &History, end: u64) {
    let mut at = HashMap::new();
    for (index, payload) in &history.seen {
        assert!(at.insert(payload.clone(), *index).is_none(), "{payload:?} stands in the log twice");
    }
    assert_eq!(history.seen.len() as u64, end, "the readers together saw every index up to the end");
    let mut placed = Vec::new();
    for (payload, attempt) in &history.attempts {
        let index = at.get(payload).copied();
        let finished = attempt.outcome.map(|(finished, _)| finished);
        match attempt.outcome.map(|(_, outcome)| outcome) {
            Some(Outcome::At(told)) => assert_eq!(index, Some(told), "{payload:?} is lost or elsewhere"),
            Some(Outcome::Refused) => assert_eq!(index, None, "{payload:?} was refused and is there"),
            Some(Outcome::Unknown) | None => {}
        }
        if let Some(index) = index {
            placed.push((index, attempt.started, finished.filter(|_| told(attempt))));
        }
    }
    placed.sort_unstable();
    // Real time: what finished before something else began stands before it.
    let mut latest_start = 0;
    for (index, started, finished) in &placed {
        if let Some(finished) = finished {
            assert!(*finished > latest_start, "entry {index} finished before an earlier entry began");
        }
        latest_start = latest_start.max(*started);
    }
    for (started, finished, end) in &history.ends {
        for (index, begun, done) in &placed {
            assert!(done.is_none_or(|done| done > *started) || index < end, "an end missed entry {index}");
            assert!(*begun < *finished || index >= end, "an end counted entry {index} before it began");
        }
    }
    let mut seen = HashSet::new();
    assert!(placed.iter().all(|(index, ..)| seen.insert(*index)));
}

fn told(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, Some((_, Outcome::At(_))))
}

async fn run(seed: u64, faults: Faults) -> u64 {
    let env = Env::seeded(seed, 0);
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), faults);
    let history = Arc::new(Mutex::new(History::default()));
    let world = Arc::new(World { store: faulty.clone(), env: env.clone(), history: history.clone() });
    let followers = [true, false].map(|trims| {
        let world = world.clone();
        tokio::spawn(async move { world.follow(trims).await })
    });
    let writers = (0..WRITERS).map(|writer| {
        let world = world.clone();
        tokio::spawn(async move { world.write(writer).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    faulty.set_faults(Faults::NONE);
    // Late puts arrive, then both followers see all there is.
    env.sleep(Duration::from_secs(60)).await;
    for follower in followers {
        assert!(!follower.is_finished(), "a follower failed: {:?}", follower.await);
        follower.abort();
    }
    let end = world.open().await.end().await.unwrap();
    check(&history.lock(), end);
    end
}

/// Runs with other seeds: `TOWPATH_SIM_SEEDS=1000..2000`.
fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let set = std::env::var("TOWPATH_SIM_SEEDS").ok();
    let bounds = set.as_deref().and_then(|set| set.split_once(".."));
    match bounds.map(|(first, after)| (first.parse(), after.parse())) {
        Some((Ok(first), Ok(after))) => first..after,
        _ => default,
    }
}

#[test]
fn several_writers_on_a_stormy_store_make_one_log() {
    for seed in seeds(0..60) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let end = runtime.unwrap().block_on(run(seed, Faults::STORMY));
        assert!(end > 10, "seed {seed}: hardly anything was written");
    }
}

#[test]
fn without_faults_every_append_that_was_not_killed_is_there() {
    for seed in 0..10 {
        let faults = Faults { delay_max: Duration::from_millis(100), ..Faults::NONE };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(run(seed, faults));
    }
}
