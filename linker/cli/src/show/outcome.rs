//! How an operation ended: the verdict, what it did or found, the next command.

mod diff;
mod moves;

use serde_json::Value;
use towpath_linker::operation::{OperationView, exit};
use towpath_plans::model::format_count;
use towpath_plans::transition::LinkRecord;

use crate::told::harmless;

/// The whole text. What a newer service says and this version does not know is left out; `--json` has it.
pub fn text(view: &OperationView, colours: bool) -> String {
    let found = match view.verb.as_str() {
        "diff" => diff::text(view, colours),
        "cutover" | "rollback" | "complete" => moves::text(view, colours),
        _ => plain(view),
    };
    let parts: Vec<String> = found.into_iter().chain([next(view)]).filter(|part| !part.is_empty()).collect();
    super::trimmed(&parts.join("\n\n"))
}

/// `VERB of FAMILY: how it ended`, with the problem and its fix.
pub(super) fn verdict(view: &OperationView, done: &str) -> String {
    let OperationView { verb, family, .. } = view;
    let dry = if view.request.dry_run { " (dry run: nothing was changed)" } else { "" };
    match &view.problem {
        Some(problem) if view.request.dry_run && view.exit_code == Some(exit::FAILED) => {
            format!("{verb} of {family}: failed{dry}\n{problem}")
        }
        None => format!("{verb} of {family}: {done}{dry}"),
        Some(problem) => format!("{verb} of {family}: {}{dry}\n{problem}", ended(verb, view.exit_code)),
    }
}

fn ended(verb: &str, exit_code: Option<u8>) -> &'static str {
    match exit_code {
        Some(exit::RUNNING) if verb == "link" => "in force, and not running yet",
        Some(exit::DONE) => "done",
        Some(exit::FAILED) => "failed, nothing was changed",
        Some(exit::GATE_FAILED) => "refused, a gate fails",
        Some(exit::GATE_INCONCLUSIVE) => "refused, a gate is inconclusive",
        Some(exit::DIFFERENCES) => "differences found",
        Some(exit::RUNNING) => "still running",
        _ => "the outcome is not known",
    }
}

fn plain(view: &OperationView) -> Vec<String> {
    let outcome = &view.outcome;
    let would = outcome.get("would").and_then(Value::as_str);
    let link = outcome.get("link").and_then(|link| serde_json::from_value::<LinkRecord>(link.clone()).ok());
    let topics = outcome.get("topics").and_then(Value::as_array);
    let done = match (would, link, topics) {
        (Some(would), ..) => would.to_owned(),
        (None, Some(link), _) => format!("it is {}", towpath_linker::status::LinkSeen::from(&link).state),
        (None, None, Some(topics)) if view.request.dry_run => {
            format!("would mirror {}", format_count(topics.len(), "topic"))
        }
        (None, None, Some(topics)) => format!("mirrors {}", format_count(topics.len(), "topic")),
        (None, None, None) => "done".to_owned(),
    };
    let mut parts = vec![verdict(view, &done)];
    let side = |side: &str| {
        let cluster = outcome.get(side)?;
        let name = cluster.get("name")?.as_str()?;
        Some(format!("{side} {name} ({})", cluster.get("cluster_id")?.as_str()?))
    };
    if let (Some(source), Some(target)) = (side("source"), side("target")) {
        parts.push(format!("{source}, {target}"));
    }
    let warnings = outcome.get("warnings").and_then(Value::as_array).into_iter().flatten();
    parts.extend(warnings.filter_map(|warning| Some(format!("! {}", warning.as_str()?))));
    parts
}

fn next(view: &OperationView) -> String {
    let OperationView { verb, family, .. } = view;
    let done = view.exit_code == Some(exit::DONE);
    match (verb.as_str(), done) {
        ("cutover" | "rollback" | "complete", true) if view.request.dry_run => moves::for_real(view),
        ("link", true) if view.request.dry_run => {
            let file = view.outcome.get("file").and_then(Value::as_str).unwrap_or("FILE");
            format!("towpath link {}", harmless(file))
        }
        ("resume" | "pause" | "cancel", true) if view.request.dry_run => format!("towpath {verb} {family}"),
        ("link" | "cutover" | "resume", true) => format!("towpath status {family} --watch"),
        ("diff", true) => format!("towpath cutover {family} --dry-run"),
        ("cancel", true) => "towpath status".to_owned(),
        _ => format!("towpath status {family}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(verb: &str, exit_code: u8, problem: Option<&str>, outcome: Value) -> OperationView {
        let actor = json!({ "name": "lead", "authenticated": true, "role": "operator" });
        let view = json!({
            "id": format!("{verb}-1"), "verb": verb, "family": "product-views",
            "request": { "actor": actor, "dry_run": outcome["dry_run"] == json!(true) },
            "started_ms": 0, "ended_ms": 1, "state": "ended", "steps": [], "progress": null,
            "exit_code": exit_code, "problem": problem, "outcome": outcome,
        });
        serde_json::from_value(view).unwrap()
    }

    fn gate(name: &str, verdict: &str, fix: &str) -> Value {
        json!({
            "name": name, "limit": "5s and 1000 messages", "observed": "12 ms and 3 messages", "age_ms": 40,
            "verdict": verdict, "reason": "0 members are held at the target, 3 are live on the source",
            "fix": fix, "accepted": false,
        })
    }

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(super::super::COLUMNS_MAX), "{line}");
        }
    }

    #[test]
    fn a_move_tells_its_pause_and_leaves_a_recovery_sheet() {
        let outcome = json!({ "family": "product-views", "dry_run": false, "moves": [{
            "group": "session-ranker", "verb": "cutover", "result": "moved", "pause_ms": 312,
            "pause_delivered_ms": 1_480, "pause_max_ms": 5_000, "evicted": [{}, {}], "positions": [{}, {}, {}],
            "alarms": ["first commits have not advanced yet"], "gates": { "verdict": "pass", "gates": [] },
            "recovery_sheet": "Group session-ranker runs on towpath since cutover.",
        }] });
        let text = text(&view("cutover", 0, None, outcome), false);
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_group_that_was_there_already_is_not_told_as_moved() {
        let one = |group: &str, result: &str| json!({ "group": group, "result": result, "pause_ms": null });
        let both = json!({ "moves": [one("store", "nothing_to_do"), one("ranker", "moved")] });
        let told = text(&view("rollback", 0, None, both), false);
        assert!(told.starts_with("rollback of product-views: ranker moved\n"), "{told}");
        assert!(told.contains(" store   nothing to do "), "{told}");
        let none = json!({ "moves": [one("store", "nothing_to_do")] });
        let told = text(&view("rollback", 0, None, none), false);
        assert!(told.starts_with("rollback of product-views: nothing to do\n"), "{told}");
    }

    #[test]
    fn a_refused_move_names_each_gate_with_its_fix() {
        let gates =
            [gate("mirror-lag", "pass", ""), gate("members-ready", "fail", "start them at the target")];
        let outcome = json!({ "moves": [{
            "group": "session-ranker", "result": "refused", "gates": { "verdict": "fail", "gates": gates },
        }] });
        let problem = "group session-ranker: members-ready fails\nfix: start them at the target";
        let text = text(&view("cutover", 3, Some(problem), outcome), false);
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_dry_run_shows_the_steps_of_the_plan() {
        let plan = towpath_plans::Plan::from_yaml(
            "p.yaml",
            "family: product-views\nsource: legacy\ntarget: towpath\ntopics: [views]\ngroups: [session-ranker]\n",
        )
        .unwrap();
        let steps = towpath_plans::steps::cutover_steps(&plan, &plan.groups[0]);
        let outcome = json!({ "dry_run": true, "moves": [{
            "group": "session-ranker", "dry_run": true, "steps": steps,
            "gates": { "verdict": "pass", "gates": [gate("mirror-lag", "pass", "")] },
        }] });
        let text = text(&view("cutover", 0, None, outcome), false);
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn differences_are_told_with_their_samples() {
        let partition = |index: i32, missing: u64, samples: Value| {
            json!({
                "topic": "product-views", "partition": index, "from": 0, "through": 500_000, "records": 499_998,
                "counts": { "missing": missing, "extra": 0, "duplicated": 0, "reordered": 0, "altered": 0 },
                "samples": samples, "samples_max": 10, "expired": [], "at_ms": 1,
            })
        };
        let samples = json!([{ "offset": 77, "kind": "missing" }]);
        let outcome = json!({
            "verdict": "fail", "records": 999_996, "differences": 1,
            "partitions": [partition(0, 0, json!([])), partition(1, 1, samples)],
        });
        let problem = "1 difference\nfix: look at the samples below";
        let text = text(&view("diff", 5, Some(problem), outcome), false);
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_link_says_what_is_mirrored_between_which_clusters() {
        let outcome = json!({
            "topics": ["a", "b"], "dry_run": false, "source": { "name": "legacy", "cluster_id": "S" },
            "target": { "name": "towpath", "cluster_id": "T" },
        });
        insta::assert_snapshot!(text(&view("link", 0, None, outcome), false));
    }

    #[test]
    fn a_dry_run_of_a_link_ends_in_the_command_with_its_file_and_warnings_stand_before_it() {
        let outcome = json!({
            "topics": ["a"], "dry_run": true, "file": "plans/views.yaml", "warnings": ["legacy holds joins"],
        });
        let told = text(&view("link", 0, None, outcome), false);
        assert!(told.starts_with("link of product-views: would mirror 1 topic (dry run"), "{told}");
        assert!(told.ends_with("\n\n! legacy holds joins\n\ntowpath link plans/views.yaml"), "{told}");
    }

    #[test]
    fn that_nothing_was_changed_is_said_once() {
        let told = text(&view("cutover", 1, Some("no\nfix: yes"), json!({ "dry_run": true })), false);
        assert_eq!(told.matches("nothing was changed").count(), 1, "{told}");
        let told = text(&view("link", 6, Some("the plan is in force\nfix: wait"), json!({})), false);
        assert!(told.starts_with("link of product-views: in force, and not running yet\n"), "{told}");
    }

    #[test]
    fn what_a_newer_service_says_does_not_break_the_verdict() {
        let text = text(&view("cutover", 0, None, json!({ "moves": "elsewhere" })), false);
        assert!(text.starts_with("cutover of product-views: done"), "{text}");
    }
}
