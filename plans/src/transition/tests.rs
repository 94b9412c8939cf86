//! The transition function beside its diagram, and the rules that the diagram can not say.

use std::collections::BTreeSet;

use super::*;
use crate::PlanHash;

fn record(state: GroupState, verb: Option<Verb>) -> GroupMove {
    GroupMove { state, verb, attempt: 1, ..GroupMove::new("views", "ranker", 0) }
}

fn hold() -> FenceHold {
    FenceHold { member_id: "m".into(), instance_id: "towpath".into(), generation: 3, since_ms: 1 }
}

fn events() -> Vec<Event> {
    let begin = |verb| Event::Begin {
        verb,
        actor: "lead".into(),
        reason: "because".into(),
        plan_hash: PlanHash([7; 32]),
    };
    let text = || "because".to_string();
    vec![
        begin(Verb::Cutover),
        begin(Verb::Rollback),
        Event::GatesPassed { before: Vec::new() },
        Event::GatesRefused { reason: text() },
        Event::Fenced { hold: Some(hold()) },
        Event::Drained,
        Event::FinalsRead { finals: Vec::new() },
        Event::Switched,
        Event::PositionsCommitted,
        Event::Released,
        Event::Verified { alarms: Vec::new() },
        Event::StepFailed { reason: text() },
        Event::Abort { reason: text() },
        Event::Undone,
        Event::FenceAdopted { hold: hold() },
        Event::FenceLapsed { hold: hold(), moved: None },
        Event::FenceLapsed { hold: hold(), moved: Some(Vec::new()) },
        Event::Complete { actor: text(), reason: text() },
        Event::Cancel { actor: text(), reason: text() },
        Event::Forgotten,
    ]
}

/// Every transition that exists: from, verb, event, to.
fn all() -> Vec<(GroupState, Option<Verb>, &'static str, GroupState)> {
    let mut found = Vec::new();
    for state in GroupState::ALL {
        let verbs =
            match state.is_at_rest() || matches!(state, GroupState::Completing | GroupState::Cancelling) {
                true => vec![None],
                false if state == GroupState::Committed => vec![Some(Verb::Rollback)],
                false => vec![Some(Verb::Cutover), Some(Verb::Rollback)],
            };
        for verb in verbs {
            for event in events() {
                if let Ok(next) = transition(&record(state, verb), &event, 5) {
                    found.push((state, verb, event.name(), next.record.state));
                }
            }
        }
    }
    found
}

/// The diagram's lines, from the source file itself: (verb, states, event, where to).
fn diagram() -> Vec<(Option<Verb>, Vec<String>, String, String)> {
    let text = include_str!("group.rs");
    let start = text.find("/// ```text").unwrap();
    let end = start + text[start..].find("/// ```\n").unwrap();
    let joined = text[start..end].replace("\n///              --", " --");
    let mut found = Vec::new();
    for line in joined.lines() {
        let mut rest = line.trim_start_matches("///").trim();
        let (mut verb, mut states) = (None, Vec::new());
        while let Some((left, right)) = rest.split_once("--") {
            let Some((event, after)) = right.split_once("-->") else { break };
            if !left.trim().is_empty() {
                let new: Vec<&str> = left.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
                let new = new.iter().map(|part| part.rsplit("  ").next().unwrap_or(part).to_string());
                states = new.collect();
            }
            if let Some((word, _)) = left.split_once(':')
                && states.len() == left.split(',').count()
                && !left.contains("OnTarget, ")
            {
                verb = match word.trim() {
                    "cutover" => Some(Verb::Cutover),
                    "rollback" => Some(Verb::Rollback),
                    _ => None,
                };
            }
            let to = after.split("--").next().unwrap_or(after);
            found.push((verb, states.clone(), event.to_string(), to.trim().to_string()));
            // What stands between two arrows of one line names the second's states, after wide space.
            rest = match after.find("--") {
                Some(_) => {
                    let wide = after.find("   ").unwrap_or(0);
                    &after[wide..]
                }
                None => "",
            };
        }
    }
    found
}

#[test]
fn the_diagram_names_every_transition_and_no_other() {
    let drawn = diagram();
    let names = |states: &[String], state: GroupState, verb: Option<Verb>, line_verb: Option<Verb>| {
        let mut scope = line_verb;
        states.iter().any(|name| {
            let bare = match name.split_once(": ") {
                Some(("cutover", rest)) => {
                    scope = Some(Verb::Cutover);
                    rest
                }
                Some(("rollback", rest)) => {
                    scope = Some(Verb::Rollback);
                    rest
                }
                _ => name,
            };
            bare.trim() == format!("{state:?}") && (scope.is_none() || scope == verb)
        })
    };
    let mut used = BTreeSet::new();
    for (from, verb, event, to) in all() {
        let line = drawn.iter().enumerate().filter(|(_, (line_verb, states, name, where_to))| {
            let origin = verb.map(Verb::origin_state) == Some(to) && where_to.starts_with("where it began");
            let itself = from == to && where_to.starts_with("itself");
            let said = where_to.starts_with(&format!("{to:?}"))
                || (from == GroupState::Verifying
                    && where_to.contains(&format!("{to:?} ({}", verb.unwrap())));
            // "FenceLapsed" without "(moved)" stands for both where the diagram makes no difference.
            let event = name == event || (event == "FenceLapsed(moved)" && name == "FenceLapsed");
            event && names(states, from, verb, *line_verb) && (origin || itself || said)
        });
        let lines: Vec<usize> = line.map(|(index, _)| index).collect();
        assert!(!lines.is_empty(), "the diagram lacks {from:?} ({verb:?}) --{event}--> {to:?}\n{drawn:#?}");
        used.extend(lines);
    }
    for (index, line) in drawn.iter().enumerate() {
        assert!(used.contains(&index), "the diagram names what does not exist: {line:?}");
    }
}

#[test]
fn every_state_but_the_ends_can_be_left_and_reached() {
    let all = all();
    for state in GroupState::ALL {
        let left = all.iter().any(|(from, _, _, to)| *from == state && *to != state);
        let over = matches!(state, GroupState::Completed | GroupState::Cancelled);
        assert_eq!(left, !over, "{state:?}");
        let reached = state == GroupState::OnSource
            || all.iter().any(|(from, _, _, to)| *to == state && *from != state);
        assert!(reached, "{state:?}");
    }
}

#[test]
fn a_verb_can_be_taken_back_until_the_record_step_and_not_after() {
    let abort = Event::Abort { reason: "no".into() };
    for verb in [Verb::Cutover, Verb::Rollback] {
        for state in GroupState::ALL {
            let answer = transition(&record(state, Some(verb)), &abort, 0);
            assert_eq!(answer.is_ok(), state.is_before_record(), "{state:?}");
        }
        let refused = transition(&record(GroupState::Recorded, Some(verb)), &abort, 0).unwrap_err();
        assert!(refused.to_string().contains("then roll back"), "{refused}");
    }
}

#[test]
fn after_the_record_step_nothing_leads_back() {
    for verb in [Verb::Cutover, Verb::Rollback] {
        for state in [GroupState::Recorded, GroupState::Committed, GroupState::Verifying] {
            for event in events() {
                if let Ok(next) = transition(&record(state, Some(verb)), &event, 0) {
                    assert_ne!(next.record.state, verb.origin_state());
                    assert_ne!(next.record.state, GroupState::Undoing);
                }
            }
            let (way, _) = resume(&record(state, Some(verb)), 0);
            assert_eq!(way, Resumption::Forward);
        }
    }
}

#[test]
fn a_step_that_is_tried_again_keeps_saying_why_it_is_there_and_what_failed() {
    let failed = Event::StepFailed { reason: "ROUTE_CONFLICT".into() };
    let recorded = GroupMove {
        because: "final offsets are known".into(),
        ..record(GroupState::Recorded, Some(Verb::Cutover))
    };
    let again = transition(&recorded, &failed, 7).unwrap();
    assert_eq!(again.effects, [Effect::Switch]);
    assert_eq!(
        (again.record.trouble.as_deref(), again.record.because.as_str()),
        (Some("ROUTE_CONFLICT"), "final offsets are known")
    );
    assert_eq!(again.record.since_ms, recorded.since_ms);
    assert_eq!(transition(&again.record, &Event::Switched, 8).unwrap().record.trouble, None);
}

#[test]
fn each_attempt_has_its_own_number() {
    let begin = events().remove(0);
    let at_rest = record(GroupState::OnSource, None);
    assert_eq!(transition(&at_rest, &begin, 0).unwrap().record.attempt, at_rest.attempt + 1);
}

#[test]
fn the_fence_is_fed_from_the_moment_it_stands_until_it_leaves() {
    use GroupState as S;
    for state in [S::Draining, S::FinalOffsets, S::Recorded] {
        assert_eq!(fence_duty(state, Some(Verb::Cutover)), FenceDuty::Heartbeat, "{state:?}");
        assert_eq!(fence_duty(state, Some(Verb::Rollback)), FenceDuty::Heartbeat, "{state:?}");
    }
    assert_eq!(fence_duty(S::Verifying, Some(Verb::Cutover)), FenceDuty::CommitTargetPositions);
    assert_eq!(fence_duty(S::OnTarget, None), FenceDuty::CommitTargetPositions);
    for state in [S::Fencing, S::Undoing] {
        assert_eq!(fence_duty(state, Some(Verb::Rollback)), FenceDuty::Heartbeat, "{state:?}");
    }
    for state in [S::Committed, S::Verifying] {
        assert_eq!(fence_duty(state, Some(Verb::Rollback)), FenceDuty::None, "{state:?}");
    }
}

#[test]
fn a_group_that_moved_on_at_the_source_is_not_set_back_by_a_rollback() {
    let moved = Event::FenceLapsed { hold: hold(), moved: Some(Vec::new()) };
    let next = transition(&record(GroupState::Recorded, Some(Verb::Rollback)), &moved, 0).unwrap();
    assert_eq!(next.record.state, GroupState::Committed);
    assert!(!next.effects.contains(&Effect::CommitAtSource));
}

#[test]
fn a_cutover_whose_fence_lapsed_after_the_record_takes_up_the_positions_of_now() {
    let now = FinalPosition {
        topic: "views".into(),
        partition: 0,
        source_offset: 9,
        target_offset: 9,
        origin: Origin::Committed,
        metadata: None,
    };
    let moved = Event::FenceLapsed { hold: hold(), moved: Some(vec![now.clone()]) };
    let next = transition(&record(GroupState::Recorded, Some(Verb::Cutover)), &moved, 0).unwrap();
    assert_eq!((next.record.state, next.record.finals), (GroupState::Recorded, vec![now]));
    assert_eq!(next.effects, [Effect::AlarmLapse, Effect::Switch]);
    assert_eq!(next.record.fence, Some(hold()));
}

#[test]
fn a_record_survives_its_journal() {
    let mut record = record(GroupState::Recorded, Some(Verb::Rollback));
    record.fence = Some(hold());
    record.plan_hash = Some(PlanHash([9; 32]));
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<GroupMove>(&json).unwrap(), record);
}

fn halt(partition: i32) -> Halt {
    Halt {
        topic: "views".into(),
        partition,
        reason: "the topic was created again".into(),
        fix: "plan it anew".into(),
        since_ms: 1,
    }
}

#[test]
fn a_link_remembers_its_halts_through_a_pause() {
    let step = |record: &LinkRecord, event: LinkEvent| link_transition(record, &event, 9).unwrap();
    let link = step(&LinkRecord::new("views"), LinkEvent::Started);
    assert_eq!(link.state, LinkState::Mirroring);
    let link = step(&step(&link, LinkEvent::Halted(halt(1))), LinkEvent::Halted(halt(0)));
    assert_eq!((link.state.clone(), link.halts.len()), (LinkState::Halted, 2));
    let link = step(&link, LinkEvent::Pause { reason: "maintenance".into() });
    assert_eq!(link.state, LinkState::Paused { reason: "maintenance".into(), since_ms: 9 });
    let link = step(&link, LinkEvent::Cleared { topic: "views".into(), partition: 1 });
    let link = step(&link, LinkEvent::Resume);
    assert_eq!((link.state.clone(), link.halts[0].partition), (LinkState::Halted, 0));
    let link = step(&link, LinkEvent::Cleared { topic: "views".into(), partition: 0 });
    assert_eq!(link.state, LinkState::Mirroring);
}

#[test]
fn a_link_is_not_cancelled_under_a_group_that_is_away() {
    let link = LinkRecord { state: LinkState::Mirroring, ..LinkRecord::new("views") };
    let away = LinkEvent::Cancel { groups_away: vec!["ranker".into()] };
    assert!(link_transition(&link, &away, 0).unwrap_err().to_string().contains("ranker"));
    let cancel = LinkEvent::Cancel { groups_away: Vec::new() };
    let over = link_transition(&link, &cancel, 0).unwrap();
    assert_eq!(over.state, LinkState::Cancelled);
    assert!(link_transition(&over, &LinkEvent::Started, 0).is_err());
}

#[test]
fn a_refusal_says_where_a_group_or_a_link_stands_in_words() {
    let words: BTreeSet<String> = GroupState::ALL.map(|state| state.to_string()).into();
    assert_eq!(words.len(), GroupState::ALL.len());
    assert!(
        words.iter().all(|word| !word.contains(|c: char| c.is_uppercase() || "_{}".contains(c))),
        "{words:?}"
    );
    let paused = LinkState::Paused { reason: "maintenance".into(), since_ms: 9 };
    assert_eq!(format!("link views is {paused}"), "link views is paused");
    let over = LinkRecord { state: LinkState::Cancelled, ..LinkRecord::new("views") };
    let refused = link_transition(&over, &LinkEvent::Started, 0).unwrap_err().to_string();
    assert_eq!(refused, "link views is cancelled; fix: link the family anew");
    assert_eq!(LinkEvent::Halted(halt(1)).to_string(), "views-1 halted: the topic was created again");
}
