//! Incremental fetch sessions (KIP-227): the broker remembers what a client wants, so that the client names only
//! what changes, and gets only what changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use parking_lot::Mutex;

use super::{Found, SESSION_VERSION, TOPIC_ID_VERSION, TopicKey, Wanted};
use crate::metrics::ServerMetrics;

/// No session.
const NO_SESSION: i32 = 0;
/// Epoch of a request that opens a session.
const FIRST_EPOCH: i32 = 0;
/// Epoch of a request that wants no session, and closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// A session idle for longer makes room for any new one (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// All sessions of this broker.
pub struct FetchSessions {
    state: Mutex<State>,
    sessions_max: usize,
    partitions_max: usize,
    metrics: ServerMetrics,
}

#[derive(Default)]
struct State {
    sessions: HashMap<i32, Session>,
    /// Over all sessions.
    partitions: usize,
}

struct Session {
    /// Epoch of the next request.
    epoch: i32,
    /// Whether it names topics by id.
    by_id: bool,
    partitions: IndexMap<(TopicKey, i32), Cached>,
    used_at: Duration,
}

struct Cached {
    wanted: Wanted,
    /// What the client was last told; -1: nothing.
    high_watermark: i64,
    log_start: i64,
    had_data: bool,
}

/// A fetch between its request and its response.
pub enum Begun {
    /// Without a session.
    Full(Vec<Wanted>),
    /// Opens one, if there is room.
    Opening(Vec<Wanted>),
    /// Within one.
    Incremental {
        /// Which.
        session_id: i32,
        /// The epoch that its next request has; another one has come meanwhile if it does not.
        epoch: i32,
        /// All that the session wants.
        wanted: Vec<Wanted>,
    },
}

impl Begun {
    /// What to read.
    pub fn wanted(&self) -> Vec<Wanted> {
        match self {
            Begun::Full(wanted) | Begun::Opening(wanted) | Begun::Incremental { wanted, .. } => {
                wanted.clone()
            }
        }
    }
}

impl FetchSessions {
    /// No sessions yet; at most `sessions_max`, with at most `partitions_max` between them.
    pub fn new(sessions_max: usize, partitions_max: usize, metrics: ServerMetrics) -> FetchSessions {
        FetchSessions { state: Mutex::default(), sessions_max, partitions_max, metrics }
    }

    /// What `request` wants, with what its session wants already. `now` is the monotonic clock.
    pub fn begin(&self, request: &FetchRequest, version: i16, now: Duration) -> Result<Begun, ResponseError> {
        if version < SESSION_VERSION {
            return Ok(Begun::Full(wanted(request, version)));
        }
        let mut state = self.state.lock();
        let (session_id, epoch) = (request.session_id, request.session_epoch);
        if matches!(epoch, FIRST_EPOCH | FINAL_EPOCH) {
            if session_id != NO_SESSION {
                state.close(session_id);
                self.show(&state);
            }
            let wanted = wanted(request, version);
            return Ok(if epoch == FIRST_EPOCH { Begun::Opening(wanted) } else { Begun::Full(wanted) });
        }
        let session = state.sessions.get_mut(&session_id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != (version >= TOPIC_ID_VERSION) {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        let before = session.partitions.len();
        session.update(request, version);
        session.used_at = now;
        session.epoch = next_epoch(epoch);
        let begun = Begun::Incremental {
            session_id,
            epoch: session.epoch,
            wanted: session.partitions.values().map(|cached| cached.wanted.clone()).collect(),
        };
        let after = session.partitions.len();
        state.partitions = state.partitions + after - before;
        if after == 0 {
            state.close(session_id);
        }
        self.show(&state);
        Ok(begun)
    }

    /// The session's id and what of `found` the client is told. `random` makes a new session's id.
    pub fn finish(&self, begun: Begun, found: Vec<Found>, random: u64, now: Duration) -> (i32, Vec<Found>) {
        let mut state = self.state.lock();
        match begun {
            Begun::Full(_) => (NO_SESSION, found),
            Begun::Opening(wanted) => {
                let session_id = self.open(&mut state, wanted, &found, random, now);
                self.show(&state);
                (session_id, found)
            }
            Begun::Incremental { session_id, epoch, .. } => {
                let session = state.sessions.get_mut(&session_id).filter(|session| session.epoch == epoch);
                match session {
                    Some(session) => (session_id, session.changed(found)),
                    // Evicted meanwhile: the client hears of it with its next request.
                    None => (session_id, found),
                }
            }
        }
    }

    fn open(
        &self,
        state: &mut State,
        wanted: Vec<Wanted>,
        found: &[Found],
        random: u64,
        now: Duration,
    ) -> i32 {
        if wanted.is_empty() || !self.make_room(state, wanted.len(), now) {
            return NO_SESSION;
        }
        let mut session_id = (random & 0x7fff_ffff) as i32;
        while session_id == NO_SESSION || state.sessions.contains_key(&session_id) {
            session_id = session_id.wrapping_add(1) & 0x7fff_ffff;
        }
        let by_id = matches!(wanted[0].topic, TopicKey::Id(_));
        let partitions = wanted.into_iter().map(|wanted| {
            let cached = Cached { wanted, high_watermark: -1, log_start: -1, had_data: false };
            ((cached.wanted.topic.clone(), cached.wanted.index), cached)
        });
        let mut session =
            Session { epoch: next_epoch(FIRST_EPOCH), by_id, partitions: partitions.collect(), used_at: now };
        for found in found {
            session.tell(found);
        }
        state.partitions += session.partitions.len();
        state.sessions.insert(session_id, session);
        session_id
    }

    /// Closes idle sessions, or one that is smaller than the new one, until there is room.
    fn make_room(&self, state: &mut State, partitions: usize, now: Duration) -> bool {
        loop {
            let fits = state.sessions.len() < self.sessions_max
                && state.partitions + partitions <= self.partitions_max;
            if fits {
                return true;
            }
            let oldest = state.sessions.iter().min_by_key(|(_, session)| session.used_at);
            let idle = oldest.filter(|(_, session)| now.saturating_sub(session.used_at) > EVICTABLE_AFTER);
            let smaller = || {
                let smallest = state.sessions.iter().min_by_key(|(_, session)| session.partitions.len());
                smallest.filter(|(_, session)| session.partitions.len() < partitions)
            };
            let Some(evicted) = idle.or_else(smaller).map(|(id, _)| *id) else { return false };
            state.close(evicted);
            self.metrics.fetch_sessions_evicted.inc();
        }
    }

    fn show(&self, state: &State) {
        self.metrics.fetch_sessions.set(state.sessions.len() as i64);
        self.metrics.fetch_session_partitions.set(state.partitions as i64);
    }
}

impl State {
    fn close(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.partitions -= session.partitions.len();
        }
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest, version: i16) {
        for wanted in wanted(request, version) {
            let key = (wanted.topic.clone(), wanted.index);
            match self.partitions.get_mut(&key) {
                Some(cached) => cached.wanted = wanted,
                None => {
                    let cached = Cached { wanted, high_watermark: -1, log_start: -1, had_data: false };
                    self.partitions.insert(key, cached);
                }
            }
        }
        for forgotten in &request.forgotten_topics_data {
            let topic = topic_key(&forgotten.topic, forgotten.topic_id, version);
            for index in &forgotten.partitions {
                self.partitions.shift_remove(&(topic.clone(), *index));
            }
        }
    }

    /// What the client does not know yet. Partitions that had data go to the end of the line, so that a full
    /// response does not always starve the same ones.
    fn changed(&mut self, found: Vec<Found>) -> Vec<Found> {
        let mut shown = found;
        shown.retain(|found| self.tell(found));
        if self.partitions.values().any(|cached| cached.had_data) {
            self.partitions.sort_by(|_, one, _, other| one.had_data.cmp(&other.had_data));
        }
        shown
    }

    /// Remembers what the client is told; whether there is anything new in it.
    fn tell(&mut self, found: &Found) -> bool {
        let Some(cached) = self.partitions.get_mut(&(found.topic.clone(), found.index)) else { return true };
        cached.had_data = !found.batches.is_empty();
        let is_new = cached.had_data
            || found.error_code != 0
            || found.diverging.is_some()
            || cached.high_watermark != found.high_watermark
            || cached.log_start != found.log_start;
        // After an error the client is told the bounds again.
        cached.high_watermark = if found.error_code == 0 { found.high_watermark } else { -1 };
        cached.log_start = if found.error_code == 0 { found.log_start } else { -1 };
        is_new
    }
}

fn next_epoch(epoch: i32) -> i32 {
    // Never back to the epoch that opens a session.
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn topic_key(name: &str, id: uuid::Uuid, version: i16) -> TopicKey {
    if version >= TOPIC_ID_VERSION { TopicKey::Id(id) } else { TopicKey::Name(Arc::from(name)) }
}

fn wanted(request: &FetchRequest, version: i16) -> Vec<Wanted> {
    let topics = request.topics.iter().flat_map(|topic| {
        let key = topic_key(&topic.topic, topic.topic_id, version);
        topic.partitions.iter().map(move |partition| Wanted {
            topic: key.clone(),
            index: partition.partition,
            offset: partition.fetch_offset,
            bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            current_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        })
    });
    topics.collect()
}

#[cfg(test)]
mod tests;
