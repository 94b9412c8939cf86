//! The verbs on a linked family. Each that may take long is an operation: it goes on when nobody watches.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};
use towpath_plans::model::format_count;
use towpath_plans::transition::Verb;

use super::link::requested;
use super::{Running, Service};
use crate::diff::DiffReport;
use crate::error::LinkerError;
use crate::operation::{Ending, Operation, Request, exit};

impl Service {
    /// Cuts over or rolls back one group, or every group of the family in the plan's order; stops at the first
    /// that does not end well. Rollbacks go in the reverse order.
    ///
    /// # Errors
    /// The family or group is not known; nothing has changed.
    pub async fn move_groups(
        self: &Arc<Self>,
        verb: Verb,
        family: &str,
        group: Option<&str>,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        let mut names = groups_of(&running, group)?;
        if verb == Verb::Rollback {
            names.reverse();
        }
        let request = request.clone();
        self.spawn(&verb.to_string(), &running.clone(), group, request.clone(), move |operation| async move {
            let mut moves: Vec<Value> = Vec::new();
            let mut last = Ending::done(Value::Null);
            for name in &names {
                let Some(mover) = running.movers.get(name) else { continue };
                last = mover.execute(verb, &request, &operation).await;
                moves.push(last.outcome.clone());
                if last.exit_code != exit::DONE {
                    break;
                }
            }
            let outcome =
                json!({ "family": running.link.family(), "dry_run": request.dry_run, "moves": moves });
            Ending { outcome, ..last }
        })
        .await
    }

    /// Gives up the way back of one group.
    ///
    /// # Errors
    /// The family or group is not known; nothing has changed.
    pub async fn complete(
        self: &Arc<Self>,
        family: &str,
        group: &str,
        accept_no_stop: bool,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        let names = groups_of(&running, Some(group))?;
        let request = match accept_no_stop {
            true => request.clone().accepting("nothing durable stops them at the source (--accept-no-stop)"),
            false => request.clone(),
        };
        self.spawn("complete", &running.clone(), Some(group), request.clone(), move |operation| async move {
            let mut groups: Vec<Value> = Vec::new();
            let mut last = Ending::done(Value::Null);
            for name in &names {
                let Some(mover) = running.movers.get(name) else { continue };
                last = mover.complete(&request, accept_no_stop, &operation).await;
                groups.push(last.outcome.clone());
                if last.exit_code != exit::DONE {
                    break;
                }
            }
            let outcome = json!({ "family": running.link.family(), "groups": groups });
            Ending { outcome, ..last }
        })
        .await
    }

    /// Compares the family through the source's end of now.
    ///
    /// # Errors
    /// The family is not known.
    pub async fn diff(
        self: &Arc<Self>,
        family: &str,
        anew: bool,
        request: &Request,
    ) -> Result<Arc<Operation>, LinkerError> {
        let running = self.family(family)?;
        self.spawn("diff", &running.clone(), None, request.clone(), move |operation| async move {
            Ending::of(running.diff.verify(anew, &operation).await.map(|report| diff_ending(&report)))
        })
        .await
    }

    pub(super) async fn spawn<F, Work>(
        self: &Arc<Self>,
        verb: &str,
        running: &Arc<Running>,
        group: Option<&str>,
        request: Request,
        work: F,
    ) -> Result<Arc<Operation>, LinkerError>
    where
        F: FnOnce(Arc<Operation>) -> Work + Send + 'static,
        Work: Future<Output = Ending> + Send + 'static,
    {
        self.journal.check_mine()?;
        let link = &running.link;
        let asked = requested(verb, group, &request, link.plan_hash);
        link.ledger.record(Some(request.actor.clone()), asked).await?;
        let operation = self.operations.begin(verb, link.family(), &request);
        self.run(&operation, work(operation.clone()));
        Ok(operation)
    }

    /// Runs an operation to its end. When the service stops and it does not come to one in time, it is dropped
    /// where it stands.
    pub(super) fn run(
        self: &Arc<Self>,
        operation: &Arc<Operation>,
        work: impl Future<Output = Ending> + Send + 'static,
    ) {
        let (told, dropped, service) = (operation.clone(), operation.clone(), self.clone());
        let cut_short = move || {
            let error = service.journal.check_mine().err().unwrap_or_else(|| {
                LinkerError::refused(
                    "the service has stopped before the operation ended",
                    "start it again: what was begun goes on from the journal; see `towpath status`",
                )
            });
            dropped.end(Ending { exit_code: exit::UNKNOWN, ..Ending::failed(&error) });
        };
        self.tasks.spawn_or(async move { told.end(work.await) }, cut_short);
    }
}

fn groups_of(running: &Running, group: Option<&str>) -> Result<Vec<String>, LinkerError> {
    let plan = &running.link.plan;
    match group {
        None => Ok(plan.move_order().into_iter().map(|group| group.name.clone()).collect()),
        Some(name) if plan.group(name).is_some() => Ok(vec![name.to_owned()]),
        Some(name) => {
            let known: Vec<&str> = plan.groups.iter().map(|group| group.name.as_str()).collect();
            Err(LinkerError::refused(
                format!("family {} has no group {name} (it has: {})", plan.family, known.join(", ")),
                "name one of its groups, or add this one to the plan and link it again",
            ))
        }
    }
}

pub(super) fn dry(operation: &Operation, text: &str) -> Ending {
    operation.step(None, format!("dry run: {text}"));
    Ending::done(json!({ "dry_run": true, "would": text }))
}

/// What was asked is done; what may be missing is the evidence of it.
pub(super) fn without_evidence(done: &str, told: Result<(), LinkerError>, ending: Ending) -> Ending {
    let Err(error) = told else { return ending };
    let (message, fix) = error.told();
    let problem =
        format!("{done}, and the evidence does not say so: {message}\nfix: keep this output; {fix}");
    Ending { exit_code: exit::UNKNOWN, problem: Some(problem), ..ending }
}

pub(super) fn state_ending(running: &Running) -> Ending {
    Ending::done(json!({ "family": running.link.family(), "link": running.record() }))
}

fn diff_ending(report: &DiffReport) -> Ending {
    use towpath_plans::gates::Verdict;
    let exit_code = match report.verdict {
        _ if report.differences > 0 => exit::DIFFERENCES,
        Verdict::Pass => exit::DONE,
        Verdict::Inconclusive => exit::GATE_INCONCLUSIVE,
        Verdict::Fail => exit::DIFFERENCES,
    };
    let problem = match report.verdict {
        Verdict::Pass => None,
        Verdict::Inconclusive => Some("not everything could be compared yet\nfix: run it again".to_owned()),
        Verdict::Fail => {
            let differences = format_count(report.differences, "difference");
            Some(format!("{differences}\nfix: look at the samples below"))
        }
    };
    Ending { exit_code, problem, outcome: json!(report) }
}
