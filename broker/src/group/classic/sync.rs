//! SyncGroup and Heartbeat.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::{ClassicGroup, Effect, Effects, Event, Now, State, SyncAnswer, SyncInput, Token};

impl ClassicGroup {
    /// One SyncGroup; answered through `fx`, now or later.
    pub fn sync(&mut self, now: Now, input: SyncInput, token: Token, fx: &mut Effects) {
        if let Err(refused) = self.check_sync(&input) {
            fx.push(Effect::Sync(token, SyncAnswer::error(refused)));
            return;
        }
        self.keep_alive(now, &input.member_id);
        let leads = self.leader.as_deref() == Some(&input.member_id);
        let Some(member) = self.members.get_mut(&input.member_id) else { return };
        member.has_synced = true;
        if let Some(earlier) = member.sync.replace(token) {
            fx.push(Effect::Sync(earlier, SyncAnswer::error(ResponseError::RebalanceInProgress)));
        }
        if self.state == State::CompletingRebalance && leads {
            self.assign(now, input.assignments);
            fx.push(Effect::Persist);
        }
        if self.state == State::Stable {
            self.answer_syncs(now, fx);
        }
    }

    fn check_sync(&self, input: &SyncInput) -> Result<(), ResponseError> {
        if self.state == State::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        self.check_member(&input.member_id, input.instance_id.as_deref(), input.generation)?;
        let differs = |theirs: &Option<String>, ours: &Option<String>| theirs.is_some() && theirs != ours;
        if differs(&input.protocol_type, &self.protocol_type) || differs(&input.protocol, &self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
            State::Empty | State::Dead => Err(ResponseError::UnknownMemberId),
        }
    }

    /// Members that the leader left out get an empty part.
    fn assign(&mut self, now: Now, assignments: Vec<(String, Bytes)>) {
        let mut parts: HashMap<String, Bytes> = assignments.into_iter().collect();
        for member in self.members.values_mut() {
            member.assignment = parts.remove(&member.id).unwrap_or_default();
        }
        self.go(Event::AssignmentReceived, now);
    }

    fn answer_syncs(&mut self, now: Now, fx: &mut Effects) {
        for member in self.members.values_mut() {
            let Some(token) = member.sync.take() else { continue };
            member.session_deadline_ms = now.mono_ms + member.session_timeout_ms.max(0) as u64;
            let answer = SyncAnswer {
                error: None,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            };
            fx.push(Effect::Sync(token, answer));
        }
    }

    /// The assignment could not be written: nobody may act on it, so a new generation is formed.
    pub fn persist_failed(&mut self, now: Now, fx: &mut Effects) {
        if self.state == State::Stable {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.prepare_rebalance(now, fx);
        }
    }

    /// One Heartbeat.
    pub fn heartbeat(
        &mut self,
        now: Now,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if self.state == State::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        self.check_member(member_id, instance_id, generation)?;
        match self.state {
            State::Empty | State::Dead => Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => {
                if !self.held {
                    self.keep_alive(now, member_id);
                }
                Err(ResponseError::RebalanceInProgress)
            }
            State::CompletingRebalance | State::Stable => {
                self.keep_alive(now, member_id);
                Ok(())
            }
        }
    }
}
