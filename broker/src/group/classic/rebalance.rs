//! From one generation to the next.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::{
    ClassicGroup, Effect, Effects, Event, InitialDelay, JoinAnswer, JoinPhase, Now, State, SyncAnswer,
};
use crate::group::subscription;

impl ClassicGroup {
    /// Members came, changed or went: start a rebalance, or see whether the one under way is complete.
    pub(super) fn membership_changed(&mut self, now: Now, fx: &mut Effects) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(now, fx),
            State::PreparingRebalance => self.try_complete_join(now, fx),
            State::Dead => {}
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: Now, fx: &mut Effects) {
        let was_empty = self.state == State::Empty;
        if self.state == State::CompletingRebalance {
            self.refuse_syncs(now, ResponseError::RebalanceInProgress, fx);
        }
        self.sync_deadline_ms = None;
        for member in self.members.values_mut() {
            member.has_synced = false;
        }
        self.go(Event::RebalanceNeeded, now);
        let timeout_ms = self.rebalance_timeout_ms();
        let delay_ms = self.timing.initial_delay_ms;
        self.join_phase = Some(if was_empty && delay_ms > 0 {
            JoinPhase {
                deadline_ms: now.mono_ms + delay_ms,
                initial: Some(InitialDelay {
                    remaining_ms: timeout_ms.saturating_sub(delay_ms),
                    member_added: false,
                }),
                keeps_absent: false,
            }
        } else {
            JoinPhase { deadline_ms: now.mono_ms + timeout_ms, initial: None, keeps_absent: false }
        });
        self.try_complete_join(now, fx);
    }

    /// The slowest member decides.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms.max(0) as u64).max().unwrap_or(0)
    }

    pub(super) fn try_complete_join(&mut self, now: Now, fx: &mut Effects) {
        if self.state != State::PreparingRebalance {
            return;
        }
        if self.held {
            if self.members.is_empty() {
                self.join_phase = None;
                self.leader = None;
                self.go(Event::MembersGone, now);
            }
            return;
        }
        let waits_for_more = self.join_phase.is_some_and(|phase| phase.initial.is_some());
        let all_joined = self.pending.is_empty() && self.members.values().all(|member| member.join.is_some());
        if all_joined && !waits_for_more {
            self.complete_join(now, fx);
        }
    }

    /// The deadline of the join phase has passed.
    pub(super) fn on_join_deadline(&mut self, now: Now, fx: &mut Effects) {
        let delay_ms = self.timing.initial_delay_ms;
        if let Some(phase) = &mut self.join_phase
            && let Some(initial) = &mut phase.initial
            && initial.member_added
            && initial.remaining_ms > 0
        {
            let extension_ms = delay_ms.min(initial.remaining_ms);
            initial.member_added = false;
            initial.remaining_ms -= extension_ms;
            phase.deadline_ms = now.mono_ms + extension_ms;
            return;
        }
        self.complete_join(now, fx);
    }

    fn complete_join(&mut self, now: Now, fx: &mut Effects) {
        self.drop_absent(now);
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, none of them here: they keep their places (KIP-345).
            let deadline_ms = now.mono_ms + self.rebalance_timeout_ms().max(1);
            self.join_phase = Some(JoinPhase { deadline_ms, initial: None, keeps_absent: false });
            return;
        }
        self.join_phase = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.become_empty(now);
            fx.push(Effect::Persist);
            return;
        }
        self.protocol = self.select_protocol();
        self.compute_subscribed();
        self.go(Event::JoinPhaseDone, now);
        self.sync_deadline_ms = Some(now.mono_ms + self.rebalance_timeout_ms());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.join_answer(&id);
            self.keep_alive(now, &id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            member.has_synced = false;
            member.assignment = Bytes::new();
            if let Some(join) = member.join.take() {
                fx.push(Effect::Join(join.token, answer));
            }
        }
    }

    fn become_empty(&mut self, now: Now) {
        self.protocol = None;
        self.leader = None;
        self.subscribed = None;
        self.go(Event::MembersGone, now);
    }

    /// Dynamic members that did not join in time are no longer members.
    fn drop_absent(&mut self, now: Now) {
        let keeps_absent = self.join_phase.is_some_and(|phase| phase.keeps_absent);
        let absent = |member: &&super::Member| member.join.is_none() && member.instance_id.is_none();
        let gone: Vec<String> =
            self.members.values().filter(absent).map(|member| member.id.clone()).collect();
        for id in gone {
            if let Some(member) = self.members.shift_remove(&id)
                && keeps_absent
            {
                self.pending.insert(id, now.mono_ms + member.session_timeout_ms.max(0) as u64);
            }
        }
        if self.leader.as_ref().is_some_and(|id| !self.members.contains_key(id)) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// `false`: nobody has joined.
    fn elect_joined_leader(&mut self) -> bool {
        let leads = |id: &String| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(leads) {
            return true;
        }
        let first = self.members.values().find(|member| member.join.is_some());
        match first.map(|member| member.id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Each member votes for the first of its protocols that all members support; the most votes win, and of
    /// equals the one that the earliest member prefers.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in self.members.values() {
            let Some(choice) = member.protocols.iter().find(|protocol| common(&protocol.name)) else {
                continue;
            };
            match votes.iter_mut().find(|(name, _)| *name == choice.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((&choice.name, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }

    pub(super) fn compute_subscribed(&mut self) {
        self.subscribed = None;
        let Some(protocol) = self.protocol.as_deref().filter(|_| self.is_consumer()) else { return };
        let topics = self.members.values().map(|member| subscription::topics(&member.metadata(protocol)));
        // One subscription that can't be read means that nothing is known.
        self.subscribed = topics.collect::<Option<Vec<_>>>().map(|all| all.into_iter().flatten().collect());
    }

    /// Their sessions start anew: while they waited they could not send heartbeats.
    fn refuse_syncs(&mut self, now: Now, error: ResponseError, fx: &mut Effects) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(token) = member.sync.take() {
                member.session_deadline_ms = now.mono_ms + member.session_timeout_ms.max(0) as u64;
                fx.push(Effect::Sync(token, SyncAnswer::error(error)));
            }
        }
    }

    /// Removes a member and answers what it waits for; the caller starts the rebalance.
    pub(super) fn remove_member(&mut self, id: &str, fx: &mut Effects) {
        let Some(member) = self.members.shift_remove(id) else { return };
        if let Some(join) = member.join {
            fx.push(Effect::Join(join.token, JoinAnswer::error(ResponseError::UnknownMemberId, id)));
        }
        if let Some(sync) = member.sync {
            fx.push(Effect::Sync(sync, SyncAnswer::error(ResponseError::UnknownMemberId)));
        }
        if let Some(instance) = &member.instance_id
            && self.statics.get(instance).is_some_and(|current| current == id)
        {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
