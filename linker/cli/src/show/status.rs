//! Families, topics and groups as tables.

use towpath_linker::moves::GroupStatus;
use towpath_linker::status::{FamilyStatus, PartitionStatus, ServiceStatus, TopicStatus};
use towpath_plans::gates::Verdict;
use towpath_plans::transition::{GroupMove, GroupState, Route};

use super::{NOTHING, Tone, at_most, cell, count, counted, date, duration, maybe, numbers, table, trimmed};

/// Rows of one table; what is beyond is counted, `--partitions` and `--json` show all.
const ROWS_MAX: usize = 40;

/// What a person asked to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Every partition.
    pub partitions: bool,
    /// In colours.
    pub colours: bool,
    /// Redrawn again and again: no next command.
    pub live: bool,
}

/// One family.
pub fn family(status: &FamilyStatus, view: View) -> String {
    let mut parts = vec![verdict(status)];
    if is_over(status) {
        if !status.groups.is_empty() {
            parts.push(groups(status, view));
        }
        parts.push(format!(
            "towpath evidence list {0}\ntowpath evidence export {0} --output {0}.evidence",
            status.family
        ));
        return trimmed(&parts.join("\n\n"));
    }
    if !status.alarms.is_empty() {
        parts.push(status.alarms.iter().map(|alarm| format!("! {alarm}")).collect::<Vec<_>>().join("\n"));
    }
    parts.push(match view.partitions {
        true => partitions(&status.topics, view),
        false => topics(&status.topics, view),
    });
    if !status.groups.is_empty() {
        parts.push(groups(status, view));
    }
    if view.partitions {
        parts.extend(positions(&status.groups, view));
    }
    parts.push(diff(status));
    if !view.live {
        parts.push(next(status));
    }
    trimmed(&parts.join("\n\n"))
}

/// Given up or ended: the journal's words are all there is.
fn is_over(status: &FamilyStatus) -> bool {
    matches!(status.link.state.as_str(), "cancelled" | "completed")
}

fn verdict(status: &FamilyStatus) -> String {
    let link = &status.link;
    let since = link.since_ms.map(|at_ms| format!(" since {}", date(at_ms))).unwrap_or_default();
    let because = if link.reason.is_empty() { String::new() } else { format!(": {}", link.reason) };
    let (source, target) = (&status.source, &status.target);
    format!(
        "{}: {}{since}{because}\nfrom {} ({}) to {} ({}), plan {}",
        status.family,
        link.state,
        source.name,
        source.id,
        target.name,
        target.id,
        status.plan_hash.get(..12).unwrap_or(&status.plan_hash),
    )
}

fn topics(topics: &[TopicStatus], view: View) -> String {
    let heads = ["topic", "partitions", "records on source", "behind", "lag", "halted"];
    let mut lines = table(&heads, view.colours);
    for topic in topics.iter().take(ROWS_MAX) {
        let held = topic.partitions.iter().map(|one| one.source_high_watermark - one.source_log_start).sum();
        let halted = topic.partitions.iter().filter(|one| one.halted.is_some()).count();
        lines.add_row([
            comfy_table::Cell::new(&topic.name),
            comfy_table::Cell::new(topic.partitions.len()),
            comfy_table::Cell::new(maybe(Some(held))),
            comfy_table::Cell::new(maybe(Some(topic.lag_messages()))),
            lag(topic.lag_ms()),
            halted_cell(halted),
        ]);
    }
    numbers(&mut lines, &[1, 2, 3, 4, 5]);
    at_most(&mut lines, 0, 45);
    format!("{lines}{}", more(topics.len(), "topics"))
}

fn partitions(topics: &[TopicStatus], view: View) -> String {
    let heads =
        ["partition", "source from", "source to", "target from", "target to", "behind", "lag", "halted"];
    let mut lines = table(&heads, view.colours);
    let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(|one| (&topic.name, one)));
    for (topic, one) in all {
        let PartitionStatus { index, source_log_start, source_high_watermark, .. } = one;
        lines.add_row([
            comfy_table::Cell::new(format!("{topic}-{index}")),
            comfy_table::Cell::new(source_log_start),
            comfy_table::Cell::new(source_high_watermark),
            comfy_table::Cell::new(one.target_log_start),
            comfy_table::Cell::new(one.target_log_end),
            comfy_table::Cell::new(maybe(Some(one.lag_messages))),
            lag(one.lag_ms),
            halted_cell(usize::from(one.halted.is_some())),
        ]);
    }
    numbers(&mut lines, &[1, 2, 3, 4, 5, 6, 7]);
    at_most(&mut lines, 0, 35);
    lines.to_string()
}

fn groups(status: &FamilyStatus, view: View) -> String {
    let heads = ["group", "route", "members", "held", "at source", "at target", "unread", "way back until"];
    let mut lines = table(&heads, view.colours);
    for group in status.groups.iter().take(ROWS_MAX) {
        let positions = || group.positions.iter();
        lines.add_row([
            comfy_table::Cell::new(&group.record.group),
            route(&group.record),
            comfy_table::Cell::new(format!("{} / {}", group.source_members, group.target_members)),
            comfy_table::Cell::new(group.held_members),
            comfy_table::Cell::new(sum(positions().map(|one| one.source))),
            comfy_table::Cell::new(sum(positions().map(|one| one.target))),
            comfy_table::Cell::new(sum(positions().map(|one| one.lag_messages))),
            comfy_table::Cell::new(way_back(group)),
        ]);
    }
    numbers(&mut lines, &[2, 3, 4, 5, 6]);
    at_most(&mut lines, 0, 30);
    at_most(&mut lines, 7, 30);
    let note = "members: live at source / at target; positions: sums over partitions";
    format!("{lines}{}\n{note}", more(status.groups.len(), "groups"))
}

/// The sum of what is known; nothing when nothing is.
fn sum(numbers: impl Iterator<Item = Option<i64>>) -> String {
    maybe(numbers.flatten().reduce(|all, one| all + one))
}

/// Each partition that a group has a position in.
fn positions(groups: &[GroupStatus], view: View) -> Option<String> {
    let mut lines = table(&["group", "partition", "at source", "at target", "unread"], view.colours);
    for group in groups {
        for position in &group.positions {
            lines.add_row([
                group.record.group.clone(),
                format!("{}-{}", position.topic, position.partition),
                position.source.map_or_else(|| NOTHING.into(), |offset| offset.to_string()),
                position.target.map_or_else(|| NOTHING.into(), |offset| offset.to_string()),
                maybe(position.lag_messages),
            ]);
        }
    }
    numbers(&mut lines, &[2, 3, 4]);
    (lines.row_count() > 0).then(|| lines.to_string())
}

fn way_back(group: &GroupStatus) -> String {
    let Some(until_ms) = group.way_back_until_ms else { return NOTHING.into() };
    match &group.way_back_limited_by {
        Some(partition) => format!("{} by {partition}", date(until_ms)),
        None => date(until_ms),
    }
}

fn route(record: &GroupMove) -> comfy_table::Cell {
    let (route, tone) = match record.route() {
        Route::Source => ("source", None),
        Route::Draining => ("draining", Some(Tone::Odd)),
        Route::Target => ("target", Some(Tone::Good)),
    };
    let text = match record.state.is_at_rest() {
        true => route.to_owned(),
        false => format!("{route} ({})", state(record)),
    };
    match tone {
        Some(tone) => cell(text, tone),
        None => comfy_table::Cell::new(text),
    }
}

/// The state as the journal spells it, with spaces.
fn state(record: &GroupMove) -> String {
    let name = serde_json::to_value(record.state).ok();
    name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().replace('_', " ")
}

fn lag(lag_ms: Option<i64>) -> comfy_table::Cell {
    match lag_ms {
        Some(ms @ ..10_000) => comfy_table::Cell::new(duration(ms)),
        Some(ms) => cell(duration(ms), Tone::Odd),
        None => cell("not caught up", Tone::Odd),
    }
}

fn halted_cell(halted: usize) -> comfy_table::Cell {
    if halted == 0 { comfy_table::Cell::new(NOTHING) } else { cell(halted, Tone::Bad) }
}

fn diff(status: &FamilyStatus) -> String {
    let seen = &status.diff;
    let mut text = match (seen.differences, seen.verdict) {
        (0, Verdict::Pass) => format!("diff: {} compared, all equal", counted(seen.records, "record")),
        (0, verdict) => format!("diff: {verdict}, {} compared and equal", counted(seen.records, "record")),
        (found, _) => format!(
            "diff: {} compared, {} found",
            counted(seen.records, "record"),
            counted(found, "difference")
        ),
    };
    if seen.uncompared > 0 {
        text.push_str(&format!(", {} to go", counted(seen.uncompared.unsigned_abs(), "offset")));
    }
    for difference in &status.differences {
        text.push_str(&format!("\n{}: {}: {}", difference.topic, difference.what, difference.outcome));
    }
    text
}

fn next(status: &FamilyStatus) -> String {
    let family = &status.family;
    let on_source = status.groups.iter().any(|group| group.record.state == GroupState::OnSource);
    match status.link.state.as_str() {
        "paused" => format!("towpath resume {family}"),
        "mirroring" if on_source => format!("towpath cutover {family} --dry-run"),
        _ => format!("towpath status {family} --watch"),
    }
}

/// A line per family.
pub fn service(status: &ServiceStatus, view: View) -> String {
    let alarms: usize = status.families.iter().map(|family| family.alarms.len()).sum();
    let all = status.families.len() + status.starting.len() + status.ended.len();
    let (families, alarms) = (counted(all as u64, "family"), counted(alarms as u64, "alarm"));
    let mut text = format!("{}: {families}, {alarms}\n", status.service);
    let heads = ["family", "link", "topics", "behind", "lag", "groups moved", "diff", "alarms"];
    let mut lines = table(&heads, view.colours);
    for family in &status.families {
        let moved = family.groups.iter().filter(|group| group.record.route() == Route::Target).count();
        let lags: Option<Vec<i64>> = family.topics.iter().map(TopicStatus::lag_ms).collect();
        let alarms = family.alarms.len();
        lines.add_row([
            comfy_table::Cell::new(&family.family),
            link(&family.link.state),
            comfy_table::Cell::new(family.topics.len()),
            comfy_table::Cell::new(maybe(Some(family.topics.iter().map(TopicStatus::lag_messages).sum()))),
            lag(lags.map(|lags| lags.into_iter().max().unwrap_or_default())),
            comfy_table::Cell::new(format!("{moved} of {}", family.groups.len())),
            comfy_table::Cell::new(match family.diff.differences {
                0 => family.diff.verdict.to_string(),
                found => format!("{} differ", count(found)),
            }),
            if alarms == 0 { comfy_table::Cell::new(NOTHING) } else { cell(alarms, Tone::Bad) },
        ]);
    }
    for family in status.starting.keys() {
        lines.add_row([comfy_table::Cell::new(family), cell("starting", Tone::Odd)]);
    }
    for family in &status.ended {
        lines.add_row([comfy_table::Cell::new(&family.family), comfy_table::Cell::new(&family.link.state)]);
    }
    numbers(&mut lines, &[2, 3, 4, 7]);
    at_most(&mut lines, 0, 35);
    if all > 0 {
        text.push_str(&format!("\n{lines}\n"));
    }
    for (family, why) in &status.starting {
        text.push_str(&format!("\n{family} does not run yet: {why}\n"));
    }
    if !view.live {
        let first = status.families.first().map(|family| family.family.as_str());
        let next = first.map_or("towpath link FILE".into(), |family| format!("towpath status {family}"));
        text.push_str(&format!("\n{next}"));
    }
    trimmed(&text)
}

fn link(state: &str) -> comfy_table::Cell {
    match state {
        "mirroring" => cell(state, Tone::Good),
        "halted" => cell(state, Tone::Bad),
        "paused" | "created" => cell(state, Tone::Odd),
        _ => comfy_table::Cell::new(state),
    }
}

fn more(all: usize, what: &str) -> String {
    match all.checked_sub(ROWS_MAX) {
        None | Some(0) => String::new(),
        Some(rest) => format!("\n… and {rest} more {what}; --json shows all"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towpath_linker::status::LinkSeen;
    use towpath_plans::transition::Verb;

    use super::*;

    fn sample() -> FamilyStatus {
        let partition = |index: i32, behind: i64, lag_ms: Option<i64>| {
            json!({
                "index": index, "source_log_start": 1_000, "source_high_watermark": 1_240_000,
                "target_log_start": 1_000, "target_log_end": 1_240_000 - behind, "lag_messages": behind,
                "lag_ms": lag_ms, "halted": null,
            })
        };
        let mut halted = partition(0, 0, Some(3_600_000));
        halted["halted"] = json!({ "reason": "views-dlq-0: re-created", "fix": "cancel", "since_ms": 0 });
        let group = |name: &str, state: &str, route_at: i64| {
            json!({
                "record": {
                    "family": "product-views", "group": name, "state": state, "verb": null, "attempt": 1,
                    "since_ms": 0, "because": "linked", "actor": "", "plan_hash": null, "fence": null,
                    "before": [], "finals": [], "last": null,
                },
                "source_members": if state == "on_source" { 3 } else { 0 },
                "target_members": if state == "on_source" { 0 } else { 2 },
                "held_members": if state == "on_source" { 3 } else { 0 },
                "positions": [
                    { "topic": "product-views", "partition": 0, "source": route_at, "target": route_at, "lag_messages": 12 },
                    { "topic": "product-views", "partition": 1, "source": null, "target": null, "lag_messages": null },
                ],
                "way_back_until_ms": 1_795_438_800_000_i64, "way_back_limited_by": "product-views-1",
                "alarms": [], "observed_ms": 1,
            })
        };
        let status = json!({
            "family": "product-views", "plan_hash": "0123456789abcdef",
            "source": { "name": "legacy", "id": "MkU3OEVBNTcwNTJENDM2Qg" },
            "target": { "name": "towpath", "id": "Vh0LxxbnQ3OEVBNTcwNTJE" },
            "link": { "state": "halted", "reason": "views-dlq-0: re-created", "since_ms": 1_795_438_800_000_i64 },
            "topics": [
                { "name": "product-views", "partitions": [partition(0, 0, Some(0)), partition(1, 25, Some(340))] },
                { "name": "views-dlq", "partitions": [halted] },
                { "name": "a-topic-whose-name-is-longer-than-any-table-should-ever-have-to-hold-in-one-line",
                  "partitions": [partition(0, 1_000_000, None)] },
            ],
            "groups": [group("session-ranker", "on_target", 1_239_988), group("feature-store", "on_source", 99)],
            "diff": { "verdict": "inconclusive", "records": 1_000_000, "differences": 0, "uncompared": 240_000 },
            "differences": [
                { "topic": "views-dlq", "what": "min.insync.replicas: 2 here, 1 there", "outcome": "not followed" },
            ],
            "alarms": ["views-dlq-0: re-created; fix: cancel"],
            "observed_ms": 1,
        });
        serde_json::from_value(status).unwrap()
    }

    fn cancelled() -> FamilyStatus {
        let mut status = sample();
        status.family = "carts".into();
        status.link = LinkSeen {
            state: "cancelled".into(),
            reason: "given up; every group is on the source".into(),
            since_ms: None,
        };
        status.topics.clear();
        status.groups.clear();
        status
    }

    #[test]
    fn a_cancelled_family_is_told_as_such_and_leads_to_its_evidence() {
        let text = family(&cancelled(), View::default());
        assert!(text.starts_with("carts: cancelled: given up"), "{text}");
        assert!(text.ends_with("towpath evidence export carts --output carts.evidence"), "{text}");
        assert!(!text.contains("lag"), "{text}");
    }

    #[test]
    fn a_move_that_waits_for_members_shows_the_side_that_they_read_on() {
        let mut status = sample();
        for (group, verb) in status.groups.iter_mut().zip([Verb::Rollback, Verb::Cutover]) {
            group.record.state = GroupState::Fencing;
            group.record.verb = Some(verb);
        }
        let text = family(&status, View::default());
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line("session-ranker").contains(" target (fencing) "), "{text}");
        assert!(line("feature-store").contains(" source (fencing) "), "{text}");
    }

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(super::super::COLUMNS_MAX), "{line}");
        }
    }

    #[test]
    fn a_family_is_told_verdict_first_and_next_command_last() {
        let text = family(&sample(), View::default());
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_partition_is_shown_when_asked_for() {
        let text = family(&sample(), View { partitions: true, ..View::default() });
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_service_is_a_line_per_family() {
        let status = ServiceStatus {
            service: "towpath".into(),
            version: "0".into(),
            families: vec![sample()],
            starting: [("orders".to_owned(), "source: connect to cluster legacy: refused".to_owned())].into(),
            ended: vec![cancelled()],
            observed_ms: 1,
        };
        let text = service(&status, View::default());
        fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        assert!(!family(&sample(), View::default()).contains('\u{1b}'));
        assert!(family(&sample(), View { colours: true, ..View::default() }).contains('\u{1b}'));
    }
}
