//! The verb `link`: a plan becomes a running mirror.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use towpath_plans::PlanHash;
use towpath_plans::evidence::Body;
use towpath_plans::model::format_count;
use towpath_plans::transition::GroupState;

use super::check::Checked;
use super::{Family, Running, Service};
use crate::error::LinkerError;
use crate::moves::Held;
use crate::operation::{Ending, Operation, Request, exit};
use crate::state::{Entry, FamilyRecord, Linked};

impl Service {
    /// Links a plan: checks it, journals it, creates the mirror topics and begins to mirror. Linking the same plan
    /// again does nothing; a newer version of a linked family takes its place. Nothing is changed by a dry run.
    ///
    /// # Errors
    /// The plan is refused (see [`Service::check`]), or a cluster cannot be asked; nothing has changed.
    pub async fn link(
        self: &Arc<Self>,
        file: &str,
        yaml: &str,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        self.journal.check_mine()?;
        let checked = self.check(file, yaml).await?;
        let linked = Linked {
            plan_hash: checked.file.plan.hash(),
            source_cluster_id: checked.source.id.clone(),
            target_cluster_id: checked.target.id.clone(),
            actor: request.actor.name.clone(),
            request: Some(request.clone()),
            at_ms: self.env.now_ms(),
            plan: checked.file.plan.clone(),
        };
        self.check_replaced(&linked)?;
        let operation = self.operations.begin("link", &linked.plan.family, request);
        let outcome = announce(&checked, request, &operation);
        let (service, request, told) = (self.clone(), request.clone(), operation.clone());
        self.run(&operation, async move {
            Ending::of(service.link_checked(linked, &request, &told).await.map(|ending| ending.with(outcome)))
        });
        Ok(operation)
    }

    /// Brings a plan into force that may be linked, and starts it. When it does not start, it is tried again until it
    /// does: the verb ends as still running.
    ///
    /// # Errors
    /// It could not come into force; the plan before it goes on.
    pub(super) async fn link_checked(
        self: &Arc<Self>,
        linked: Linked,
        request: &Request,
        operation: &Operation,
    ) -> Result<Ending, LinkerError> {
        if request.dry_run {
            operation.step(None, "dry run: nothing was changed");
            return Ok(Ending::done(Value::Null));
        }
        let family = linked.plan.family.clone();
        let _turn = self.turns.take(&family).await;
        if !self.put_in_force(linked, request, operation).await? {
            operation.step(None, "this plan is linked already");
            return Ok(Ending::done(Value::Null));
        }
        // The journal has it: from here on it is started until it runs or somebody cancels.
        let leave = self.set_starting(&family, "its mirror topics are being made");
        let record = self.record_of(&family)?;
        let started = tokio::select! {
            biased;
            () = leave.cancelled() => return Ok(left(&family)),
            started = self.start(&record) => started,
        };
        match started {
            Ok(running) => {
                self.families.write().insert(family, Family::Running(running));
                operation.step(None, "mirror topics stand, mirroring has begun");
                Ok(Ending::done(Value::Null))
            }
            Err(error) => {
                let leave = self.set_starting(&family, &error.to_string());
                self.keep_starting(&family, leave);
                Ok(not_started(&family, &error))
            }
        }
    }

    /// Journals the plan, then ends what runs by the one before. `false`: the plan is in force and runs. Whoever
    /// calls has the family's turn.
    ///
    /// # Errors
    /// A group has moved since the plan was checked, or a verb is under way for one; a group of the plan before
    /// cannot be let go; the journal fails. What runs goes on.
    async fn put_in_force(
        &self,
        linked: Linked,
        request: &Request,
        operation: &Operation,
    ) -> Result<bool, LinkerError> {
        let family = linked.plan.family.clone();
        let before = self.family(&family).ok();
        if before.as_ref().is_some_and(|running| running.link.plan_hash == linked.plan_hash) {
            return Ok(false);
        }
        // Until what runs has ended: a verb that began meanwhile would be taken its family from under it.
        let held = before.as_deref().map(Running::hold).transpose()?;
        // Groups may have moved while the turn was waited for.
        self.check_replaced(&linked)?;
        if let (Some(running), Some(held)) = (&before, &held) {
            operation.step(None, format!("takes the place of plan {}", short(running.link.plan_hash)));
            for (name, group) in held.iter().filter(|(name, _)| linked.plan.group(name).is_none()) {
                running.movers[*name].cancel(group, request).await?;
                operation.step(Some(name), "no longer in the plan: its route at the target is dropped");
            }
        }
        let linked = Linked { at_ms: self.env.now_ms(), ..linked };
        self.journal.append(Entry::Linked(Box::new(linked))).await?;
        if let Some(running) = &before {
            self.set_starting(&family, "the plan before it is being ended");
            running.end().await;
        }
        Ok(true)
    }

    /// A newer version may not move a group's plan while the group moves, nor drop one that is not at rest on the
    /// source, nor one whose route at the target nobody can drop now.
    fn check_replaced(&self, linked: &Linked) -> Result<(), LinkerError> {
        let (plan, family) = (&linked.plan, &linked.plan.family);
        let Ok(record) = self.record_of(family) else { return Ok(()) };
        if record.is_over() {
            return Ok(());
        }
        for (name, group) in &record.groups {
            let at_rest_on_source = matches!(group.state, GroupState::OnSource | GroupState::Cancelled);
            let at_rest = group.state.is_at_rest();
            if !at_rest || (plan.group(name).is_none() && !at_rest_on_source) {
                return Err(LinkerError::refused(
                    format!("group {name} is {}: the plan cannot be replaced under it", group.state),
                    format!(
                        "wait for its move to end, or roll it back: towpath rollback {family} --group {name}"
                    ),
                ));
            }
        }
        if self.family(family).is_err()
            && let Some(name) = record.left_behind(plan)
        {
            return Err(LinkerError::refused(
                format!(
                    "group {name} is no longer in the plan, and family {family} does not run yet: nobody can drop \
                     the group's route at the target"
                ),
                format!(
                    "keep {name} in the plan until the family runs, then link the plan without it; or give the \
                     family up first: towpath cancel {family}"
                ),
            ));
        }
        let source_moved = record.linked.source_cluster_id != linked.source_cluster_id;
        let target_moved = record.linked.target_cluster_id != linked.target_cluster_id;
        if source_moved || target_moved {
            return Err(LinkerError::refused(
                format!("family {family} is linked between other clusters"),
                "cancel it first, or give the new plan another family name",
            ));
        }
        Ok(())
    }

    pub(super) fn record_of(&self, family: &str) -> Result<FamilyRecord, LinkerError> {
        let record = self.journal.with(|recorded| recorded.families.get(family).cloned());
        record.ok_or_else(|| LinkerError::Bug(format!("the journal has no family {family}")))
    }
}

impl Running {
    /// Keeps verbs of every group from beginning until the answer is dropped.
    ///
    /// # Errors
    /// One is under way.
    pub(super) fn hold(&self) -> Result<BTreeMap<&str, Held<'_>>, LinkerError> {
        self.movers.iter().map(|(name, mover)| Ok((name.as_str(), mover.hold()?))).collect()
    }
}

/// The plan is in force, and its start failed for now.
fn not_started(family: &str, error: &LinkerError) -> Ending {
    let (message, fix) = error.told();
    let problem = format!(
        "the plan is in force, and family {family} does not run yet: {message}; its start is tried again until it \
         runs\nfix: {fix}; `towpath status {family} --watch` shows when it runs, `towpath cancel {family}` gives it up"
    );
    Ending { exit_code: exit::RUNNING, problem: Some(problem), outcome: Value::Null }
}

/// The plan came into force, and somebody else decides what becomes of it.
fn left(family: &str) -> Ending {
    let problem = format!(
        "the plan came into force; family {family} was cancelled while it started, or the service stops\n\
         fix: see `towpath status`; a service that starts again goes on from there"
    );
    Ending { exit_code: exit::UNKNOWN, problem: Some(problem), outcome: Value::Null }
}

/// Says what was checked; answers the verb's result document.
fn announce(checked: &Checked, request: &Request, operation: &Operation) -> Value {
    let plan = &checked.file.plan;
    let topics = format_count(checked.topics.len(), "topic");
    let groups = format_count(plan.groups.len(), "group");
    operation.step(None, format!("plan {} holds: {topics}, {groups}", short(plan.hash())));
    json!({
        "family": plan.family, "file": checked.file.file, "plan_hash": plan.hash(), "topics": checked.topics,
        "warnings": checked.warnings, "dry_run": request.dry_run,
        "source": { "name": checked.source.name, "cluster_id": checked.source.id },
        "target": { "name": checked.target.name, "cluster_id": checked.target.id },
    })
}

/// The entry that opens every verb in evidence.
pub(super) fn requested(verb: &str, group: Option<&str>, request: &Request, plan: PlanHash) -> Body {
    Body::Requested {
        verb: verb.into(),
        group: group.map(str::to_owned),
        dry_run: request.dry_run,
        reason: request.reason.clone(),
        plan_hash: Some(plan),
        accepted: request.accepted(),
    }
}

/// The first digits of a hash, as people compare them.
fn short(hash: PlanHash) -> String {
    let mut text = hash.to_string();
    text.truncate(SHORT_DIGITS);
    text
}

const SHORT_DIGITS: usize = 12;
