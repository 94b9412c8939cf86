//! Each effect, carried out. Safe to repeat: a crash can always be just behind it.

use std::time::Duration;

use kafka_protocol::ResponseError;
use towpath_plans::Side as PlanSide;
use towpath_plans::evidence::Body;
use towpath_plans::model::{FenceMode, format_count};
use towpath_plans::transition::{
    Effect, Event, GroupMove, GroupState, PartitionBounds, Position, Route, Verb, final_positions,
};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::fence_producer;

use super::fencing::WAITING_FOR;
use super::mover::Mover;
use super::run::Run;
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::{Committed, bounds, committed, to_committed, to_positions};
use crate::groups::route::{from_wire, positions_of, target_offsets};
use crate::state::Entry;

impl Mover {
    /// Carries out one effect of `record`'s state; answers the event that it reports by itself, if any.
    pub(super) async fn perform(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
        effect: Effect,
    ) -> Result<Option<Event>, LinkerError> {
        match effect {
            Effect::EvaluateGates => return self.preflight(run, record).await.map(Some),
            Effect::FenceSource => return self.fence_source(run, record).await,
            Effect::QuietTarget => self.quiet_target(run).await?,
            Effect::SetRoute { from, to } => self.set_route(run, record, (from, to)).await?,
            Effect::AwaitDrain => self.drain(run, record).await?,
            Effect::ReadFinalOffsets => return self.read_finals(run, record).await.map(Some),
            Effect::Switch => return self.switch(run, record).await,
            Effect::CommitAtSource => return self.commit_at_source(run, record).await,
            Effect::ReleaseFence => self.release_fence(run, record).await?,
            Effect::RestoreSource => self.restore_source(run, record).await?,
            Effect::Verify => self.verify(run, record).await?,
            Effect::AdoptFence => return self.adopt(run, record).await.map(Some),
            Effect::ForgetRoute => drop(self.target.forget().await?),
            Effect::AlarmLapse => self.alarm_lapse(run),
        }
        Ok(None)
    }

    /// Takes the place of the group's members at the source, and ends the pending commits of the producers that
    /// the plan names.
    async fn fence_source(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
    ) -> Result<Option<Event>, LinkerError> {
        let partitions = self.partitions_of(&run.topics)?;
        run.bounds = bounds(&self.link.source.client, Side::Source, &partitions).await?;
        let hold = match self.fence(run, record, self.group.fence).await? {
            Ok(hold) => hold,
            Err(interrupt) => return Ok(Some(interrupt.event())),
        };
        run.left();
        run.step(format!(
            "fence member {} of generation {} stands at the source, {} evicted{}",
            hold.member_id,
            hold.generation,
            format_count(run.evicted.len(), "member"),
            self.names(&run.evicted),
        ));
        run.bodies.push(Body::Fenced {
            group: self.group.name.clone(),
            attempt: record.attempt,
            member_id: hold.member_id.clone(),
            generation: hold.generation,
            evicted: run.evicted.iter().map(|member| self.trace(member)).collect(),
        });
        run.hold = Some(hold);
        for id in &self.group.transactional_ids {
            let what = format!("fence producer {id}");
            let fenced = fence_producer(&self.link.source.client, id).await;
            fenced.map_err(LinkerError::cluster(Side::Source, what))?;
            run.step(format!("producer {id} is fenced, its pending commits are ended"));
        }
        Ok(None)
    }

    /// Notes the target's bounds before the fence; with `fence: wait` waits until nobody is in the group, which goes
    /// on consuming meanwhile.
    async fn quiet_target(&self, run: &mut Run<'_>) -> Result<(), LinkerError> {
        let partitions = self.partitions_of(&run.topics)?;
        let mut waiting_for = None;
        loop {
            let state = self.target.describe().await?;
            let waits = self.group.fence == FenceMode::Wait && !state.members.is_empty();
            if !waits {
                run.bounds = bounds(&self.link.target.client, Side::Target, &partitions).await?;
                return Ok(());
            }
            if waiting_for.replace(state.members.len()) != Some(state.members.len()) {
                let members = format_count(state.members.len(), "member");
                run.step(format!("{WAITING_FOR}{members} to leave the target"));
            }
            self.keep_source_up(run).await;
            self.link.env.sleep(super::fencing::LOOK_AGAIN).await;
        }
    }

    /// One step of the route. Done already when it is `to`.
    async fn set_route(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
        (from, to): (Route, Route),
    ) -> Result<(), LinkerError> {
        let now = self.target.describe().await?;
        if now.route.map(from_wire) != Some(to) {
            self.target.switch(record.attempt, (from, to), Vec::new()).await?;
        }
        match (record.verb, to) {
            (Some(Verb::Rollback), Route::Draining) => {
                run.left();
                run.evicted_at_target = now.members;
            }
            (Some(Verb::Rollback), Route::Target) => run.pause.left = None,
            _ => {}
        }
        Ok(())
    }

    /// The positions that the group resumes at, read behind the fence.
    async fn read_finals(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<Event, LinkerError> {
        let verb = record.verb.unwrap_or(Verb::Cutover);
        let committed: Vec<Position> = match verb {
            Verb::Cutover => {
                let read = committed(&self.link.source.client, &self.group.name, true).await?;
                if let Some(hold) = &record.fence
                    && let Membership::Gone(why) = self.fence.heartbeat(hold).await?
                {
                    run.step(format!("the fence at the source is gone: {why}"));
                    return Ok(Event::FenceLapsed { hold: hold.clone(), moved: None });
                }
                to_positions(&read)
            }
            Verb::Rollback => positions_of(&self.target.describe().await?),
        };
        Ok(match self.finals(verb, &run.bounds, &committed) {
            Ok(finals) => {
                let positions = format_count(finals.len(), "final position");
                run.step(format!("{positions}, each with an exact counterpart"));
                Event::FinalsRead { finals }
            }
            Err(reason) => Event::StepFailed { reason },
        })
    }

    /// Every partition of `bounds` with its position on both sides.
    pub(super) fn finals(
        &self,
        verb: Verb,
        bounds: &[PartitionBounds],
        committed: &[Position],
    ) -> Result<Vec<towpath_plans::transition::FinalPosition>, String> {
        let side = match verb.leaving() {
            PlanSide::Source => Side::Source,
            PlanSide::Target => Side::Target,
        };
        let translate = |topic: &str, partition: i32, offset: i64| {
            let id = TopicPartition::new(topic, partition);
            self.translate(side, &id, offset).map_err(|error| error.reason)
        };
        final_positions(verb, self.group.uncommitted, bounds, committed, translate).map_err(|failed| {
            let failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
            format!("positions without an exact counterpart: {}", failed.join("; "))
        })
    }

    /// The one operation that lets the group run on the target. The fence must stand now: without it the group may
    /// have gone on at the source.
    async fn switch(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<Option<Event>, LinkerError> {
        let Some(hold) = &record.fence else { return self.adopt(run, record).await.map(Some) };
        if let Membership::Gone(why) = self.fence.heartbeat(hold).await? {
            run.step(format!("the fence at the source is gone: {why}"));
            return self.adopt(run, record).await.map(Some);
        }
        let offsets = target_offsets(&record.finals);
        let state =
            self.target.switch(record.attempt, (Route::Draining, Route::Target), offsets.clone()).await?;
        run.opened();
        // A move that goes on after a crash is measured from the moment that the journal has of its fence.
        if let (None, Some(hold)) = (run.pause.left, &record.fence) {
            let since_ms = u64::try_from(self.link.env.now_ms() - hold.since_ms).unwrap_or(0);
            run.pause.left = self.link.env.elapsed().checked_sub(Duration::from_millis(since_ms));
        }
        let there = positions_of(&state);
        for offset in offsets {
            let found = there.iter().find(|at| at.topic == offset.topic && at.partition == offset.partition);
            // A repeated switch finds a group that may have moved on.
            if found.is_none_or(|found| found.offset < offset.offset) {
                run.alarms.push(format!(
                    "{}-{}: the target answers position {} after the switch, {} was set",
                    offset.topic,
                    offset.partition,
                    found.map_or_else(|| "none".to_owned(), |found| found.offset.to_string()),
                    offset.offset
                ));
            }
        }
        Ok(None)
    }

    /// Commits the final positions as the fence member; whoever reads the group next reads exactly these.
    async fn commit_at_source(
        &self,
        run: &mut Run<'_>,
        record: &GroupMove,
    ) -> Result<Option<Event>, LinkerError> {
        let Some(hold) = &record.fence else { return self.adopt(run, record).await.map(Some) };
        let positions: Vec<Position> = record.finals.iter().map(source_position).collect();
        self.journal_source_positions(&positions).await?;
        match self.fence.commit(hold, &to_committed(&positions)).await? {
            Membership::Stands => Ok(None),
            Membership::Gone(why) => {
                run.step(format!("the fence at the source is gone: {why}"));
                self.adopt(run, record).await.map(Some)
            }
        }
    }

    /// Says in the journal what the fence member is about to commit, when it is something else than last time.
    pub(super) async fn journal_source_positions(&self, positions: &[Position]) -> Result<(), LinkerError> {
        if self.source_positions()[0] == positions {
            return Ok(());
        }
        let (family, group) = (self.link.family().to_owned(), self.group.name.clone());
        self.journal(Entry::SourcePositions { family, group, positions: positions.to_vec() }).await
    }

    /// Our membership leaves. Another fence of the same instance id stays, and is told.
    async fn release_fence(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let hold = record.fence.clone().or(run.hold.clone());
        if hold.is_none() {
            self.prove_journal(record).await?;
        }
        let mut reason = record.because.clone();
        match self.fence.leave(hold.as_ref(), &record.because).await {
            Ok(None) => {}
            Ok(Some(other)) => {
                self.tell_other_fence(run, &other, "it is left alone, nobody can join there while it stands");
                reason.push_str("; another fence stands");
            }
            // A durable stop that denies everybody denies this service too.
            Err(error) if record.state == GroupState::Completing && is_denied(&error) => {
                run.step("the source denies the fence member to leave: it is gone when its session ends");
                reason.push_str("; denied, it ends with its session");
            }
            Err(error) => return Err(error),
        }
        if record.verb == Some(Verb::Rollback) {
            run.opened();
        }
        run.hold = None;
        run.bodies.push(Body::FenceReleased { group: self.group.name.clone(), reason });
        Ok(())
    }

    /// Puts back what is gone; what is there is the group's own.
    async fn restore_source(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let Some(hold) = record.fence.as_ref().or(run.hold.as_ref()) else { return Ok(()) };
        let there = committed(&self.link.source.client, &self.group.name, false).await?;
        let before: Vec<Position> = record.before.iter().filter(|at| at.offset >= 0).cloned().collect();
        let mut gone: Committed = to_committed(&before);
        gone.retain(|id, _| !there.contains_key(id));
        if gone.is_empty() {
            return Ok(());
        }
        match self.fence.commit(hold, &gone).await {
            Ok(Membership::Stands) => {
                run.step(format!("put back: {}", format_count(gone.len(), "committed offset")))
            }
            Ok(Membership::Gone(why)) => run.step(format!("nothing is put back, the fence is gone: {why}")),
            Err(error) if is_unknown_topic(&error) => {
                run.step("offsets of topics that no longer exist are not put back");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_unknown_topic(error: &LinkerError) -> bool {
    code_of(error) == Some(ResponseError::UnknownTopicOrPartition)
}

/// The source does not let this service act as a member of the group.
pub(super) fn is_denied(error: &LinkerError) -> bool {
    code_of(error) == Some(ResponseError::GroupAuthorizationFailed)
}

fn code_of(error: &LinkerError) -> Option<ResponseError> {
    match error {
        LinkerError::Cluster { error, .. } => error.code(),
        _ => None,
    }
}

/// The source's half of a final position.
pub(super) fn source_position(at: &towpath_plans::transition::FinalPosition) -> Position {
    Position {
        topic: at.topic.clone(),
        partition: at.partition,
        offset: at.source_offset,
        metadata: at.metadata.clone(),
    }
}
