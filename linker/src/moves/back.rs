//! What keeps the source fit for a way back while the group is on the target: the positions committed there, and an
//! eye on whoever moves behind the fence.

use std::time::Duration;

use towpath_plans::evidence::Body;
use towpath_plans::transition::{FenceHold, GroupMove, GroupState, Position, Route, transition};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::GroupMember;
use towpath_wire::private::LinkGroupState;

use super::adopt::changed;
use super::mover::Mover;
use super::run::Run;
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::{committed, to_committed, to_positions};
use crate::groups::route::{from_wire, positions_of};
use crate::state::Entry;

impl Mover {
    /// While the route is `target`: the translated target positions are committed at the source, so that a lapse
    /// repeats seconds, not days. A fence that is gone is set again.
    pub(super) async fn commit_back(&self) -> Result<(), LinkerError> {
        if let Membership::Gone(_) = self.commit_target_positions(&self.record()).await? {
            self.mend_fence().await;
        }
        Ok(())
    }

    /// The same while a verb is under way and the group consumes on the target. The duties do not act meanwhile: a
    /// fence that is gone is set again here, in any state that rests on it. A failure is told and tried again.
    pub(super) async fn keep_source_up(&self, run: &mut Run<'_>) {
        let now = self.link.env.elapsed();
        if run.commit_back_at.is_some_and(|due| now < due) {
            return;
        }
        run.commit_back_at = Some(now + Duration::from_millis(self.link.plan.link.sync_interval_ms));
        // The caller's record may be older than a fence that was set again.
        let record = self.record();
        let kept_up = async {
            // Whoever has taken over commits and fences from now on.
            self.link.journal.check_mine()?;
            match self.commit_target_positions(&record).await? {
                Membership::Stands => Ok(()),
                Membership::Gone(_) => self.fence_again(run, &record).await,
            }
        };
        if let Err(error) = kept_up.await {
            let error = error.one_line();
            tracing::info!(group = self.group.name, error, "positions are not committed at the source yet");
        }
    }

    /// Sets the fence again in the middle of a verb, whose state stays: the lapse is journaled, told and in evidence
    /// as soon as it is journaled, because the verb may wait for days. A crash before that finds a fence that the
    /// journal does not have, which is a lapse again.
    async fn fence_again(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let _whole = self.refencing.lock().await;
        // Its own measures: the group is delivered to on the target all the while, so this is no pause of the move.
        let mut apart = Run::resumed(&self.link.env).of(&self.group.name, u64::MAX);
        apart.operation = run.operation;
        let adopted = self.adopt(&mut apart, record).await;
        // Whoever was put out is told whatever became of the rest: the next look does not find them.
        for alarm in apart.alarms.drain(..) {
            self.memory.lock().alarm("stragglers", alarm.clone());
            run.alarms.push(alarm);
        }
        let event = adopted?;
        let next = transition(record, &event, self.link.env.now_ms())
            .map_err(|refused| LinkerError::Bug(refused.to_string()))?;
        if next.record != *record {
            self.journal(Entry::Group(Box::new(next.record))).await?;
        }
        self.alarm_lapse(&mut apart);
        self.settle_evidence(&mut apart).await;
        Ok(())
    }

    /// Commits what the source has not acknowledged yet, or what somebody else has overwritten.
    async fn commit_target_positions(&self, record: &GroupMove) -> Result<Membership, LinkerError> {
        let Some(hold) = &record.fence else { return Ok(Membership::Gone("the journal has none".into())) };
        let state = self.target.describe().await?;
        if state.route.map(from_wire) != Some(Route::Target) {
            return Ok(Membership::Stands);
        }
        // Before the journal is told of other positions: after a lapse, what stands at the source is compared with
        // those that stood there when the fence did.
        if let gone @ Membership::Gone(_) = self.fence.heartbeat(hold).await? {
            return Ok(gone);
        }
        self.fence_stands();
        let moved = self.watch(record).await?;
        let positions = self.positions_for_source(&state)?;
        // The journal knows two commits apart: the one that may stand is settled before it is told of a third.
        let sent = self.memory.lock().sent.clone();
        let still_mirrored = |at: &Position| {
            positions.iter().any(|now| now.topic == at.topic && now.partition == at.partition)
        };
        if let Some(sent) = sent.map(|sent| sent.into_iter().filter(still_mirrored).collect())
            && let gone @ Membership::Gone(_) = self.commit_as_fence(hold, sent).await?
        {
            return Ok(gone);
        }
        if !moved && self.memory.lock().acknowledged.as_ref() == Some(&positions) {
            return Ok(Membership::Stands);
        }
        self.journal_source_positions(&positions).await?;
        self.commit_as_fence(hold, positions).await
    }

    /// Commits what the journal has; until it is acknowledged, it is committed again.
    async fn commit_as_fence(
        &self,
        hold: &FenceHold,
        positions: Vec<Position>,
    ) -> Result<Membership, LinkerError> {
        self.memory.lock().sent = Some(positions.clone());
        let membership = self.fence.commit(hold, &to_committed(&positions)).await?;
        if membership == Membership::Stands {
            let mut memory = self.memory.lock();
            memory.sent = None;
            memory.acknowledged = Some(positions);
        }
        Ok(membership)
    }

    /// After a restart: what the journal has last may not stand at the source.
    pub(super) fn doubt_last_commit(&self, record: &GroupMove) {
        let [last, _] = self.source_positions();
        let before_this_move = record.finals.iter().any(|at| {
            let here = |p: &&Position| p.topic == at.topic && p.partition == at.partition;
            last.iter().find(here).is_none_or(|last| last.offset < at.source_offset)
        });
        if record.state == GroupState::OnTarget && !before_this_move {
            self.memory.lock().sent = Some(last);
        }
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
            if !self.memory.lock().tell(&id, at.offset) {
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
