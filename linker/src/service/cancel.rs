//! The verb `cancel`: a link is given up, whether it runs or was never able to.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use towpath_plans::Side;
use towpath_plans::evidence::Body;
use towpath_plans::transition::{LinkEvent, LinkRecord, LinkState, link_transition};

use super::link::requested;
use super::verbs::{dry, state_ending, without_evidence};
use super::{Family, Running, Service, Starting, watch};
use crate::cluster::Cluster;
use crate::error::LinkerError;
use crate::groups::route::TargetGroup;
use crate::operation::{Ending, Operation, Request};
use crate::state::{Entry, FamilyRecord, Linked};

/// How long the target of a family that does not run may take to let go of its groups.
const TARGET_MAX: Duration = Duration::from_secs(10);

/// What is so when the verb has ended well.
const GIVEN_UP: &str = "the family is cancelled";

impl Service {
    /// Gives the link up; refused while a group that reads its topics is not on the source. The mirror topics stay
    /// as they are. A family that was given up already is left as it is.
    ///
    /// # Errors
    /// The family is not known, or was completed.
    pub async fn cancel(
        self: &Arc<Self>,
        family: &str,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        self.journal.check_mine()?;
        let starting = match self.families.read().get(family) {
            Some(Family::Starting(starting)) => Some(starting.clone()),
            _ => None,
        };
        let (service, asked, name) = (self.clone(), request.clone(), family.to_owned());
        if let Some(starting) = starting {
            let operation = self.operations.begin("cancel", family, request);
            let told = operation.clone();
            self.run(&operation, async move {
                Ending::of(service.cancel_starting(&name, &starting, &asked, &told).await)
            });
            return Ok(operation);
        }
        if self.is_cancelled(family) {
            let operation = self.operations.begin("cancel", family, request);
            operation.end(self.cancelled_already(family, &operation)?);
            return Ok(operation);
        }
        let running = self.family(family)?;
        self.spawn("cancel", &running.clone(), None, request.clone(), move |operation| async move {
            Ending::of(service.cancel_running(&running, &asked, &operation).await)
        })
        .await
    }

    async fn cancel_running(
        &self,
        running: &Arc<Running>,
        request: &Request,
        operation: &Operation,
    ) -> Result<Ending, LinkerError> {
        let (link, family) = (&running.link, running.link.family());
        let _turn = self.turns.take(family).await;
        if self.is_cancelled(family) {
            return self.cancelled_already(family, operation);
        }
        if !self.family(family).is_ok_and(|now| Arc::ptr_eq(&now, running)) {
            return Err(LinkerError::refused(
                format!("family {family} was changed meanwhile"),
                "see `towpath status`, then repeat",
            ));
        }
        let event = self.cancel_event(family);
        self.cancelled(&running.record(), &event)?;
        if request.dry_run {
            return Ok(dry(operation, "would drop the routes of its groups and stop mirroring for good"));
        }
        // Until what runs has ended: a verb that began meanwhile would be taken its family from under it.
        let held = running.hold()?;
        for (name, group) in &held {
            running.movers[*name].cancel(group, request).await?;
            operation.step(Some(name), "its route at the target is dropped");
        }
        let before = running.record();
        let after = self.cancelled(&before, &event)?;
        self.journal.append(Entry::Link(after.clone())).await?;
        // The journal has it: whatever fails from here on, nothing runs on.
        self.families.write().remove(family);
        running.end().await;
        operation.step(None, "mirroring has stopped for good; the mirror topics stay as they are");
        let told = link.ledger.record_signed(None, vec![watch::changed(&before, &after, &event)]).await;
        Ok(without_evidence(GIVEN_UP, told, state_ending(running)))
    }

    /// Gives up a family that does not run: a cluster does not answer, or is not the one that it was.
    async fn cancel_starting(
        self: &Arc<Self>,
        family: &str,
        starting: &Starting,
        request: &Request,
        operation: &Operation,
    ) -> Result<Ending, LinkerError> {
        let record = self.record_of(family)?;
        let event = self.cancel_event(family);
        self.cancelled(&record.link, &event)?;
        if request.dry_run {
            return Ok(dry(operation, "would give the family up; it does not run"));
        }
        // Whoever starts it may be waiting for a cluster that hangs.
        starting.leave.cancel();
        let turn = self.turns.take(family).await;
        if let Ok(running) = self.family(family) {
            drop(turn);
            return self.cancel_running(&running, request, operation).await;
        }
        if self.is_cancelled(family) {
            return self.cancelled_already(family, operation);
        }
        let given_up = self.give_up_family(&event, request, operation, family).await;
        if given_up.is_err() && self.record_of(family)?.link.state != LinkState::Cancelled {
            let leave = self.set_starting(family, &starting.why);
            self.keep_starting(family, leave);
        }
        given_up
    }

    async fn give_up_family(
        &self,
        event: &LinkEvent,
        request: &Request,
        operation: &Operation,
        family: &str,
    ) -> Result<Ending, LinkerError> {
        let FamilyRecord { linked, link: before, groups, .. } = self.record_of(family)?;
        let mut ledger = self.ledger_of(&linked).await;
        if let Ok(open) = &ledger {
            let asked = requested("cancel", None, request, linked.plan_hash);
            let recorded = open.record(Some(request.actor.clone()), asked).await;
            ledger = recorded.and(ledger);
        }
        // Evidence that is damaged or gone may be why the family is given up.
        self.journal.check_mine()?;
        if let Err(error) = &ledger {
            operation.step(None, format!("goes on without evidence: {}", error.one_line()));
        }
        // A link that never ran has declared no group.
        let held = match before.state {
            LinkState::Created => None,
            _ => self.forget_routes(&linked, operation).await.err(),
        };
        let after = self.cancelled(&before, event)?;
        self.journal.append(Entry::Link(after.clone())).await?;
        if let Some(Family::Starting(starting)) = self.families.write().remove(family) {
            starting.leave.cancel();
        }
        operation.step(None, "the family is given up; the mirror topics stay as they are");
        let bodies: Vec<Body> = held.map(|sentence| Body::Noted { sentence }).into_iter().collect();
        let bodies = [bodies, vec![watch::changed(&before, &after, event)]].concat();
        let told = match ledger {
            Ok(ledger) => ledger.record_signed(None, bodies).await,
            Err(error) => Err(error),
        };
        let outcome = json!({ "family": family, "link": after, "groups": groups.keys().collect::<Vec<_>>() });
        Ok(without_evidence(GIVEN_UP, told, Ending::done(outcome)))
    }

    /// Whether the family was given up.
    fn is_cancelled(&self, family: &str) -> bool {
        self.record_of(family).is_ok_and(|record| record.link.state == LinkState::Cancelled)
    }

    fn cancelled_already(&self, family: &str, operation: &Operation) -> Result<Ending, LinkerError> {
        operation.step(None, "nothing to do: it was given up already");
        Ok(Ending::done(json!({ "family": family, "link": self.record_of(family)?.link })))
    }

    /// Makes the groups ordinary ones at the target. When it does not answer, the error says what that means.
    async fn forget_routes(&self, linked: &Linked, operation: &Operation) -> Result<(), String> {
        let plan = &linked.plan;
        let forget = async {
            let target = Cluster::connect(&self.config, &plan.target, Side::Target, &self.env).await?;
            if target.id != linked.target_cluster_id {
                return Err(LinkerError::refused(format!("it is cluster {} now", target.id), ""));
            }
            for group in &plan.groups {
                TargetGroup::new(target.client.clone(), &plan.family, &group.name).forget().await?;
            }
            Ok(())
        };
        let why = match tokio::time::timeout(TARGET_MAX, forget).await {
            Ok(Ok(())) => {
                operation.step(None, "the routes of its groups at the target are dropped");
                return Ok(());
            }
            Ok(Err(error)) => error.to_string().lines().next().unwrap_or_default().to_owned(),
            Err(_) => format!("no answer within {} s", TARGET_MAX.as_secs()),
        };
        let sentence = format!(
            "the target {} was not asked to drop the routes of the groups ({why}): consumers may be held there; \
             when it answers, link the plan again and cancel it",
            plan.target
        );
        operation.step(None, sentence.clone());
        Err(sentence)
    }

    fn cancel_event(&self, family: &str) -> LinkEvent {
        LinkEvent::Cancel { groups_away: self.journal.with(|recorded| recorded.groups_away(family)) }
    }

    fn cancelled(&self, record: &LinkRecord, event: &LinkEvent) -> Result<LinkRecord, LinkerError> {
        link_transition(record, event, self.env.now_ms()).map_err(|why| watch::refused(&why))
    }
}
