//! What moving groups did, or would do.

use comfy_table::Cell;
use serde::Deserialize;
use serde_json::Value;
use towpath_linker::operation::OperationView;
use towpath_plans::gates::{GateReport, Verdict};
use towpath_plans::steps::{Inverse, Step};

use super::super::{NOTHING, Tone, at_most, cell, duration, maybe, numbers, table};
use super::verdict;

/// The result of a group that is where it should be.
const NOTHING_TO_DO: &str = "nothing_to_do";

/// One group, as the mover tells it.
#[derive(Debug, Deserialize)]
struct Moved {
    group: String,
    result: Option<String>,
    pause_ms: Option<i64>,
    pause_delivered_ms: Option<i64>,
    pause_max_ms: Option<i64>,
    #[serde(default)]
    evicted: Vec<Value>,
    #[serde(default)]
    positions: Vec<Value>,
    #[serde(default)]
    alarms: Vec<String>,
    gates: Option<GateReport>,
    #[serde(default)]
    steps: Vec<Step>,
    recovery_sheet: Option<String>,
}

/// The command that does what a dry run has shown.
pub fn for_real(view: &OperationView) -> String {
    let OperationView { verb, family, .. } = view;
    match moves_of(view).as_slice() {
        [one] => format!("towpath {verb} {family} --group {}", one.group),
        _ => format!("towpath {verb} {family}"),
    }
}

fn moves_of(view: &OperationView) -> Vec<Moved> {
    let list = ["moves", "groups"].iter().find_map(|key| view.outcome.get(key)?.as_array());
    let moves = list.into_iter().flatten();
    moves.filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
}

/// Verdict, table of groups, then what each has to say.
pub fn text(view: &OperationView, colours: bool) -> Vec<String> {
    let moves = moves_of(view);
    if moves.is_empty() {
        return vec![verdict(view, "done")];
    }
    let what = match view.verb.as_str() {
        "complete" => "has no way back any more",
        _ if view.request.dry_run => "may move",
        _ => "moved",
    };
    let done = |one: &&Moved| one.result.as_deref() != Some(NOTHING_TO_DO);
    let names: Vec<&str> = moves.iter().filter(done).map(|one| one.group.as_str()).collect();
    let sentence = match names.is_empty() {
        true => "nothing to do".to_owned(),
        false => format!("{} {what}", names.join(", ")),
    };
    let mut parts = vec![verdict(view, &sentence)];
    if moves.iter().any(|one| one.result.as_deref() == Some("moved")) {
        parts.push(results(&moves, colours));
    }
    for one in &moves {
        let alarms: Vec<String> =
            one.alarms.iter().map(|alarm| format!("! {}: {alarm}", one.group)).collect();
        parts.push(alarms.join("\n"));
        if !one.steps.is_empty() {
            parts.push(steps(one, colours));
        }
        let refused =
            one.gates.as_ref().filter(|report| report.verdict != Verdict::Pass || !one.steps.is_empty());
        if let Some(report) = refused {
            parts.push(gates(&one.group, report, colours));
        }
        parts.extend(one.recovery_sheet.as_deref().map(|sheet| sheet.trim_end().to_owned()));
    }
    parts
}

fn results(moves: &[Moved], colours: bool) -> String {
    let heads = ["group", "result", "pause", "limit", "between deliveries", "evicted", "partitions"];
    let mut lines = table(&heads, colours);
    let ms = |ms: Option<i64>| ms.map_or_else(|| NOTHING.into(), duration);
    for one in moves {
        let result = one.result.as_deref().unwrap_or(NOTHING);
        let tone = match result {
            "moved" => Tone::Good,
            NOTHING_TO_DO => Tone::Odd,
            _ => Tone::Bad,
        };
        let late = one.pause_ms.zip(one.pause_max_ms).is_some_and(|(pause, limit)| pause > limit);
        lines.add_row([
            Cell::new(&one.group),
            cell(result.replace('_', " "), tone),
            if late { cell(ms(one.pause_ms), Tone::Odd) } else { Cell::new(ms(one.pause_ms)) },
            Cell::new(ms(one.pause_max_ms)),
            Cell::new(ms(one.pause_delivered_ms)),
            Cell::new(maybe(i64::try_from(one.evicted.len()).ok())),
            Cell::new(maybe(i64::try_from(one.positions.len()).ok())),
        ]);
    }
    numbers(&mut lines, &[2, 3, 4, 5, 6]);
    at_most(&mut lines, 0, 30);
    lines.to_string()
}

fn steps(one: &Moved, colours: bool) -> String {
    let mut lines = table(&["step", "what it does", "taken back by"], colours);
    for step in &one.steps {
        let inverse = match &step.inverse {
            Inverse::Nothing => "changes nothing",
            Inverse::By(how) => how,
            Inverse::Irreversible(meaning) => meaning,
        };
        lines.add_row([step.name.as_str(), step.description.as_str(), inverse]);
    }
    at_most(&mut lines, 2, 35);
    format!("{}\n{lines}", one.group)
}

fn gates(group: &str, report: &GateReport, colours: bool) -> String {
    // What stands in the way is told with its fix above.
    let mut lines = table(&["gate", "verdict", "observed", "limit"], colours);
    for gate in &report.gates {
        let tone = match gate.verdict {
            Verdict::Pass => Tone::Good,
            Verdict::Inconclusive => Tone::Odd,
            Verdict::Fail => Tone::Bad,
        };
        let accepted = if gate.accepted { " (accepted)" } else { "" };
        lines.add_row([
            Cell::new(gate.name.as_str()),
            cell(format!("{}{accepted}", gate.verdict), tone),
            Cell::new(gate.observed.as_deref().unwrap_or(NOTHING)),
            Cell::new(&gate.limit),
        ]);
    }
    at_most(&mut lines, 3, 40);
    format!("{group}: gates {}\n{lines}", report.verdict)
}
