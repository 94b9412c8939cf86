//! What a group needs while nothing moves: positions follow to the side that it may move to, the fence stays alive,
//! and whoever is left behind is noticed.

use std::time::Duration;

use towpath_env::retry::RetryPolicy;
use towpath_plans::evidence::Body;
use towpath_plans::transition::{Effect, FenceDuty, GroupMove, GroupState, Next, Route, fence_duty, resume};
use towpath_wire::client::TopicPartition;
use towpath_wire::private::GroupOffset;

use super::mover::Mover;
use super::run::Run;
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::committed;
use crate::groups::route::from_wire;

/// How often the fence member says that it lives: Kafka's own `heartbeat.interval.ms`.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// A position that has no counterpart for so many rounds is told: the mirror is not just a moment behind.
const UNTRANSLATED_TOLD: u32 = 3;

impl Mover {
    /// Until the service stops.
    pub(super) async fn follow(&self) {
        let mut delays = RetryPolicy::FOREVER.delays(&self.link.env);
        while let Err(error) = self.take_up().await {
            self.memory.lock().alarm("start", error.one_line());
            tracing::info!(group = self.group.name, error = error.one_line(), "cannot take the group up yet");
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
        if record.state.is_over() {
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
            run.step(format!("going on after a restart: the group is {}", record.state));
        }
        let outcome = self.carry_out(&mut run, next).await;
        if !run.bodies.is_empty() {
            self.settle_evidence(&mut run).await;
        }
        self.doubt_last_commit(&self.record());
        outcome
    }

    /// The fence was confirmed just now.
    pub(super) fn fence_stands(&self) {
        let now_ms = self.link.env.now_ms();
        self.memory.lock().fence_stands(now_ms);
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
                // A verb under way finds out by itself: before it rests on the fence, and while the group consumes
                // on the target (`keep_source_up`).
                Ok(Membership::Gone(_)) => {
                    if let Ok(_acting) = self.acting.try_lock() {
                        self.mend_fence().await;
                    }
                }
                Err(error) => {
                    let error = error.one_line();
                    tracing::info!(group = self.group.name, error, "heartbeat of the fence; trying again");
                }
            }
        }
    }

    /// Sets the fence again after a lapse, and tells.
    pub(super) async fn mend_fence(&self) {
        let mut run = Run::resumed(&self.link.env).of(&self.group.name, self.group.pause_max_ms);
        let next = Next { record: self.record(), effects: vec![Effect::AdoptFence] };
        if let Err(error) = self.carry_out(&mut run, next).await {
            tracing::info!(
                group = self.group.name,
                error = error.one_line(),
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
        if record.state.is_over() || self.link.journal.check_mine().is_err() {
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
                let error = error.one_line();
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
                let found = found.map_or_else(|| "not set".to_owned(), |route| route.to_string());
                let text = format!("the route at the target is {found}, the journal says {wanted}");
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
    pub(super) fn translated(&self, side: Side, id: &TopicPartition, offset: i64) -> Option<i64> {
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
}
