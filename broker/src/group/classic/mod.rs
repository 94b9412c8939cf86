//! The classic consumer-group protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as a pure machine.
//!
//! Owns members, generations and the rebalance of one group. Time, randomness and storage are inputs and
//! [`Effect`]s: it never waits, never writes, and is driven by the coordinator that calls its verbs and
//! [`ClassicGroup::on_time`]. The states and their transitions are in [`State::after`].
//!
//! A group can be **held** (its route is not `target`): members join and stay known, but no generation is
//! formed; their parked joins are answered with a code that clients retry silently, before they time out.
//! The rules are those of Apache Kafka's group coordinator (KIP-62, 134, 345, 394, 559, 814).

mod answer;
mod hold;
mod join;
mod leave;
mod member;
mod rebalance;
mod restore;
mod state;
mod sync;
mod timer;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use answer::{
    Effect, Effects, JoinAnswer, JoinInput, JoinedMember, LeaveInput, Now, SyncAnswer, SyncInput,
};
use indexmap::IndexMap;
use kafka_protocol::ResponseError;
pub use member::{Member, Protocol, Token};
pub use state::{Event, State};

use super::config::GroupConfig;

/// The timings and bounds that the machine needs, all in ms.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long an empty group waits for more members.
    pub initial_delay_ms: u64,
    /// Most members of one group.
    pub members_max: usize,
    /// Longest park of a held member's join.
    pub park_max_ms: u64,
    /// How long a held member may be away between two joins.
    pub held_grace_ms: u64,
    /// How long the switch waits for held members that are away.
    pub switch_grace_ms: u64,
}

impl From<&GroupConfig> for Timing {
    fn from(config: &GroupConfig) -> Timing {
        Timing {
            initial_delay_ms: config.initial_rebalance_delay_ms,
            members_max: config.members_max,
            park_max_ms: config.park_max_ms,
            held_grace_ms: config.held_grace_ms,
            switch_grace_ms: config.switch_grace_ms,
        }
    }
}

/// The join phase that is under way.
#[derive(Clone, Copy, Debug)]
struct JoinPhase {
    /// It ends then at the latest (monotonic ms).
    deadline_ms: u64,
    /// The first generation of an empty group waits for stragglers instead of ending when all have joined.
    initial: Option<InitialDelay>,
    /// Members that miss the deadline keep their id for a while: they are only between two joins.
    keeps_absent: bool,
}

#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    /// How much longer the wait may be extended (ms).
    remaining_ms: u64,
    /// Somebody joined since the wait was last extended.
    member_added: bool,
}

/// One group in memory. What survives a crash of it is [`crate::group::records::GroupRecord`].
#[derive(Debug)]
pub struct ClassicGroup {
    timing: Timing,
    state: State,
    /// UTC ms of the last change of state.
    state_since_ms: i64,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    /// In order of arrival: the first one leads.
    members: IndexMap<String, Member>,
    /// Instance id → member id.
    statics: BTreeMap<String, String>,
    /// Ids given out with MEMBER_ID_REQUIRED and not used yet → monotonic ms of their end.
    pending: HashMap<String, u64>,
    join_phase: Option<JoinPhase>,
    /// Members without SyncGroup are removed then (monotonic ms).
    sync_deadline_ms: Option<u64>,
    /// Topics that the members of a consumer group subscribe to; `None` when unknown.
    subscribed: Option<BTreeSet<String>>,
    held: bool,
}

impl ClassicGroup {
    /// A new group without members.
    pub fn new(timing: Timing, now: Now) -> ClassicGroup {
        ClassicGroup {
            timing,
            state: State::Empty,
            state_since_ms: now.wall_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: IndexMap::new(),
            statics: BTreeMap::new(),
            pending: HashMap::new(),
            join_phase: None,
            sync_deadline_ms: None,
            subscribed: None,
            held: false,
        }
    }

    /// Where the group is in its rebalance.
    pub fn state(&self) -> State {
        self.state
    }

    /// UTC ms of the last change of state.
    pub fn state_since_ms(&self) -> i64 {
        self.state_since_ms
    }

    /// The current generation; 0 before the first.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The protocol type of its members, kept after they left; `None` when it never had any.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol of the current generation.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Member id of the leader.
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// All members, in order of arrival.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// Whether members are held.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Ids given out and not used yet.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Whether a member subscribes to `topic`. When subscriptions are unknown the answer is yes.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match (&self.subscribed, self.members.is_empty()) {
            (_, true) => false,
            (Some(topics), _) => topics.contains(topic),
            (None, _) => true,
        }
    }

    /// Whether its members speak the consumer protocol.
    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some("consumer")
    }

    /// May a client commit offsets? Keeps the committing member's session alive.
    ///
    /// A commit without member and generation is for groups without members only: those use the coordinator
    /// merely to store offsets. During CompletingRebalance the member knows the new generation but not yet its
    /// part of it.
    pub fn check_commit(
        &mut self,
        now: Now,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if self.state == State::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            return match self.state {
                State::Empty => Ok(()),
                _ => Err(ResponseError::UnknownMemberId),
            };
        }
        if self.state == State::Empty {
            let no_generation = generation < 0;
            return if no_generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) };
        }
        self.check_member(member_id, instance_id, generation)?;
        self.keep_alive(now, member_id);
        match self.state {
            State::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Marks the group as gone. `false`: it has members, or waits for some.
    pub fn delete(&mut self, now: Now) -> bool {
        let deletable = self.state == State::Empty && self.pending.is_empty();
        if deletable {
            self.go(Event::Deleted, now);
        }
        deletable
    }

    /// The only place where the state changes.
    fn go(&mut self, event: Event, now: Now) {
        let after = self.state.after(event);
        debug_assert!(after.is_some(), "{event:?} in {:?}", self.state);
        if let Some(state) = after {
            self.state = state;
            self.state_since_ms = now.wall_ms;
        }
    }

    /// The member that a request names, with its static identity and generation checked.
    fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.check_identity(member_id, instance_id)?;
        if !self.members.contains_key(member_id) {
            return Err(ResponseError::UnknownMemberId);
        }
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    /// A static member whose instance id now belongs to another member id is fenced (KIP-345).
    fn check_identity(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        let Some(instance_id) = instance_id else { return Ok(()) };
        match self.statics.get(instance_id) {
            None => Err(ResponseError::UnknownMemberId),
            Some(current) if current != member_id => Err(ResponseError::FencedInstanceId),
            Some(_) => Ok(()),
        }
    }

    fn keep_alive(&mut self, now: Now, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_deadline_ms = now.mono_ms + member.session_timeout_ms.max(0) as u64;
        }
    }
}
