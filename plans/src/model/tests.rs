//! Plans that are accepted, and plans that are refused with the place and the fix.

use super::*;

const EXAMPLES: [(&str, &str); 4] = [
    ("inventory.yaml", include_str!("../../examples/inventory.yaml")),
    ("orders.yaml", include_str!("../../examples/orders.yaml")),
    ("pricing.yaml", include_str!("../../examples/pricing.yaml")),
    ("product-views.yaml", include_str!("../../examples/product-views.yaml")),
];

fn read(yaml: &str) -> PlanFile {
    PlanFile::read("plan.yaml", yaml).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems of a plan, as a person sees them.
fn refused(yaml: &str) -> Vec<String> {
    let error = Plan::from_yaml("plan.yaml", yaml).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

fn with(more: &str) -> String {
    format!("family: views\nsource: legacy\ntarget: towpath\ntopics: [views]\n{more}")
}

#[test]
fn every_example_is_a_plan_and_together_they_are_an_estate() {
    let plans: Vec<PlanFile> =
        EXAMPLES.iter().map(|(file, text)| PlanFile::read(file, text).unwrap()).collect();
    let topics = ["orders", "order-feedback.clicks", "prices"].map(String::from);
    check_estate(&plans, &topics).unwrap();
    let orders = &plans[1].plan;
    assert!(orders.mirrors("order-feedback.clicks") && !orders.mirrors("order-feedback"));
    let group = orders.group("popularity-counter").unwrap();
    assert_eq!((group.fence, group.pause_max_ms, group.overlap_wait_ms), (FenceMode::Evict, 5_000, 2_000));
    assert_eq!(group.after, ["order-archive"]);
    assert_eq!(orders.gates.way_back_ms_min, 3 * 86_400_000);
    assert_eq!(plans[0].plan.link.bandwidth_bytes_per_s_max, 20_000_000);
}

#[test]
fn the_shortest_plan_has_every_default_and_each_says_why() {
    let plan = read(EXAMPLES[3].1).plan;
    assert_eq!(plan.groups, [GroupPlan::named("session-ranker")]);
    assert_eq!(plan.gates, Gates::default());
    let settings = plan.explain();
    assert!(
        settings.iter().all(|setting| setting.from == SettingSource::Default && !setting.reason.is_empty())
    );
    let text: Vec<String> =
        settings.iter().map(|s| format!("{} = {:?} # {}", s.path, s.value, s.reason)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn explain_names_every_field_of_the_file() {
    let plan = read(EXAMPLES[1].1).plan;
    let mut settings: Vec<String> = plan.explain().into_iter().map(|setting| setting.path).collect();
    settings.retain(|path| !path.contains("order-archive") && !path.contains("label-joiner"));
    // Fields of a group, gate and option are as many as the canonical form has.
    let json: serde_json::Value = serde_json::from_str(&plan.canonical()).unwrap();
    let fields = |value: &serde_json::Value| value.as_object().unwrap().len();
    let options: usize = ["gates", "link", "diff", "evidence"].iter().map(|name| fields(&json[name])).sum();
    let of_group = fields(&json["groups"][0]) - 1; // the name is no setting
    assert_eq!(settings.len(), options + of_group + 1 /* uses */, "{settings:?}");
    let changed = plan.explain().into_iter().find(|setting| setting.path == "gates.lag_max").unwrap();
    assert_eq!((changed.value.as_str(), changed.from), ("1s", SettingSource::Plan));
}

#[test]
fn a_hash_stands_for_what_a_plan_says_not_for_how() {
    let one = read(&with("groups: [ranker]")).plan;
    let same = read(
        "# another order, defaults spelled out\ngates: { lag_max: 2000ms }\ntopics:\n  - \"views\"\n\
         groups:\n  - { fence: wait, name: ranker }\ntarget: towpath\nsource: legacy\nfamily: views\n",
    )
    .plan;
    assert_eq!(one.hash(), same.hash());
    assert_eq!(one.hash().to_string().parse::<PlanHash>().unwrap(), one.hash());
    assert_ne!(one.hash(), read(&with("groups: [rankers]")).plan.hash());
    let again: Plan = serde_json::from_str(&one.canonical()).unwrap();
    assert_eq!(again, one);
}

#[test]
fn an_unknown_field_is_refused_with_its_place_and_the_nearest_name() {
    let found = refused(&with("groups:\n  - { name: ranker, fense: evict }\ngate:\n  lag_max: 1s\n"));
    assert_eq!(
        found,
        [
            "plan.yaml:6:21: unknown field \"groups[0].fense\"; fix: did you mean \"fence\"?",
            "plan.yaml:7:1: unknown field \"gate\"; fix: did you mean \"gates\"?",
        ]
    );
    let found = refused(&with("zebra: 1"));
    assert!(found[0].contains("known here: family, source"), "{found:?}");
}

#[test]
fn each_wrong_value_is_refused_with_its_place_and_a_fix() {
    let cases = [
        (
            "groups: [{ name: a, pause_max: 5 }]",
            "plan.yaml:5:32: groups[0].pause_max: \"5\" is not a duration",
        ),
        (
            "groups: [{ name: a, fence: evit }]",
            "plan.yaml:5:28: groups[0].fence is \"evit\", expected one of wait, evict; fix: write \"evict\"",
        ),
        ("groups: [7]", "plan.yaml:5:10: groups[0] is a number, expected text; fix: put groups[0] in quotes"),
        ("groups: ranker", "plan.yaml:5:9: groups is text, expected a list"),
        (
            "gates: { members_ready: 3 }",
            "plan.yaml:5:25: gates.members_ready is a number, expected true or false",
        ),
        (
            "gates: { lag_messages_max: -1 }",
            "plan.yaml:5:28: gates.lag_messages_max is a number, expected a whole number",
        ),
        ("link: { bandwidth_max: 0 }", "plan.yaml:5:24: bandwidth_max is zero"),
        ("link: { sync_interval: 0s }", "plan.yaml:5:24: sync_interval is zero"),
        (
            "evidence: { contents: always }",
            "plan.yaml:5:23: evidence.contents is \"always\", expected one of never, samples",
        ),
        ("groups: [{ fence: wait }]", "plan.yaml:5:10: groups[0].name is missing"),
        (
            "groups: [{ name: a, overlap_wait: 9s }]",
            "plan.yaml:5:35: groups[0]: overlap_wait leaves no time within pause_max",
        ),
        ("uses: [views]", "plan.yaml:5:8: views is under uses and under topics"),
        ("uses: [__consumer_offsets]", "plan.yaml:5:8: \"__consumer_offsets\" is an internal topic"),
        (
            "groups: [a, b, a]",
            "plan.yaml:5:16: group a is listed twice, first in line 5; fix: delete one of the two",
        ),
        ("groups: [{ name: a, after: a }]", "group a comes after itself"),
        (
            "groups: [{ name: a, after: b }, { name: b, after: [a] }]",
            "groups wait for each other: a after b after a",
        ),
    ];
    for (more, expected) in cases {
        let found = refused(&with(more));
        assert_eq!(found.len(), 1, "{more}: {found:?}");
        assert!(
            found[0].contains(expected) && found[0].contains("; fix: "),
            "{more}\n{}\n{expected}",
            found[0]
        );
    }
}

#[test]
fn topics_are_names_or_patterns() {
    let topics = |list: &str| refused(&format!("family: f\nsource: a\ntarget: b\ntopics: {list}\n"));
    assert!(topics("[\"views.*\"]")[0].contains("write { pattern: \"views.*\" }"));
    assert!(topics("[{ pattern: \"views[\" }]")[0].starts_with("plan.yaml:4:21: topics[0].pattern: "));
    assert!(topics("[{ pattern: \"a)|(b\" }]")[0].contains("topics[0].pattern"));
    assert!(
        topics("[views, { pattern: \"v.*\" }]")[0].contains("views is selected by pattern \"v.*\" as well")
    );
    assert!(topics("[views, views]")[0].contains("listed twice"));
    assert!(topics("[]")[0].contains("names no topic"));
    let pattern = TopicPattern::new(".*").unwrap();
    assert!(pattern.matches("views") && !pattern.matches("__consumer_offsets"));
}

#[test]
fn what_is_missing_or_no_yaml_is_refused_with_its_place() {
    let found = refused("family: views\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("plan.yaml:1:1: source is missing; fix: add `source:`"), "{found:?}");
    assert!(refused("family: [views\n")[0].starts_with("plan.yaml:"));
    assert!(refused("- a\n")[0].contains("the plan is a list, expected a mapping"));
    assert!(!refused("").is_empty());
    let twice = refused("family: a\nfamily: b\n");
    assert!(twice[0].starts_with("plan.yaml:2:1: ") && twice[0].contains("family"), "{twice:?}");
    assert!(refused("family: \"a/b\"\nsource: x\ntarget: x\ntopics: [t]\n").len() == 2);
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let found = refused("familly: views\nsource: a\ntarget: a\ntopics: [t]\ngates: { lag_max: soon }\n");
    let lines: Vec<&str> = found.iter().map(|problem| problem.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["1", "1", "3", "5"], "{found:#?}");
}

#[test]
fn two_plans_do_not_share_a_topic_or_a_group() {
    let plan = |file: &str, family: &str, more: &str| {
        PlanFile::read(file, &format!("family: {family}\nsource: legacy\ntarget: towpath\n{more}")).unwrap()
    };
    let check = |plans: &[PlanFile], topics: &[String]| -> Vec<String> {
        let error = check_estate(plans, topics).unwrap_err();
        error.problems.iter().map(ToString::to_string).collect()
    };
    let one = plan("one.yaml", "one", "topics: [views, carts]\ngroups: [ranker]\n");
    let two = plan("two.yaml", "two", "topics: [carts]\ngroups: [ranker]\n");
    assert_eq!(
        check(&[one.clone(), two], &[]),
        [
            "two.yaml:5:10: group ranker belongs to one.yaml already; fix: leave the group in one of the two plans",
            "two.yaml:4:10: topic carts is mirrored by one.yaml already; fix: put carts under `uses:` here, its \
             link carries it for both",
        ]
    );
    // Two patterns meet only in topics that exist.
    let a = plan("a.yaml", "a", "topics: [{ pattern: \"x.*\" }]\n");
    let b = plan("b.yaml", "b", "topics: [{ pattern: \".*y\" }]\n");
    check_estate(&[a.clone(), b.clone()], &["x1".into(), "1y".into()]).unwrap();
    assert!(check(&[a, b], &["x-y".into()])[0].starts_with("b.yaml:4:10: topic x-y is mirrored by a.yaml"));

    let uses = plan("u.yaml", "u", "topics: [t]\nuses: [nobody]\n");
    assert!(check(&[uses], &[])[0].contains("no other plan mirrors it"));
    // A link to another target brings it nowhere near the group.
    let elsewhere = "family: u\nsource: legacy\ntarget: other\ntopics: [t]\nuses: [views]\n";
    let elsewhere = PlanFile::read("u.yaml", elsewhere).unwrap();
    let told = check(&[one.clone(), elsewhere], &[]);
    assert!(
        told[0].contains("views is under uses, but no other plan mirrors it from legacy to other"),
        "{told:?}"
    );
    let away = plan("w.yaml", "w", "topics: [w]\ngroups: [{ name: g, after: h }]\n");
    assert!(
        check(std::slice::from_ref(&away), &[])[0]
            .starts_with("w.yaml:5:28: group g comes after h, which no plan")
    );
    let back = plan("v.yaml", "v", "topics: [v]\ngroups: [{ name: h, after: g }]\n");
    assert!(check(&[away, back], &[])[0].contains("groups wait for each other"));
    assert!(check(&[one.clone(), one], &[])[0].contains("family one is planned in one.yaml already"));
}

#[test]
fn groups_move_in_an_order_that_honours_after() {
    let plan = read(&with("groups: [{ name: c, after: [b, elsewhere] }, a, { name: b, after: a }]")).plan;
    let order: Vec<&str> = plan.move_order().iter().map(|group| group.name.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn a_problem_that_only_a_cluster_can_show_has_a_place_too() {
    let file = read(&with("groups:\n  - ranker\n"));
    let problem = file.problem_at("topics[views]", "topic views does not exist on legacy", "mend the name");
    assert_eq!(
        problem.to_string(),
        "plan.yaml:4:10: topic views does not exist on legacy; fix: mend the name"
    );
    assert_eq!(file.problem_at("groups[ranker]", "m", "f").line, 6);
}

#[test]
fn the_canonical_form_does_not_change_unseen() {
    // Journals and evidence name plans by this hash: a change here needs a new derivation context.
    let plan = read(EXAMPLES[3].1).plan;
    insta::assert_snapshot!(format!("{}\n{}", plan.canonical(), plan.hash()));
}
