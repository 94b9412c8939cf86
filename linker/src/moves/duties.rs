//! What a group needs while nothing moves: positions follow to the side that it may move to, the fence stays alive,
//! and whoever is left behind is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_env::retry::RetryPolicy;
use towpath_plans::evidence::{Actor, Body};
use towpath_plans::transition::{
    Effect, FenceDuty, GroupMove, GroupState, Next, Position, Route, fence_duty, resume,
};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::GroupMember;
use towpath_wire::private::{GroupOffset, LinkGroupState};

use super::adopt::changed;
use super::executor::one_line;
use super::mover::Mover;
use super::run::Run;
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::{committed, to_committed, to_positions};
use crate::groups::route::{from_wire, positions_of};

/// How often the fence member says that it lives: Kafka's own `heartbeat.interval.ms`.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Evidence that waits for the store; beyond it the oldest is given up, the journal still has the decisions.
const EVIDENCE_KEPT_MAX: usize = 1_000;
/// A position that has no counterpart for so many rounds is told: the mirror is not just a moment behind.
const UNTRANSLATED_TOLD: u32 = 3;

/// What a mover remembers between rounds. Lost in a crash.
#[derive(Default)]
pub(super) struct Memory {
    /// When the fence was last confirmed, ms since the epoch.
    pub(super) heartbeat_ms: Option<i64>,
    /// What is out of order, by kind.
    pub(super) alarms: BTreeMap<String, String>,
    /// When the way back was last looked at, on the monotonic clock, and what it was.
    pub(super) way_back: Option<(Duration, super::way_back::WayBack)>,
    evidence: Vec<(Option<Actor>, Body)>,
    synced: BTreeMap<TopicPartition, (i64, Option<String>)>,
    untranslated: BTreeMap<TopicPartition, u32>,
    told: BTreeSet<(TopicPartition, i64)>,
}

impl Memory {
    /// Notes what is out of order; the same kind is told once.
    pub(super) fn alarm(&mut self, kind: &str, text: String) {
        self.alarms.insert(kind.into(), text);
    }

    pub(super) fn keep_evidence(&mut self, actor: Option<Actor>, bodies: Vec<Body>) {
        self.evidence.extend(bodies.into_iter().map(|body| (actor.clone(), body)));
        let over = self.evidence.len().saturating_sub(EVIDENCE_KEPT_MAX);
        self.evidence.drain(..over);
    }

    /// A verb begins: what was said about the way before it is over.
    pub(super) fn forget(&mut self) {
        self.alarms.clear();
        self.synced.clear();
        self.untranslated.clear();
        self.told.clear();
        self.way_back = None;
    }
}

impl Mover {
    /// Until the service stops.
    pub(super) async fn follow(&self) {
        let mut delays = RetryPolicy::FOREVER.delays(&self.link.env);
        while let Err(error) = self.take_up().await {
            self.memory.lock().alarm("start", one_line(&error));
            tracing::info!(group = self.group.name, error = one_line(&error), "cannot take the group up yet");
            let delay = delays.next_delay().unwrap_or(HEARTBEAT);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.link.env.sleep(delay) => {}
            }
        }
        self.memory.lock().alarms.remove("start");
        self.ready.send_replace(true);
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.heartbeats() => {}
            () = self.rounds() => {}
        }
    }

    /// Makes the group this link's at the target and ends what a crash left half done.
    async fn take_up(&self) -> Result<(), LinkerError> {
        let _acting = self.acting.lock().await;
        let record = self.record();
        if is_over(record.state) {
            return Ok(());
        }
        self.target.declare().await?;
        let (_, next) = resume(&record, self.link.env.now_ms());
        let mut run = Run::resumed(&self.link.env).of(&self.group.name, self.group.pause_max_ms);
        // What the crash kept from being written: the journal is ahead of the evidence.
        let told = self.link.ledger.last_group_state(&self.group.name);
        if told.unwrap_or(GroupState::OnSource) != record.state {
            let before = told.unwrap_or(GroupState::OnSource);
            let before = GroupMove { state: before, finals: Vec::new(), ..record.clone() };
            run.bodies.extend(Body::of_change(&before, &record));
        }
        if !record.state.is_at_rest() {
            run.step(format!("going on after a restart: {:?}", record.state));
        }
        let outcome = self.carry_out(&mut run, next).await;
        if !run.bodies.is_empty() {
            self.settle_evidence(&mut run).await;
        }
        outcome
    }

    /// The fence was confirmed just now.
    pub(super) fn fence_stands(&self) {
        let now_ms = self.link.env.now_ms();
        self.memory.lock().heartbeat_ms = Some(now_ms);
        self.link.mirror.metrics.groups.fence_confirmed(&self.group.name, now_ms);
    }

    /// Keeps the fence's session alive, also while a verb is under way.
    async fn heartbeats(&self) {
        loop {
            self.link.env.sleep(HEARTBEAT).await;
            let record = self.record();
            let superseded = self.link.journal.check_mine().is_err();
            if superseded || fence_duty(record.state, record.verb) == FenceDuty::None {
                continue;
            }
            let Some(hold) = &record.fence else { continue };
            match self.fence.heartbeat(hold).await {
                Ok(Membership::Stands) => {
                    self.fence_stands();
                }
                // A verb under way finds out by itself, where it rests on the fence.
                Ok(Membership::Gone(_)) => {
                    if let Ok(_acting) = self.acting.try_lock() {
                        self.mend_fence().await;
                    }
                }
                Err(error) => {
                    let error = one_line(&error);
                    tracing::info!(group = self.group.name, error, "heartbeat of the fence; trying again");
                }
            }
        }
    }

    /// Sets the fence again after a lapse, and tells.
    async fn mend_fence(&self) {
        let mut run = Run::resumed(&self.link.env).of(&self.group.name, self.group.pause_max_ms);
        let next = Next { record: self.record(), effects: vec![Effect::AdoptFence] };
        if let Err(error) = self.carry_out(&mut run, next).await {
            tracing::info!(
                group = self.group.name,
                error = one_line(&error),
                "the fence is not set again yet"
            );
        }
        for alarm in std::mem::take(&mut run.alarms) {
            self.memory.lock().alarm("stragglers", alarm);
        }
        self.settle_evidence(&mut run).await;
    }

    async fn rounds(&self) {
        let interval = Duration::from_millis(self.link.plan.link.sync_interval_ms);
        loop {
            match self.acting.try_lock() {
                Ok(_acting) => self.round().await,
                // A verb is under way, perhaps waiting for people: it is shown as it goes.
                Err(_) => self.look_around().await,
            }
            self.link.env.sleep(interval).await;
        }
    }

    /// One round of everything; what fails is tried again with the next.
    async fn round(&self) {
        let record = self.record();
        // Another service acts for this group now: what it does must not be mixed with what this one thinks.
        if is_over(record.state) || self.link.journal.check_mine().is_err() {
            return;
        }
        let kept = std::mem::take(&mut self.memory.lock().evidence);
        for (actor, body) in kept {
            if self.link.ledger.record(actor.clone(), body.clone()).await.is_err() {
                self.memory.lock().keep_evidence(actor, vec![body]);
            }
        }
        let outcome = async {
            self.reconcile_route(&record).await?;
            match record.state {
                GroupState::OnSource => self.sync_forward().await,
                GroupState::OnTarget => self.commit_back().await,
                _ => Ok(()),
            }
        };
        match outcome.await {
            Ok(()) => drop(self.memory.lock().alarms.remove("sync")),
            Err(error) => {
                let error = one_line(&error);
                tracing::info!(group = self.group.name, error, "positions are not synced; trying again");
                self.memory.lock().alarm("sync", format!("positions are not synced: {error}"));
            }
        }
        self.look_around().await;
    }

    /// At rest the target's route is what the record says: a step that was half done is ended.
    async fn reconcile_route(&self, record: &GroupMove) -> Result<(), LinkerError> {
        let wanted = record.route();
        let state = self.target.describe().await?;
        match state.route.map(from_wire) {
            Some(now) if now == wanted => drop(self.memory.lock().alarms.remove("route")),
            Some(Route::Draining) => {
                let way = (Route::Draining, wanted);
                self.target.switch(record.attempt, way, Vec::new()).await?;
                tracing::info!(group = self.group.name, "the route at the target was still draining");
            }
            None if wanted == Route::Source => drop(self.target.declare().await?),
            found => {
                let text = format!("the route at the target is {found:?}, the journal says {wanted:?}");
                self.memory.lock().alarm("route", text);
            }
        }
        Ok(())
    }

    /// The source's positions as the target numbers them: only those that moved, and only exact ones.
    async fn sync_forward(&self) -> Result<(), LinkerError> {
        let read = committed(&self.link.source.client, &self.group.name, false).await?;
        let mut offsets = Vec::new();
        for (id, at) in read {
            if self.placed(&id).is_none() {
                continue;
            }
            let Some(offset) = self.translated(Side::Source, &id, at.offset) else { continue };
            let value = (offset, at.metadata.clone());
            if self.memory.lock().synced.get(&id) != Some(&value) {
                let (topic, partition) = (id.topic, id.partition);
                let metadata = at.metadata;
                offsets.push(GroupOffset { topic, partition, offset, leader_epoch: -1, metadata });
            }
        }
        if offsets.is_empty() {
            return Ok(());
        }
        self.target.sync(offsets.clone()).await?;
        let mut memory = self.memory.lock();
        for at in offsets {
            memory.synced.insert(TopicPartition::new(at.topic, at.partition), (at.offset, at.metadata));
        }
        Ok(())
    }

    /// A position on the other side; one without a counterpart is skipped, and told when it stays so.
    fn translated(&self, side: Side, id: &TopicPartition, offset: i64) -> Option<i64> {
        let kind = format!("untranslated {id}");
        match self.translate(side, id, offset) {
            Ok(there) => {
                let mut memory = self.memory.lock();
                memory.untranslated.remove(id);
                memory.alarms.remove(&kind);
                Some(there)
            }
            Err(error) => {
                let mut memory = self.memory.lock();
                let rounds = memory.untranslated.entry(id.clone()).or_default();
                *rounds += 1;
                if *rounds >= UNTRANSLATED_TOLD {
                    memory.alarm(&kind, error.to_string());
                }
                None
            }
        }
    }

    /// While the route is `target`: the translated target positions are committed at the source, so that a lapse
    /// repeats seconds, not days.
    pub(super) async fn commit_back(&self) -> Result<(), LinkerError> {
        let state = self.target.describe().await?;
        if state.route.map(from_wire) != Some(Route::Target) {
            return Ok(());
        }
        let record = self.record();
        let Some(hold) = &record.fence else {
            self.mend_fence().await;
            return Ok(());
        };
        let moved = self.watch(&record).await?;
        let positions = self.positions_for_source(&state)?;
        if !moved && self.source_positions()[0] == positions {
            return Ok(());
        }
        self.journal_source_positions(&positions).await?;
        if let Membership::Gone(_) = self.fence.commit(hold, &to_committed(&positions)).await? {
            self.mend_fence().await;
        }
        Ok(())
    }

    fn positions_for_source(&self, state: &LinkGroupState) -> Result<Vec<Position>, LinkerError> {
        let mut positions = positions_of(state);
        for at in &positions {
            // Leaving it out would look like a movement at the source later.
            if self.waits_for_carrier(&TopicPartition::new(at.topic.clone(), at.partition)) {
                return Err(self.not_carried(&at.topic));
            }
        }
        positions.retain_mut(|at| {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            let mirrored = self.placed(&id).is_some();
            let there = mirrored.then(|| self.translated(Side::Target, &id, at.offset)).flatten();
            at.offset = there.unwrap_or(-1);
            there.is_some()
        });
        positions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(positions)
    }

    /// Looks for whoever moves at the source behind the fence: true when a position is not the fence member's.
    async fn watch(&self, record: &GroupMove) -> Result<bool, LinkerError> {
        let now = to_positions(&committed(&self.link.source.client, &self.group.name, false).await?);
        let seen = self.fence.look().await?;
        let moved = changed(&self.expected_at_source(record), &now);
        if seen.live.is_empty() && moved.is_empty() {
            return Ok(false);
        }
        if !seen.live.is_empty() {
            let text = format!("members are on the source behind the fence{}", self.names(&seen.live));
            self.memory.lock().alarm("stragglers", text);
        }
        for told in self.tell_movement(&moved, &seen.live) {
            tracing::warn!(family = self.link.family(), group = self.group.name, "{told}");
        }
        Ok(!moved.is_empty())
    }

    /// Notes positions that somebody else committed at the source, each with its range: status and evidence. Answers
    /// what was not told before.
    pub(super) fn tell_movement(&self, moved: &[(Position, i64)], live: &[GroupMember]) -> Vec<String> {
        let members: Vec<_> = live.iter().map(|member| self.trace(member)).collect();
        let (mut texts, mut bodies) = (Vec::new(), Vec::new());
        for (at, expected) in moved {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            if !self.memory.lock().told.insert((id.clone(), at.offset)) {
                continue;
            }
            let (from, to) = (at.offset.min(*expected), at.offset.max(*expected));
            let text = format!(
                "{id}: somebody committed offset {} at the source behind the fence, {expected} was expected: offsets \
                 {from} to {to} may be processed on both sides, or on neither",
                at.offset
            );
            self.memory.lock().alarm(&format!("straggler {id}"), text.clone());
            texts.push(text);
            bodies.push(Body::Straggler {
                group: self.group.name.clone(),
                topic: at.topic.clone(),
                partition: at.partition,
                expected: *expected,
                seen: at.offset,
                members: members.clone(),
            });
        }
        self.memory.lock().keep_evidence(None, bodies);
        texts
    }
}

/// The group is no longer this link's.
fn is_over(state: GroupState) -> bool {
    matches!(state, GroupState::Completed | GroupState::Cancelled)
}
