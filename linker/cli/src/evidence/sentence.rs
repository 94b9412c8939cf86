//! Each entry of evidence in one sentence, for `evidence list` and the report.

use towpath_dashboards::quantity::{At, Count, Millis};
use towpath_plans::Side;
use towpath_plans::diff::DifferenceCounts;
use towpath_plans::evidence::{
    Actor, Body, GateRecord, MemberTrace, PartitionCompared, PauseKind, RangeCompared, Translation,
};
use towpath_plans::gates::Verdict;
use towpath_plans::transition::{GroupState, LinkState, Origin, Verb};

/// What an entry says, in a sentence without a full stop.
pub fn of(body: &Body) -> String {
    link(body).or_else(|| comparison(body)).or_else(|| group(body)).unwrap_or_else(|| chain(body))
}

/// Entries about the link.
fn link(body: &Body) -> Option<String> {
    Some(match body {
        Body::PlanAdopted { plan_hash, .. } => format!("plan {plan_hash} is in force"),
        Body::ClustersSeen { clusters } => {
            let seen: Vec<_> = clusters
                .iter()
                .map(|c| format!("{} {} is cluster {}", c.side, c.name, c.cluster_id))
                .collect();
            format!("a service took up this chain; {}", seen.join(", "))
        }
        Body::TopicLinked { topic, partitions, config_differences, .. } => {
            let differing = match config_differences.len() {
                0 => String::new(),
                n => format!("; {n} configs differ"),
            };
            format!("{topic} is mirrored, {}{differing}", plural(i64::from(*partitions), "partition"))
        }
        Body::LinkChanged { from, to, reason } => {
            format!("the link went from {} to {}{}", link_state(from), link_state(to), because(reason))
        }
        Body::PartitionHalted { topic, partition, reason, fix } => {
            format!("the mirror of {topic}-{partition} halted: {reason}; what to do: {fix}")
        }
        Body::Lost { topic, partition, from, to, reason } => format!(
            "{} of {topic}-{partition} were lost, offsets {from} to {}: {reason}",
            plural(to - from, "offset"),
            to - 1
        ),
        _ => return None,
    })
}

/// Entries about the diff.
fn comparison(body: &Body) -> Option<String> {
    Some(match body {
        Body::RangesCompared { ranges } => {
            let equal = ranges.iter().filter(|range| is_equal(range)).count();
            let records: u64 = ranges.iter().map(|range| range.source_records).sum();
            let all = plural(ranges.len() as i64, "range");
            format!(
                "{all} compared, {} on the source, {equal} with equal digests",
                plural(records as i64, "record")
            )
        }
        Body::DiffVerdict { verdict, partitions, counts, .. } => {
            let verdict = verdict_word(*verdict);
            format!("the diff says {verdict}: {}, {}", compared(partitions), differences(counts))
        }
        _ => return None,
    })
}

/// Entries about a group.
fn group(body: &Body) -> Option<String> {
    Some(match body {
        Body::Requested { verb, group, dry_run, reason, accepted, .. } => {
            let request = request(verb, group.as_deref(), *dry_run, accepted);
            format!("asked for: {request}{}", because(reason))
        }
        Body::GatesEvaluated { group, verb, verdict, gates } => {
            format!(
                "{} of {group}: gates {}, {}",
                verb_word(*verb),
                verdict_word(*verdict),
                gate_counts(gates)
            )
        }
        Body::GroupChanged { group, to, because: why, .. } => {
            format!("{group}: {}{}", state(*to), because(why))
        }
        Body::Fenced { group, generation, evicted, .. } => {
            format!("{group} is fenced at the source, generation {generation}; {}", put_out(evicted))
        }
        Body::FenceLapsed { group, from_ms, to_ms, moved, repeated_max } => {
            lapse(group, (*from_ms, *to_ms), *moved, *repeated_max)
        }
        Body::FenceReleased { group, reason } => format!("the fence of {group} has left{}", because(reason)),
        Body::FinalOffsets { group, verb, translations, .. } => format!(
            "{} of {group}: final offsets of {}",
            verb_word(*verb),
            plural(translations.len() as i64, "partition")
        ),
        Body::Resumed { group, side, alarms, .. } => match alarms.len() {
            0 => format!("{group} stands on the {side} at the recorded positions"),
            _ => format!("{group} is on the {side}, and not all is as recorded: {}", alarms.join("; ")),
        },
        Body::PauseMeasured { group, verb, kind, pause_ms, limit_ms, .. } => format!(
            "{} of {group}: {} was {} of {} allowed",
            verb_word(*verb),
            pause(*kind),
            millis(*pause_ms),
            millis(*limit_ms)
        ),
        Body::Straggler { group, topic, partition, expected, seen, members } => {
            let who = match members.is_empty() {
                true => "by nobody that the cluster names".to_owned(),
                false => format!("by {}", names(members)),
            };
            format!(
                "{group} moved behind the fence: {topic}-{partition} stands at {seen} and not {expected}, {who}"
            )
        }
        Body::Completed { group, stop } => format!("{group} gave up its way back: {stop}"),
        _ => return None,
    })
}

/// Entries about the chain itself.
fn chain(body: &Body) -> String {
    match body {
        Body::Opened { key, .. } => format!("the chain begins; key {key} signs"),
        Body::Checkpoint { .. } => "all entries before are signed".into(),
        Body::KeyRotated { key, reason, .. } => {
            format!("key {key} signs from here on, the one before vouches for it{}", because(reason))
        }
        Body::KeyReplaced { key, reason } => {
            format!(
                "key {key} signs from here on, and the one before does not vouch for it{}",
                because(reason)
            )
        }
        Body::SecretDestroyed { secret, reason } => {
            format!("pseudonym secret {secret} was destroyed{}", because(reason))
        }
        Body::HeadPublished { to, sequence, .. } => {
            format!("the head up to entry {sequence} was published to {to}")
        }
        Body::Noted { sentence } => sentence.clone(),
        // The other functions have every other kind; should one be forgotten, its name is better than nothing.
        other => serde_json::to_value(other)
            .ok()
            .and_then(|value| value.as_object()?.keys().next().cloned())
            .unwrap_or_default(),
    }
}

fn lapse(group: &str, (from_ms, to_ms): (i64, i64), moved: bool, repeated_max: u64) -> String {
    let (length, moved) = (
        Millis(to_ms - from_ms),
        if moved { "somebody committed meanwhile" } else { "nobody committed meanwhile" },
    );
    format!(
        "the fence of {group} was down for up to {length}, from {} to {}; {moved}, at most {} delivered twice",
        At(from_ms),
        At(to_ms),
        plural(repeated_max as i64, "record")
    )
}

/// `3 partitions`.
pub fn plural(count: i64, what: &str) -> String {
    format!("{} {what}{}", Count(count), if count == 1 { "" } else { "s" })
}

/// A figure of the model as a stretch of time.
pub fn millis(ms: u64) -> Millis {
    Millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// `: why`, or nothing.
pub fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// Whether both sides of a range hold the same.
pub fn is_equal(range: &RangeCompared) -> bool {
    range.source_records == range.target_records && range.source_digest == range.target_digest
}

/// Who, and whether a token proved it. Without one the service marks the name; here a word beside it does.
pub fn actor(actor: &Actor) -> String {
    let claimed = actor.name.strip_prefix("unauthenticated (").and_then(|name| name.strip_suffix(')'));
    match (actor.authenticated, claimed) {
        (true, _) => actor.name.clone(),
        (false, name) => format!("{} (claimed)", name.unwrap_or(&actor.name)),
    }
}

/// What was asked for.
pub fn request(verb: &str, group: Option<&str>, dry_run: bool, accepted: &[String]) -> String {
    let group = group.map(|group| format!(" {group}")).unwrap_or_default();
    let accepting = match accepted {
        [] => String::new(),
        accepted => format!(", accepting {}", accepted.join(" and ")),
    };
    format!("{verb}{group}{}{accepting}", if dry_run { " (dry run)" } else { "" })
}

/// A state of a group, as a person says it.
pub fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::OnSource => "on the source",
        GroupState::Preflight => "gates are evaluated",
        GroupState::Fencing => "fencing",
        GroupState::Draining => "fenced; draining the mirror",
        GroupState::FinalOffsets => "drained; reading the final offsets",
        GroupState::Recorded => "recorded: from here on it goes forward",
        GroupState::Committed => "positions committed at the source",
        GroupState::Verifying => "switched; verifying",
        GroupState::OnTarget => "on the target",
        GroupState::Undoing => "putting everything back",
        GroupState::Completing => "giving up the way back",
        GroupState::Completed => "on the target for good",
        GroupState::Cancelling => "leaving the link",
        GroupState::Cancelled => "on the source, no longer linked",
    }
}

fn link_state(state: &LinkState) -> &'static str {
    match state {
        LinkState::Created => "created",
        LinkState::Mirroring => "mirroring",
        LinkState::Paused { .. } => "paused",
        LinkState::Halted => "halted",
        LinkState::Cancelled => "cancelled",
        LinkState::Completed => "completed",
    }
}

/// A verb with a capital, to begin a title.
pub fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Cutover => "Cutover",
        Verb::Rollback => "Rollback",
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Fail => "fail",
    }
}

/// What a measured stretch is.
pub fn pause(kind: PauseKind) -> &'static str {
    match kind {
        PauseKind::Delivered => "from the last delivery to the first",
        PauseKind::Possible => "without a side that could deliver",
    }
}

/// Where a final position comes from.
pub fn origin(translation: &Translation) -> &'static str {
    match translation.origin {
        Origin::Committed => "committed by the group",
        Origin::Earliest => "never committed; the plan says earliest",
        Origin::Latest => "never committed; the plan says latest",
    }
}

/// `source` or `target`, for columns.
pub fn side(side: Side) -> String {
    side.to_string()
}

fn compared(partitions: &[PartitionCompared]) -> String {
    let records: u64 = partitions.iter().map(|partition| partition.records).sum();
    format!("{} in {}", plural(records as i64, "record"), plural(partitions.len() as i64, "partition"))
}

/// Differences by kind, kinds without any left out.
pub fn kinds(counts: &DifferenceCounts) -> Vec<(String, Count)> {
    let DifferenceCounts { missing, extra, duplicated, reordered, altered } = *counts;
    let kinds = [
        ("missing on the target", missing),
        ("on the target only", extra),
        ("duplicated", duplicated),
        ("reordered", reordered),
        ("altered", altered),
    ];
    let some = kinds.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(kind, count)| (kind.to_owned(), Count(count as i64))).collect()
}

fn differences(counts: &DifferenceCounts) -> String {
    let kinds: Vec<_> = kinds(counts).iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if kinds.is_empty() { "no differences".into() } else { kinds.join(", ") }
}

fn gate_counts(gates: &[GateRecord]) -> String {
    let passed = gates.iter().filter(|gate| gate.verdict == Verdict::Pass).count();
    let not: Vec<_> =
        gates.iter().filter(|gate| gate.verdict != Verdict::Pass).map(|gate| gate.gate.as_str()).collect();
    match not.is_empty() {
        true => format!("{passed} passed"),
        false => format!("{passed} passed, not {}", not.join(", ")),
    }
}

/// Who was put out of the group.
pub fn put_out(evicted: &[MemberTrace]) -> String {
    match evicted.is_empty() {
        true => "nobody had to be put out".into(),
        false => format!("{} put out: {}", plural(evicted.len() as i64, "member"), names(evicted)),
    }
}

fn names(members: &[MemberTrace]) -> String {
    // The whole pseudonym stands in the entry; enough of it here to see who shares a host.
    let host = |member: &MemberTrace| member.host.chars().take("host:".len() + 8).collect::<String>();
    let name = |member: &MemberTrace| match &member.instance_id {
        Some(instance) => format!("{} ({instance}, {})", member.client_id, host(member)),
        None => format!("{} ({})", member.client_id, host(member)),
    };
    members.iter().map(name).collect::<Vec<_>>().join(", ")
}
