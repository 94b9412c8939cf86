//! Holding members while the group's route is not `target` (DESIGN §5.6).
//!
//! A held group forms no generation: its members stay in PreparingRebalance, each with a parked join or on
//! its way back with one. Clients must not notice more than a slow coordinator, so a parked join is answered
//! before its client's timeout with the one code that every client retries at once, under the same id and
//! without a word to the application: MEMBER_ID_REQUIRED naming the id it already has (JoinGroup v4+; Java,
//! librdkafka, franz-go, Sarama, kafka-python and KafkaJS all just join again with it).
//! REBALANCE_IN_PROGRESS would reach the application in librdkafka; COORDINATOR_LOAD_IN_PROGRESS ends a
//! session in clients that count retries, but it is the only silent one before v4.

use kafka_protocol::ResponseError;

use super::join::{MEMBER_ID_REQUIRED_SINCE, park_ms};
use super::{ClassicGroup, Effect, Effects, Event, JoinAnswer, JoinPhase, Now, State, Token};

impl ClassicGroup {
    /// The route is closed, or closes: members that wait to join stay, held; all others are removed, and
    /// learn it from their next heartbeat (UNKNOWN_MEMBER_ID), after which they join again and are held.
    pub fn hold(&mut self, now: Now, fx: &mut Effects) {
        if self.held || self.state == State::Dead {
            return;
        }
        self.held = true;
        let settled = self.members.values().filter(|member| member.join.is_none());
        let evicted: Vec<String> = settled.map(|member| member.id.clone()).collect();
        for id in &evicted {
            self.remove_member(id, fx);
        }
        if self.state != State::Empty {
            // What anybody still sends of the generation before names an old one: the evicted, and also those that
            // stay, whose commits would set the group back right after the switch.
            self.generation = self.generation.checked_add(1).unwrap_or(1);
        }
        self.protocol = None;
        self.subscribed = None;
        self.join_phase = None;
        self.sync_deadline_ms = None;
        let park_max_ms = self.timing.park_max_ms;
        for member in self.members.values_mut() {
            let answer_by_ms = now.mono_ms + park_ms(member, park_max_ms);
            member.is_new = true;
            if let Some(join) = &mut member.join {
                join.answer_by_ms = Some(answer_by_ms);
            }
        }
        self.go(Event::Evicted, now);
        self.try_complete_join(now, fx);
    }

    /// The route opens: all parked joins complete as one generation, at once, or as soon as those that are
    /// just between two joins are back (at most the switch grace; latecomers start another generation).
    pub fn release(&mut self, now: Now, fx: &mut Effects) {
        if !self.held {
            return;
        }
        self.held = false;
        for member in self.members.values_mut() {
            if let Some(join) = &mut member.join {
                join.answer_by_ms = None;
            }
        }
        if self.state == State::PreparingRebalance {
            let deadline_ms = now.mono_ms + self.timing.switch_grace_ms;
            self.join_phase = Some(JoinPhase { deadline_ms, initial: None, keeps_absent: true });
            self.try_complete_join(now, fx);
        }
    }

    /// The client of a parked join went away. A held member may come back and keeps its place for the grace;
    /// one that was never in a generation is forgotten, so that no generation waits for it or counts on it.
    pub fn join_abandoned(&mut self, now: Now, token: Token, fx: &mut Effects) {
        let parked = |join: Option<super::member::ParkedJoin>| join.is_some_and(|join| join.token == token);
        let Some(member) = self.members.values_mut().find(|member| parked(member.join)) else { return };
        if self.held {
            member.join = None;
            member.session_deadline_ms = now.mono_ms + self.timing.held_grace_ms;
        } else if member.is_new && member.instance_id.is_none() {
            let id = member.id.clone();
            member.join = None;
            self.remove_member(&id, fx);
            self.after_removal(now, true, fx);
        }
    }

    /// Answers held joins whose time is up; the members stay, if they come back within the grace.
    pub(super) fn answer_held(&mut self, now: Now, fx: &mut Effects) {
        let grace_ms = self.timing.held_grace_ms;
        for member in self.members.values_mut() {
            let Some(join) = member.join else { continue };
            if join.answer_by_ms.is_none_or(|answer_by_ms| answer_by_ms > now.mono_ms) {
                continue;
            }
            member.join = None;
            member.session_deadline_ms = now.mono_ms + grace_ms;
            let code = if member.join_version >= MEMBER_ID_REQUIRED_SINCE {
                ResponseError::MemberIdRequired
            } else {
                ResponseError::CoordinatorLoadInProgress
            };
            fx.push(Effect::Join(join.token, JoinAnswer::error(code, &member.id)));
        }
    }
}
