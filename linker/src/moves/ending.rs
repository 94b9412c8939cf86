//! How a verb ends: its exit code, its result document, the recovery sheet, and its evidence.

use serde_json::{Value, json};
use towpath_plans::evidence::Body;
use towpath_plans::gates::{GateReport, Verdict};
use towpath_plans::transition::{GroupMove, Verb, VerbResult};

use super::mover::Mover;
use super::run::Run;
use crate::error::LinkerError;
use crate::operation::{Ending, exit};

impl Mover {
    /// The ending of a cutover or a rollback.
    pub(super) fn ending(&self, verb: Verb, run: &Run<'_>, outcome: Result<(), LinkerError>) -> Ending {
        let record = self.record();
        let (exit_code, problem, result) = match (&outcome, &run.result) {
            (Err(error), _) => (exit::UNKNOWN, Some(error.to_string()), "unknown"),
            (Ok(()), Some(VerbResult::Moved { .. })) => (exit::DONE, None, "moved"),
            (Ok(()), Some(VerbResult::Refused { reason })) => {
                (gate_code(run.report.as_ref()), Some(self.refusal(run.report.as_ref(), reason)), "refused")
            }
            (Ok(()), Some(VerbResult::Undone { reason })) => {
                let problem = format!("{verb} of {} was undone: {reason}", self.group.name);
                let fix = "mend the cause, then try again; the group is where it was";
                (exit::FAILED, Some(format!("{problem}\nfix: {fix}")), "undone")
            }
            (Ok(()), None) => (exit::UNKNOWN, Some("the verb ended without a result".into()), "unknown"),
        };
        Ending { exit_code, problem, outcome: self.document(verb, run, &record, result) }
    }

    fn document(&self, verb: Verb, run: &Run<'_>, record: &GroupMove, result: &str) -> Value {
        let evicted: Vec<Value> = run
            .evicted
            .iter()
            .map(|member| {
                json!({
                    "client_id": member.client_id, "host": member.client_host,
                    "instance_id": member.instance_id, "side": "source",
                })
            })
            .chain(run.evicted_at_target.iter().map(|member| {
                json!({
                    "client_id": member.client_id, "host": member.client_host,
                    "instance_id": member.instance_id, "side": "target",
                })
            }))
            .collect();
        let alarms = match &run.result {
            Some(VerbResult::Moved { alarms }) => alarms.clone(),
            _ => run.alarms.clone(),
        };
        json!({
            "group": self.group.name,
            "verb": verb,
            "attempt": record.attempt,
            "result": result,
            "state": record.state,
            "because": record.because,
            "clusters": {
                "source": { "name": self.link.source.name, "id": self.link.source.id },
                "target": { "name": self.link.target.name, "id": self.link.target.id },
            },
            "pause_ms": run.pause.possible_ms(),
            "pause_delivered_ms": run.pause.delivered_ms(),
            "pause_max_ms": self.group.pause_max_ms,
            "evicted": evicted,
            "positions": record.finals,
            "alarms": alarms,
            "gates": run.report,
            "recovery_sheet": (result == "moved").then(|| self.recovery_sheet(verb, &record.finals)),
        })
    }

    /// The ending of a dry run: what would be done, and whether the gates would let it.
    pub(super) fn dry_ending(&self, verb: Verb, report: &GateReport) -> Ending {
        let outcome = json!({
            "group": self.group.name,
            "verb": verb,
            "dry_run": true,
            "steps": self.steps(verb),
            "gates": report,
        });
        match report.verdict {
            Verdict::Pass => Ending::done(outcome),
            _ => Ending {
                exit_code: gate_code(Some(report)),
                problem: Some(self.refusal(Some(report), "a gate refuses")),
                outcome,
            },
        }
    }

    fn refusal(&self, report: Option<&GateReport>, reason: &str) -> String {
        let mut text = format!("group {}: {reason}", self.group.name);
        for gate in report.map(GateReport::refusing).unwrap_or_default() {
            text.push_str(&format!(
                "\n{} {}: {}\nfix: {}",
                gate.name.as_str(),
                gate.verdict,
                gate.reason,
                gate.fix
            ));
        }
        text
    }

    /// Writes what is left of a run's evidence, and signs it. Evidence that the store does not take now is written
    /// with the next round of duties.
    pub(super) async fn settle_evidence(&self, run: &mut Run<'_>) {
        let bodies = std::mem::take(&mut run.bodies);
        self.write_ranges_of(&bodies).await;
        if let Err(error) = self.link.ledger.record_signed(run.actor.clone(), bodies.clone()).await {
            tracing::info!(group = self.group.name, error = error.one_line(), "evidence waits for the store");
            self.memory.lock().keep_evidence(run.actor.clone(), bodies);
        }
    }

    /// Writes a run's evidence so far.
    pub(super) async fn write_evidence(&self, run: &mut Run<'_>) -> Result<(), LinkerError> {
        self.write_ranges_of(&run.bodies).await;
        while let Some(body) = run.bodies.first() {
            self.link.ledger.record(run.actor.clone(), body.clone()).await?;
            run.bodies.remove(0);
        }
        Ok(())
    }

    /// The ranges that a verdict among these rests on, so that a bundle has them as soon as the verdict.
    async fn write_ranges_of(&self, bodies: &[Body]) {
        if !bodies.iter().any(|body| matches!(body, Body::DiffVerdict { .. })) {
            return;
        }
        for carrier in self.carriers() {
            if let Err(error) = carrier.diff.write_evidence().await {
                tracing::info!(
                    group = self.group.name,
                    error = error.one_line(),
                    "ranges wait for the store"
                );
            }
        }
    }
}

/// The exit code of gates that stand in the way.
fn gate_code(report: Option<&GateReport>) -> u8 {
    match report.map(|report| report.verdict) {
        Some(Verdict::Inconclusive) => exit::GATE_INCONCLUSIVE,
        Some(Verdict::Fail | Verdict::Pass) | None => exit::GATE_FAILED,
    }
}
