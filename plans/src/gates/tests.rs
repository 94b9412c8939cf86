//! Each gate: what passes, what fails with which fix, what is not known.

use super::*;
use crate::model::{GroupPlan, Plan, TopicSelector};
use crate::transition::Verb;

const NOW_MS: i64 = 1_700_000_000_000;

fn plan() -> Plan {
    let mut plan = Plan::new("views", "legacy", "towpath");
    plan.topics = vec![TopicSelector::Name("views".into())];
    plan.groups = vec![GroupPlan::named("ranker")];
    plan
}

fn now<T>(value: T) -> Option<Observed<T>> {
    Some(Observed { value, at_ms: NOW_MS - 1_000 })
}

fn lag() -> LagObserved {
    LagObserved { topic: "views".into(), partition: 0, lag_ms: 100, lag_messages: 7, halted: None }
}

fn compared() -> DiffObserved {
    DiffObserved {
        topic: "views".into(),
        partition: 0,
        verdict: Verdict::Pass,
        compared_records: 900,
        differences: 0,
        compared_through: 900,
        uncompared_records: 50,
        uncompared_ms: 2_000,
    }
}

/// All is well.
fn well() -> Observations {
    Observations {
        lag: now(vec![lag()]),
        diff: now(vec![compared()]),
        transactions: now(Vec::new()),
        members: now(MembersObserved {
            live: 3,
            held: 3,
            topics: vec!["views".into()],
            unreadable: Vec::new(),
        }),
        mirrored: [("views".to_string(), "views".to_string())].into(),
        permissions: now(vec![permission(true)]),
        clock_skew: now(skew(3)),
        evidence: now(Ok(())),
        way_back: now(WayBackObserved {
            reaches_ms: Some(7 * 86_400_000),
            limited_by: Some("views-0".into()),
        }),
        moved: Default::default(),
    }
}

fn skew(largest_ms: u64) -> ClockSkewObserved {
    ClockSkewObserved { largest_ms, unseen: Vec::new() }
}

fn permission(granted: bool) -> Permission {
    Permission { what: "READ on group ranker".into(), granted, grant: "kafka-acls.sh --add ...".into() }
}

fn judge(verb: Verb, plan: &Plan, seen: &Observations) -> GateReport {
    let group = &plan.groups[0];
    evaluate(&GateContext { plan, group, verb, now_ms: NOW_MS, accept_outage: false }, seen)
}

/// The one gate that stands in the way of a cutover.
fn refusing(plan: &Plan, seen: &Observations) -> Gate {
    let report = judge(Verb::Cutover, plan, seen);
    let refusing = report.refusing();
    assert_eq!(refusing.len(), 1, "{refusing:#?}");
    assert_eq!(report.verdict, refusing[0].verdict);
    assert!(!refusing[0].fix.is_empty() && !refusing[0].reason.is_empty());
    refusing[0].clone()
}

#[test]
fn everything_passes_when_all_is_well() {
    let report = judge(Verb::Cutover, &plan(), &well());
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(report.gates.len(), 12);
    assert!(report.gates.iter().all(|gate| gate.observed.is_some()));
    assert_eq!(report.records().len(), 12);
}

#[test]
fn nothing_observed_is_inconclusive_and_never_a_pass() {
    let report = judge(Verb::Cutover, &plan(), &Observations::default());
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let passed: Vec<GateName> =
        report.gates.iter().filter(|gate| gate.verdict == Verdict::Pass).map(|gate| gate.name).collect();
    assert_eq!(passed, [GateName::After, GateName::Writes]);
    assert_eq!(GateReport::new(Vec::new()).verdict, Verdict::Inconclusive);
}

#[test]
fn an_old_observation_is_inconclusive_and_an_old_failure_stays_one() {
    let mut seen = well();
    seen.clock_skew = Some(Observed { value: skew(3), at_ms: NOW_MS - 30_001 });
    let gate = refusing(&plan(), &seen);
    assert_eq!(
        (gate.name, gate.verdict, gate.age_ms),
        (GateName::ClockSkew, Verdict::Inconclusive, Some(30_001))
    );
    seen.clock_skew = Some(Observed { value: skew(900), at_ms: NOW_MS - 30_001 });
    assert_eq!(refusing(&plan(), &seen).verdict, Verdict::Fail);
    seen.clock_skew = Some(Observed { value: skew(3), at_ms: NOW_MS - 30_000 });
    assert_eq!(judge(Verb::Cutover, &plan(), &seen).verdict, Verdict::Pass);
    seen.clock_skew = Some(Observed { value: skew(3), at_ms: NOW_MS + 501 });
    assert!(refusing(&plan(), &seen).reason.contains("in the future"));
}

#[test]
fn lag_fails_by_time_by_messages_and_by_a_halt() {
    let with = |change: fn(&mut LagObserved)| {
        let mut seen = well();
        let mut other = LagObserved { partition: 1, ..lag() };
        change(&mut other);
        seen.lag = now(vec![lag(), other]);
        let gate = refusing(&plan(), &seen);
        assert_eq!((gate.name, gate.verdict), (GateName::MirrorLag, Verdict::Fail));
        gate
    };
    assert!(with(|lag| lag.lag_ms = 2_001).reason.contains("views-1"));
    with(|lag| lag.lag_messages = 10_001);
    assert!(
        with(|lag| lag.halted = Some("the topic was created again".into())).reason.contains("created again")
    );
    let mut seen = well();
    seen.lag = now(vec![LagObserved { lag_ms: 2_000, lag_messages: 10_000, ..lag() }]);
    assert_eq!(judge(Verb::Cutover, &plan(), &seen).verdict, Verdict::Pass);
    seen.lag = now(Vec::new());
    assert_eq!(refusing(&plan(), &seen).verdict, Verdict::Inconclusive);
}

#[test]
fn the_diff_fails_on_a_difference_and_is_inconclusive_without_a_comparison() {
    let with = |partitions: Vec<DiffObserved>| {
        let mut seen = well();
        seen.diff = now(partitions);
        let report = judge(Verb::Cutover, &plan(), &seen);
        report.gates.into_iter().find(|gate| gate.name == GateName::Diff).unwrap()
    };
    let differs = with(vec![DiffObserved { differences: 1, verdict: Verdict::Fail, ..compared() }]);
    assert_eq!(differs.verdict, Verdict::Fail);
    let nothing = with(vec![DiffObserved { compared_records: 0, ..compared() }]);
    assert!(nothing.verdict == Verdict::Inconclusive && nothing.reason.contains("proves nothing"));
    let half =
        with(vec![compared(), DiffObserved { partition: 1, verdict: Verdict::Inconclusive, ..compared() }]);
    assert_eq!(half.verdict, Verdict::Inconclusive);
    // A topic that the group reads is not in the comparison at all.
    let other = with(vec![DiffObserved { topic: "carts".into(), ..compared() }]);
    assert!(other.verdict == Verdict::Inconclusive && other.reason.contains("views"));
}

#[test]
fn the_uncompared_tail_is_limited_in_records_and_in_time() {
    for (records, ms) in [(100_001, 0), (0, 60_001)] {
        let mut seen = well();
        seen.diff = now(vec![DiffObserved { uncompared_records: records, uncompared_ms: ms, ..compared() }]);
        assert_eq!(refusing(&plan(), &seen).name, GateName::DiffTail);
    }
}

#[test]
fn what_is_behind_only_wants_time_and_a_halt_or_a_difference_does_not() {
    let mut seen = well();
    assert!(!judge(Verb::Cutover, &plan(), &seen).only_wants_time(), "nothing stands in the way");
    seen.lag = now(vec![LagObserved { lag_ms: 2_001, ..lag() }]);
    seen.diff = now(vec![DiffObserved { uncompared_ms: 60_001, ..compared() }]);
    seen.clock_skew = None;
    assert!(judge(Verb::Cutover, &plan(), &seen).only_wants_time());
    let differs = DiffObserved { differences: 1, verdict: Verdict::Fail, ..compared() };
    let different = Observations { diff: now(vec![differs]), ..seen.clone() };
    assert!(!judge(Verb::Cutover, &plan(), &different).only_wants_time());
    seen.lag = now(vec![LagObserved { lag_ms: 2_001, halted: Some("told to".into()), ..lag() }]);
    assert!(!judge(Verb::Cutover, &plan(), &seen).only_wants_time());
}

#[test]
fn a_pending_commit_of_offsets_fails_unless_the_plan_names_its_producer() {
    let open = |topic: &str, open_ms: u64| TransactionObserved {
        topic: topic.into(),
        partition: 4,
        producer_id: 12,
        transactional_id: Some("joiner-0".into()),
        open_ms,
    };
    let mut seen = well();
    seen.transactions = now(vec![open("__consumer_offsets", 5)]);
    assert!(refusing(&plan(), &seen).fix.contains("groups[ranker].transactional_ids"));
    let mut named = plan();
    named.groups[0].transactional_ids = vec!["joiner-0".into()];
    assert_eq!(judge(Verb::Cutover, &named, &seen).verdict, Verdict::Pass);
    seen.transactions = now(vec![open("views", 900_000)]);
    assert_eq!(judge(Verb::Cutover, &plan(), &seen).verdict, Verdict::Pass);
    seen.transactions = now(vec![open("views", 900_001)]);
    assert!(refusing(&plan(), &seen).reason.contains("joiner-0 (producer 12) hangs on views-4"));
}

#[test]
fn a_group_that_reads_what_no_link_mirrors_fails_by_name() {
    let mut seen = well();
    let members = MembersObserved {
        live: 1,
        held: 1,
        topics: vec!["views".into(), "carts".into()],
        unreadable: Vec::new(),
    };
    seen.members = now(members.clone());
    let report = judge(Verb::Cutover, &plan(), &seen);
    let gate = report.gates.iter().find(|gate| gate.name == GateName::Members).unwrap();
    assert!(gate.verdict == Verdict::Fail && gate.reason.contains("no link mirrors carts"));
    let unreadable = vec!["connect-1".to_string()];
    seen.members = now(MembersObserved { topics: vec!["views".into()], unreadable, ..members });
    assert_eq!(refusing(&plan(), &seen).verdict, Verdict::Inconclusive);
}

#[test]
fn a_cutover_without_successors_is_refused_unless_the_outage_is_accepted() {
    let mut seen = well();
    seen.members =
        now(MembersObserved { live: 3, held: 2, topics: vec!["views".into()], unreadable: Vec::new() });
    let gate = refusing(&plan(), &seen);
    assert!(gate.name == GateName::MembersReady && gate.fix.contains("--accept-outage"));
    let plan = plan();
    let context = GateContext {
        plan: &plan,
        group: &plan.groups[0],
        verb: Verb::Cutover,
        now_ms: NOW_MS,
        accept_outage: true,
    };
    let report = evaluate(&context, &seen);
    assert_eq!(report.verdict, Verdict::Pass);
    let gate = report.gates.iter().find(|gate| gate.name == GateName::MembersReady).unwrap();
    assert!(gate.accepted && gate.verdict == Verdict::Fail, "the verdict is kept");
}

#[test]
fn permissions_evidence_skew_and_way_back_each_refuse_with_their_fix() {
    let mut seen = well();
    seen.permissions = now(vec![permission(true), permission(false)]);
    assert_eq!(refusing(&plan(), &seen).fix, "kafka-acls.sh --add ...");
    let mut seen = well();
    seen.evidence = now(Err("503 slow down".into()));
    assert_eq!(refusing(&plan(), &seen).reason, "503 slow down");
    let mut seen = well();
    seen.clock_skew = now(skew(501));
    assert_eq!(refusing(&plan(), &seen).name, GateName::ClockSkew);
    let unseen = vec!["source".to_string()];
    seen.clock_skew = now(ClockSkewObserved { largest_ms: 3, unseen: unseen.clone() });
    let report = judge(Verb::Cutover, &plan(), &seen);
    let gate = report.gates.iter().find(|gate| gate.name == GateName::ClockSkew).unwrap();
    assert_eq!(
        (gate.verdict, gate.observed.as_deref()),
        (Verdict::Pass, Some("3 ms; not to be seen: source")),
        "a cluster that shows its clock to nobody keeps nobody from moving"
    );
    assert!(gate.reason.contains("that of the source is not known"), "{}", gate.reason);
    seen.clock_skew = now(ClockSkewObserved { largest_ms: 501, unseen });
    assert_eq!(refusing(&plan(), &seen).name, GateName::ClockSkew);
    let mut seen = well();
    seen.way_back = now(WayBackObserved { reaches_ms: Some(3_600_000), limited_by: Some("views-2".into()) });
    assert_eq!(refusing(&plan(), &seen).observed.unwrap(), "1 h 0 min, limited by views-2");
    seen.way_back = now(WayBackObserved { reaches_ms: None, limited_by: None });
    assert_eq!(judge(Verb::Cutover, &plan(), &seen).verdict, Verdict::Pass);
}

#[test]
fn order_and_writing_groups_are_refused_by_name() {
    let mut plan = plan();
    plan.groups[0].after = vec!["archive".into()];
    let mut seen = well();
    assert!(refusing(&plan, &seen).fix.contains("cut archive over first"));
    seen.moved.insert("archive".into(), true);
    assert_eq!(judge(Verb::Cutover, &plan, &seen).verdict, Verdict::Pass);
    plan.groups[0].writes = vec!["alerts".into()];
    assert_eq!(judge(Verb::Cutover, &plan, &seen).verdict, Verdict::Pass);
    plan.groups[0].writes = vec!["views".into()];
    assert_eq!(refusing(&plan, &seen).name, GateName::Writes);
}

#[test]
fn a_rollback_asks_for_nothing_but_what_its_steps_need() {
    let mut seen = well();
    seen.members = now(MembersObserved { live: 3, held: 0, topics: Vec::new(), unreadable: Vec::new() });
    seen.diff = now(vec![DiffObserved { differences: 9, verdict: Verdict::Fail, ..compared() }]);
    seen.lag = None;
    seen.way_back = None;
    let report = judge(Verb::Rollback, &plan(), &seen);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    seen.permissions = now(vec![permission(false)]);
    assert_eq!(judge(Verb::Rollback, &plan(), &seen).verdict, Verdict::Fail);
}

#[test]
fn what_another_familys_link_carries_is_mended_there() {
    let mut plan = plan();
    plan.uses = vec!["prices".into()];
    let mut seen = well();
    seen.members.as_mut().unwrap().value.topics.push("prices".into());
    seen.mirrored.insert("prices".into(), "pricing".into());
    let mut prices = DiffObserved { topic: "prices".into(), ..compared() };
    seen.diff.as_mut().unwrap().value.push(prices.clone());
    seen.lag.as_mut().unwrap().value.push(LagObserved { topic: "prices".into(), ..lag() });
    assert_eq!(judge(Verb::Cutover, &plan, &seen).verdict, Verdict::Pass);

    seen.diff.as_mut().unwrap().value.pop();
    assert_eq!(refusing(&plan, &seen).fix, "run `towpath diff pricing` and wait for its verdict");
    prices.differences = 1;
    seen.diff.as_mut().unwrap().value.push(prices);
    assert!(refusing(&plan, &seen).fix.contains("`towpath diff pricing`"));
    seen.diff = well().diff;
    seen.members = well().members;
    seen.lag.as_mut().unwrap().value[1].halted = Some("re-created".into());
    assert!(refusing(&plan, &seen).fix.contains("`towpath resume pricing`"));
}
