//! One group of one plan: its record, its background duties, its verbs.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use towpath_plans::model::GroupPlan;
use towpath_plans::steps::{Step, cutover_steps, rollback_steps};
use towpath_plans::transition::{Event, GroupMove, GroupState, Verb, transition};

use super::carriers::Carriers;
use super::memory::Memory;
use super::run::Run;
use crate::diff::Diff;
use crate::error::LinkerError;
use crate::groups::fence::Fence;
use crate::groups::route::TargetGroup;
use crate::link::Link;
use crate::operation::{Ending, Operation, Request};

/// Position of a group in one partition, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionSeen {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Committed at the source; `None`: nothing committed.
    pub source: Option<i64>,
    /// Committed at the target; `None`: nothing committed.
    pub target: Option<i64>,
    /// Records that the group has not read on the side of its route.
    pub lag_messages: Option<i64>,
}

/// One group as `towpath status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupStatus {
    /// What the journal says.
    pub record: GroupMove,
    /// Live members at the source (the fence member is none).
    pub source_members: u32,
    /// Live members at the target.
    pub target_members: u32,
    /// Members and `assign()` consumers held at the target.
    pub held_members: u32,
    /// Positions on both sides.
    pub positions: Vec<PositionSeen>,
    /// Until when, ms since the epoch, the source holds what the group has not read; `None`: no limit known.
    pub way_back_until_ms: Option<i64>,
    /// The partition that limits the way back.
    pub way_back_limited_by: Option<String>,
    /// What is out of order now: lapses, stragglers, movement behind the fence.
    pub alarms: Vec<String>,
    /// When this was observed, ms since the epoch.
    pub observed_ms: i64,
}

/// Moves one group. Shared as `Arc<Mover>`.
pub struct Mover {
    pub(super) link: Arc<Link>,
    pub(super) diff: Arc<Diff>,
    /// Links of other families: the plan may use topics that they carry.
    pub(super) carriers: Carriers,
    pub(super) group: GroupPlan,
    pub(super) fence: Fence,
    pub(super) target: TargetGroup,
    pub(super) memory: Mutex<Memory>,
    pub(super) status: RwLock<Option<GroupStatus>>,
    /// Whoever changes the record, at either side, holds it: a verb, or one round of duties.
    pub(super) acting: tokio::sync::Mutex<()>,
    /// Held by a verb for its whole time: a second one is refused, not queued.
    pub(super) verbs: tokio::sync::Mutex<()>,
    /// Held while the fence is set again in the middle of a step: until then the step is not dropped.
    pub(super) refencing: tokio::sync::Mutex<()>,
    /// Whether what a crash left half done is ended, and duties are followed.
    pub(super) ready: watch::Sender<bool>,
    /// The service stops, or another mover takes the place of this one: effects are not begun any more.
    pub(super) stop: CancellationToken,
}

/// No verb of the group begins while this lives ([`Mover::hold`]).
pub struct Held<'a> {
    _verbs: tokio::sync::MutexGuard<'a, ()>,
}

impl Mover {
    /// The mover of `group`; its record comes from the journal.
    pub fn new(link: Arc<Link>, diff: Arc<Diff>, carriers: Carriers, group: GroupPlan) -> Arc<Mover> {
        let now_ms = link.env.now_ms();
        let instance_id = GroupMove::new(link.family(), group.name.as_str(), now_ms).fence_instance_id();
        let fence = Fence::new(link.source.client.clone(), link.env.clone(), &group.name, instance_id);
        let target = TargetGroup::new(link.target.client.clone(), link.family(), &group.name);
        Arc::new(Mover {
            link,
            diff,
            carriers,
            group,
            fence,
            target,
            memory: Mutex::default(),
            status: RwLock::default(),
            acting: tokio::sync::Mutex::new(()),
            verbs: tokio::sync::Mutex::new(()),
            refencing: tokio::sync::Mutex::new(()),
            ready: watch::Sender::new(false),
            stop: CancellationToken::new(),
        })
    }

    /// Declares the group at the target, ends what a crash left half done, then follows: syncs positions while the
    /// route is `source`, heartbeats the fence and commits back while it is `target`. Until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // However it ends, cut short or in a panic: nobody gets a turn any more.
        let _ended = self.stop.clone().drop_guard();
        let stopped = async {
            stop.cancelled().await;
            // A verb that is under way ends at its next step; recovery goes on from the journal.
            self.stop.cancel();
        };
        tokio::join!(stopped, self.follow());
    }

    /// The steps that a verb would take: what `--dry-run` prints, and what a run executes.
    pub fn steps(&self, verb: Verb) -> Vec<Step> {
        match verb {
            Verb::Cutover => cutover_steps(&self.link.plan, &self.group),
            Verb::Rollback => rollback_steps(&self.link.plan, &self.group),
        }
    }

    /// Cuts over or rolls back, to the end. A dry run evaluates the gates and answers the steps.
    pub async fn execute(&self, verb: Verb, request: &Request, operation: &Operation) -> Ending {
        let Ok(_verb) = self.verbs.try_lock() else { return self.busy() };
        let _acting = match self.turn(operation).await {
            Ok(acting) => acting,
            Err(aborted) => return Ending::failed(&aborted),
        };
        let record = self.record();
        if record.state == verb.destination_state() {
            return Ending::done(json!({
                "group": self.group.name, "verb": verb, "attempt": record.attempt, "result": "nothing_to_do",
                "state": record.state,
            }));
        }
        let mut run =
            Run::asked(&self.link.env, request, operation).of(&self.group.name, self.group.pause_max_ms);
        if request.dry_run {
            return self.dry_run(verb, &mut run).await;
        }
        let begin = Event::Begin {
            verb,
            actor: request.actor.name.clone(),
            reason: request.reason.clone(),
            plan_hash: self.link.plan_hash,
        };
        let next = match transition(&record, &begin, self.link.env.now_ms()) {
            Ok(next) => next,
            Err(refused) => {
                let problem = format!("group {} is {}: {verb} is refused", refused.group, refused.state);
                return Ending::failed(&LinkerError::refused(problem, refused.fix));
            }
        };
        let outcome = self.carry_out(&mut run, next).await;
        self.settle_evidence(&mut run).await;
        self.look_around().await;
        self.ending(verb, &run, outcome)
    }

    async fn dry_run(&self, verb: Verb, run: &mut Run<'_>) -> Ending {
        let record = GroupMove { verb: Some(verb), ..self.record() };
        let report = match self.evaluate_gates(run, &record).await {
            Ok(report) => report,
            Err(error) => return Ending::failed(&error),
        };
        run.step(format!("gates: {}", report.verdict));
        self.settle_evidence(run).await;
        self.dry_ending(verb, &report)
    }

    /// Gives up the way back. `accept_no_stop`: the person accepts that nothing durable stops the group at the
    /// source.
    pub async fn complete(&self, request: &Request, accept_no_stop: bool, operation: &Operation) -> Ending {
        let Ok(_verb) = self.verbs.try_lock() else { return self.busy() };
        let _acting = match self.turn(operation).await {
            Ok(acting) => acting,
            Err(aborted) => return Ending::failed(&aborted),
        };
        let mut run =
            Run::asked(&self.link.env, request, operation).of(&self.group.name, self.group.pause_max_ms);
        Ending::of(self.give_up_way_back(&mut run, request, accept_no_stop).await)
    }

    /// Keeps verbs of the group from beginning until the answer is dropped.
    ///
    /// # Errors
    /// One is under way.
    pub fn hold(&self) -> Result<Held<'_>, LinkerError> {
        let held = self.verbs.try_lock().map_err(|_| {
            let fix = format!("wait for its end: `towpath status {}`, then repeat", self.link.family());
            LinkerError::refused(self.under_way(), fix)
        });
        held.map(|verbs| Held { _verbs: verbs })
    }

    /// Drops the route; only while the group is on the source. Whoever asks holds the group.
    ///
    /// # Errors
    /// The group is not on the source, or the target refuses.
    pub async fn cancel(&self, _held: &Held<'_>, request: &Request) -> Result<(), LinkerError> {
        let _acting = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(ended_before_it_began()),
            acting = self.acting.lock() => acting,
        };
        let record = self.record();
        if record.state == GroupState::Cancelled {
            return Ok(());
        }
        let mut run = Run::resumed(&self.link.env).of(&self.group.name, self.group.pause_max_ms);
        run.actor = Some(request.actor.clone());
        let event = Event::Cancel { actor: request.actor.name.clone(), reason: request.reason.clone() };
        let next = transition(&record, &event, self.link.env.now_ms()).map_err(|refused| {
            let problem = format!("group {} is {}: cancel is refused", refused.group, refused.state);
            LinkerError::refused(problem, refused.fix)
        })?;
        if request.dry_run {
            return Ok(());
        }
        let outcome = self.carry_out(&mut run, next).await;
        self.settle_evidence(&mut run).await;
        outcome
    }

    /// The journal's record.
    pub fn record(&self) -> GroupMove {
        let (family, group) = (self.link.family(), self.group.name.as_str());
        let journaled = self.link.journal.with(|recorded| {
            recorded.families.get(family).and_then(|family| family.groups.get(group)).cloned()
        });
        journaled.unwrap_or_else(|| GroupMove::new(family, group, self.link.env.now_ms()))
    }

    /// The group as observed last; `None` before the first look.
    pub fn status(&self) -> Option<GroupStatus> {
        let mut status = self.status.read().clone()?;
        status.record = self.record();
        Some(status)
    }

    /// The right to act, once nothing else acts for the group. Whoever waits for it can be taken back. A mover that
    /// has ended gives it to nobody: another one may act for the group by now.
    ///
    /// # Errors
    /// A person took the verb back while it waited, or the mover ended; nothing has changed.
    pub(super) async fn turn(
        &self,
        operation: &Operation,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, LinkerError> {
        if !*self.ready.borrow() {
            let text = "waiting until what was under way before the service started has ended";
            operation.step(Some(&self.group.name), text);
        }
        let waiting = async {
            // The sender lives as long as `self`.
            let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
            self.acting.lock().await
        };
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(ended_before_it_began()),
            turn = operation.unless_aborted(waiting) => turn,
        };
        turn.map_err(|reason| {
            LinkerError::refused(format!("aborted before it began: {reason}"), "nothing, nothing has changed")
        })
    }

    pub(super) fn busy(&self) -> Ending {
        Ending::failed(&LinkerError::refused(self.under_way(), "wait for its end: `towpath watch`"))
    }

    fn under_way(&self) -> String {
        format!("a verb is under way for group {}", self.group.name)
    }
}

fn ended_before_it_began() -> LinkerError {
    LinkerError::refused(
        "given up before it began: the service stops, or another plan of the family comes into force",
        "repeat it when the family runs: see `towpath status`",
    )
}
