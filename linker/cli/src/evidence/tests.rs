//! What verification says of a bundle, and what the report tells from its entries.

use towpath_plans::PlanHash;
use towpath_plans::Side;
use towpath_plans::diff::DifferenceCounts;
use towpath_plans::evidence::{
    Actor, Body, Chain, ClusterIdentity, DifferenceSample, GateRecord, Line, MemberTrace, PartitionCompared,
    PauseKind, PublicKey, RangeCompared, Signer, Translation, export, verify,
};
use towpath_plans::gates::Verdict;
use towpath_plans::transition::{GroupState, LinkState, Origin, Verb};

use super::report;

const BEGAN_MS: i64 = 1_795_438_897_123;

/// Writes a chain by hand; each entry is 1.3 s after the one before unless told otherwise.
struct Pen {
    chain: Chain,
    key: Signer,
    lines: Vec<Line>,
    at_ms: i64,
}

impl Pen {
    fn new() -> Pen {
        let cluster =
            |side, name: &str, id: &str| ClusterIdentity { side, name: name.into(), cluster_id: id.into() };
        let key = Signer::from_seed([7; 32]);
        let mut chain = Chain::new("product-views", "towpath 0.1.0");
        let clusters = vec![
            cluster(Side::Source, "legacy", "rJ0eN8sTQm2cHk1vXw3yZA"),
            cluster(Side::Target, "towpath", "3f0c2e6a-7d41-4b19-9f57-0d8b8a5c1e22"),
        ];
        let lines = vec![chain.open(BEGAN_MS, &key, clusters)];
        Pen { chain, key, lines, at_ms: BEGAN_MS }
    }

    fn after(&mut self, ms: i64, body: Body) -> &mut Pen {
        self.at_ms += ms;
        let actor = matches!(body, Body::Requested { .. }).then(|| Actor {
            name: "mara".into(),
            authenticated: true,
            role: "operator".into(),
        });
        self.lines.push(self.chain.append(self.at_ms, actor, body));
        self
    }

    fn bundle(&mut self) -> String {
        self.lines.push(self.chain.checkpoint(self.at_ms + 20, &self.key));
        export("product-views", "towpath 0.1.0", self.at_ms + 60_000, &self.lines, Some(&self.key))
    }

    fn changed(&mut self, ms: i64, (attempt, verb): (u64, Verb), to: GroupState, because: &str) -> &mut Pen {
        let body = Body::GroupChanged {
            group: "session-ranker".into(),
            attempt,
            verb: Some(verb),
            from: to,
            to,
            because: because.into(),
            at_ms: self.at_ms + ms,
        };
        self.after(ms, body)
    }

    fn linked(&mut self) -> &mut Pen {
        let plan_hash = PlanHash([0x3c; 32]);
        self.after(40, Body::PlanAdopted { plan_hash, plan: "{}".into() });
        self.after(
            300,
            Body::TopicLinked {
                topic: "product-views".into(),
                source_topic_id: "8f14e45f-ceea-467f-a8d1-2f3b1a0c9d55".into(),
                target_topic_id: "c9f0f895-fb98-4b91-99f5-1fd0297e236d".into(),
                partitions: 6,
                config_differences: vec![
                    "min.insync.replicas: 2 on the source, 1 on the target: durability is the store's".into(),
                ],
            },
        );
        self.after(
            80,
            Body::LinkChanged { from: LinkState::Created, to: LinkState::Mirroring, reason: String::new() },
        )
    }

    fn compared(
        &mut self,
        ms: i64,
        verdict: Verdict,
        counts: DifferenceCounts,
        samples: Vec<DifferenceSample>,
    ) -> &mut Pen {
        self.at_ms += ms;
        let at_ms = self.at_ms;
        let partitions: Vec<_> = (0..6)
            .map(|partition| {
                let through = 201_334 + i64::from(partition) * 977;
                let (topic, records) = ("product-views".to_owned(), through as u64 - 12);
                PartitionCompared { topic, partition, from: 12, through, records, at_ms }
            })
            .collect();
        let ranges = partitions
            .iter()
            .map(|p| RangeCompared {
                topic: p.topic.clone(),
                partition: p.partition,
                from: p.from,
                to: p.through,
                source_records: p.records,
                target_records: p.records,
                source_digest: "5d41402a".into(),
                target_digest: if p.partition == 3 && !samples.is_empty() { "ffff" } else { "5d41402a" }
                    .into(),
            })
            .collect();
        self.after(0, Body::RangesCompared { ranges });
        self.after(5, Body::DiffVerdict { verdict, partitions, counts, samples })
    }

    fn requested(&mut self, ms: i64, verb: &str, reason: &str, dry_run: bool) -> &mut Pen {
        let (group, reason) = (Some("session-ranker".into()), reason.into());
        let plan_hash = Some(PlanHash([0x3c; 32]));
        self.after(
            ms,
            Body::Requested { verb: verb.into(), group, dry_run, reason, plan_hash, accepted: Vec::new() },
        )
    }

    fn gates(&mut self, verb: Verb, lag: Verdict) -> &mut Pen {
        let gate = |gate: &str, limit: &str, observed: &str, verdict, reason: &str| GateRecord {
            gate: gate.into(),
            limit: limit.into(),
            observed: Some(observed.into()),
            age_ms: Some(640),
            verdict,
            accepted: false,
            reason: reason.into(),
        };
        let gates = vec![
            gate("mirror-lag", "at most 2s", "84ms", lag, "product-views-3 is the slowest"),
            gate(
                "diff",
                "pass, at most 100000 records behind",
                "pass, 12 records behind",
                Verdict::Pass,
                "all partitions compared through",
            ),
            gate(
                "members-ready",
                "3 held at the target",
                "3 held",
                Verdict::Pass,
                "as many as live on the source",
            ),
            gate("way-back", "at least 1d", "6d 4h", Verdict::Pass, "limited by product-views-2"),
        ];
        let group = "session-ranker".into();
        self.after(35, Body::GatesEvaluated { group, verb, verdict: lag, gates })
    }

    fn cutover(&mut self, attempt: u64) -> &mut Pen {
        let verb = (attempt, Verb::Cutover);
        self.requested(60_000, "cutover", "rehearsed on Tuesday, window agreed with ranking", false);
        self.changed(12, verb, GroupState::Preflight, "");
        self.gates(Verb::Cutover, Verdict::Pass);
        self.changed(8, verb, GroupState::Fencing, "all gates pass");
        let member = |client: &str| MemberTrace {
            client_id: client.into(),
            host: "host:9f2b6a0d7c31e58844b6f1d2a7c09e13".into(),
            instance_id: None,
        };
        self.after(
            14,
            Body::Fenced {
                group: "session-ranker".into(),
                attempt,
                member_id: "towpath-fence-product-views-0b7c".into(),
                generation: 43,
                evicted: vec![member("ranker-0"), member("ranker-1"), member("ranker-2")],
            },
        );
        self.changed(3, verb, GroupState::Draining, "the fence stands since generation 43");
        self.changed(
            96,
            verb,
            GroupState::FinalOffsets,
            "the mirror has reached the high watermark of the fence",
        );
        self.changed(41, verb, GroupState::Recorded, "6 final offsets");
        self.finals(attempt, Verb::Cutover);
        self.changed(22, verb, GroupState::Verifying, "the coordinator has switched");
        let (group, verdict) = ("session-ranker".to_owned(), Vec::new());
        self.after(310, Body::Resumed { group: group.clone(), attempt, side: Side::Target, alarms: verdict });
        for (kind, pause_ms) in [(PauseKind::Delivered, 412), (PauseKind::Possible, 176)] {
            let group = group.clone();
            self.after(
                1,
                Body::PauseMeasured { group, attempt, verb: Verb::Cutover, kind, pause_ms, limit_ms: 5_000 },
            );
        }
        self.changed(9, verb, GroupState::OnTarget, "verified")
    }

    fn finals(&mut self, attempt: u64, verb: Verb) {
        let translations = (0..6)
            .map(|partition| Translation {
                topic: "product-views".into(),
                partition,
                source_offset: 201_334 + i64::from(partition) * 977,
                target_offset: 201_334 + i64::from(partition) * 977,
                origin: if partition == 5 { Origin::Earliest } else { Origin::Committed },
            })
            .collect();
        self.after(1, Body::FinalOffsets { group: "session-ranker".into(), attempt, verb, translations });
    }
}

fn good() -> String {
    let mut pen = Pen::new();
    pen.linked().compared(41_000, Verdict::Pass, DifferenceCounts::default(), Vec::new());
    pen.requested(4_000, "cutover", "", true).gates(Verb::Cutover, Verdict::Pass);
    pen.cutover(1);
    pen.bundle()
}

fn bad() -> String {
    let mut pen = Pen::new();
    let sample = |offset: i64, sentence: &str| DifferenceSample {
        topic: "product-views".into(),
        partition: 3,
        offset,
        sentence: sentence.into(),
        key: Some("key:0c1d2e3f405162738495a6b7c8d9eaf0".into()),
        contents: None,
    };
    let samples = vec![
        sample(7_012, "offset 7012 is missing on the target"),
        sample(7_345, "offset 7345 is altered: value from byte 118"),
    ];
    let counts = DifferenceCounts { missing: 1, altered: 1, ..DifferenceCounts::default() };
    pen.linked().cutover(1);
    pen.compared(41_000, Verdict::Fail, counts, samples);
    let group = || "session-ranker".to_owned();
    pen.after(
        2_000,
        Body::FenceLapsed {
            group: group(),
            from_ms: BEGAN_MS,
            to_ms: BEGAN_MS + 187_000,
            moved: true,
            repeated_max: 1_240,
        },
    );
    pen.after(
        900,
        Body::Straggler {
            group: group(),
            topic: "product-views".into(),
            partition: 2,
            expected: 203_288,
            seen: 203_301,
            members: vec![MemberTrace {
                client_id: "ranker-old".into(),
                host: "host:77aa".into(),
                instance_id: None,
            }],
        },
    );
    pen.requested(5_000, "rollback", "<script>alert(1)</script> & friends", false);
    pen.changed(10, (2, Verb::Rollback), GroupState::Preflight, "");
    pen.gates(Verb::Rollback, Verdict::Fail);
    pen.changed(20, (2, Verb::Rollback), GroupState::OnTarget, "gate mirror-lag failed");
    pen.bundle()
}

fn page(bundle: &str, trust: Option<PublicKey>) -> String {
    report(bundle, &verify(bundle, trust).unwrap())
}

/// The text of the page's element that begins with `from`, up to `to`.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).unwrap().1.split_once(to).unwrap().0
}

#[test]
fn a_family_in_order_is_told_so_first() {
    let page = page(&good(), Some(Signer::from_seed([7; 32]).public()));
    let verdict = between(&page, "<section class=\"verdict ", "</section>");
    assert!(verdict.starts_with("good\""), "{verdict}");
    assert!(
        verdict
            .contains("Both sides held the same records, and every group stands at its exact next record.")
    );
    assert!(!page.contains("Out of order</h2>") && page.contains("verified: every entry is signed"));
    assert!(page.contains("<div class=\"value\">1,222,587</div>"), "records compared");
    // The dry run is no move, and the move has its pause, positions and actor.
    assert!(page.contains("gates would pass") && page.contains("<b>412 ms</b>"));
    assert!(page.contains("206,219") && page.contains("never committed; the plan says earliest"));
    assert!(page.contains("Asked by mara (operator): <q>rehearsed on Tuesday"));
}

#[test]
fn what_was_out_of_order_is_told_first_and_in_red() {
    let page = page(&bad(), None);
    let verdict = between(&page, "<section class=\"verdict ", "</section>");
    assert!(verdict.starts_with("bad\"") && verdict.contains("The two sides differ: 2 differences."));
    assert!(verdict.contains("signer unknown"), "{verdict}");
    let alarms = between(&page, "Out of order</h2>", "<h2>");
    assert_eq!(alarms.matches("alarm bad").count(), 2, "{alarms}");
    assert!(alarms.contains("somebody committed meanwhile, at most 1,240 records delivered twice"));
    assert!(alarms.contains("product-views-2 stands at 203301 and not 203288, by ranker-old"));
    assert!(page.contains("offset 7345 is altered: value from byte 118"));
    assert!(page.contains("refused, nothing changed") && page.contains("Stays on the target"));
}

#[test]
fn a_family_that_was_not_compared_is_not_called_the_same() {
    let mut pen = Pen::new();
    let page = page(&pen.linked().cutover(1).bundle(), None);
    let verdict = between(&page, "<section class=\"verdict ", "</section>");
    assert!(verdict.starts_with("caution\"") && verdict.contains("Nothing was compared yet."), "{verdict}");
}

#[test]
fn a_move_that_nobody_was_seen_to_resume_from_is_not_called_exact() {
    let mut pen = Pen::new();
    pen.linked().compared(9, Verdict::Pass, DifferenceCounts::default(), Vec::new());
    pen.changed(1, (1, Verb::Cutover), GroupState::Preflight, "");
    let bundle = pen.changed(1, (1, Verb::Cutover), GroupState::OnTarget, "").bundle();
    let page = page(&bundle, None);
    assert!(page.contains("Both sides held the same records.</strong>"), "{page}");
}

#[test]
fn a_later_verdict_on_one_topic_does_not_hide_what_another_differs_in() {
    let mut pen = Pen::new();
    let counts = DifferenceCounts { missing: 3, ..DifferenceCounts::default() };
    let partition = |topic: &str| PartitionCompared {
        topic: topic.into(),
        partition: 0,
        from: 0,
        through: 9,
        records: 9,
        at_ms: BEGAN_MS,
    };
    let word = |topics: &[&str], verdict, counts| Body::DiffVerdict {
        verdict,
        partitions: topics.iter().map(|topic| partition(topic)).collect(),
        counts,
        samples: Vec::new(),
    };
    pen.after(1, word(&["views", "carts"], Verdict::Fail, counts));
    pen.after(1, word(&["views"], Verdict::Pass, DifferenceCounts::default()));
    assert!(page(&pen.bundle(), None).contains("The two sides differ: 3 differences."));
    let mut pen = Pen::new();
    pen.after(1, word(&["views"], Verdict::Fail, counts));
    pen.after(1, word(&["views", "carts"], Verdict::Pass, DifferenceCounts::default()));
    assert!(page(&pen.bundle(), None).contains("Both sides held the same records."));
}

#[test]
fn what_people_wrote_stays_text_and_the_page_asks_for_nothing_from_elsewhere() {
    let page = page(&bad(), None);
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62; &#38; friends"));
    for outside in ["<script", "src=", "href=", "url(", "@import", "http"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_a_person_accepted_stands_with_who_asked() {
    let mut pen = Pen::new();
    let accepted = vec!["nothing durable stops them at the source (--accept-no-stop)".to_owned()];
    let (verb, group, reason) = ("complete".into(), Some("session-ranker".into()), String::new());
    let body = Body::Requested { verb, group, dry_run: false, reason, plan_hash: None, accepted };
    let told =
        "complete session-ranker, accepting nothing durable stops them at the source (--accept-no-stop)";
    assert_eq!(super::sentence::of(&body), format!("asked for: {told}"));
    pen.after(1, body);
    assert!(page(&pen.bundle(), None).contains(told));
}

#[test]
fn every_kind_of_entry_has_a_sentence_of_its_own() {
    let key = Signer::from_seed([1; 32]).public();
    let more = [
        Body::KeyReplaced { key, reason: "lost".into() },
        Body::SecretDestroyed { secret: "ab".into(), reason: "asked".into() },
        Body::HeadPublished { to: "file".into(), sequence: 3, head: "00".into() },
        Body::Lost { topic: "t".into(), partition: 0, from: 1, to: 4, reason: "expired".into() },
        Body::FenceReleased { group: "g".into(), reason: String::new() },
        Body::Completed { group: "g".into(), stop: "a deny ACL".into() },
        Body::ClustersSeen { clusters: Vec::new() },
        Body::PartitionHalted { topic: "t".into(), partition: 0, reason: "r".into(), fix: "f".into() },
    ];
    let bundles = [good(), bad()];
    let lines = bundles.iter().flat_map(|bundle| bundle.lines().skip(1));
    let bodies = lines.map(|line| Line::parse(line).unwrap().entry().unwrap().body).chain(more);
    for body in bodies {
        let sentence = super::sentence::of(&body);
        assert!(sentence.contains(' '), "{body:?}: {sentence}");
    }
}

#[test]
fn a_bundle_that_holds_says_so_and_who_signed_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("views.evidence");
    std::fs::write(&file, good()).unwrap();
    let key = folder.path().join("key.pub.pem");
    std::fs::write(&key, Signer::from_seed([7; 32]).public().to_pem().unwrap()).unwrap();
    let unknown = verified(&file, None);
    assert_eq!((unknown.exit_code, &unknown.document["verdict"]), (0, &"consistent_signer_unknown".into()));
    assert!(unknown.text.starts_with("consistent, signer unknown: 23 entries of family product-views"));
    assert!(unknown.text.contains("--trust KEYFILE"), "{}", unknown.text);
    let trusted = verified(&file, Some(&key));
    assert_eq!((trusted.exit_code, &trusted.document["verdict"]), (0, &"verified".into()));
    std::fs::write(&key, Signer::from_seed([8; 32]).public().to_pem().unwrap()).unwrap();
    let refused = verified(&file, Some(&key));
    assert_eq!((refused.exit_code, &refused.document["holds"]), (1, &false.into()));
}

#[test]
fn a_bundle_that_does_not_hold_names_its_first_bad_entry_and_gets_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("views.evidence");
    let altered = good().replacen("\"records\":201322", "\"records\":201323", 1);
    std::fs::write(&file, altered).unwrap();
    let told = verified(&file, None);
    assert_eq!((told.exit_code, &told.document["first_bad_entry"]), (1, &5.into()));
    assert!(told.text.contains("broken at entry 5") && told.text.contains("Entries 0 to 4 hold."));
    let output = folder.path().join("report.html");
    assert_eq!(reported(&file, &output).exit_code, 1);
    assert!(!output.exists());
    std::fs::write(&file, good()).unwrap();
    assert_eq!(reported(&file, &output).exit_code, 0);
    assert!(std::fs::read_to_string(&output).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn a_pinned_key_that_vouches_for_a_part_only_is_no_verification() {
    let (lost, new) = (Signer::from_seed([7; 32]), Signer::from_seed([8; 32]));
    let mut pen = Pen::new();
    pen.lines.push(pen.chain.checkpoint(BEGAN_MS, &lost));
    pen.lines.push(pen.chain.replace_key(BEGAN_MS, &new, "the folder is gone"));
    pen.key = new;
    let bundle = pen.linked().bundle();
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("views.evidence"), folder.path().join("key"));
    std::fs::write(&file, &bundle).unwrap();
    std::fs::write(&key, lost.public().to_string()).unwrap();
    let told = verified(&file, Some(&key));
    assert_eq!((told.exit_code, &told.document["first_bad_entry"]), (1, &1.into()));
    assert!(told.text.contains("at entry 2 another key took over"), "{}", told.text);
    let page = page(&bundle, Some(lost.public()));
    assert!(page.contains("the pinned key vouches for the first 1 of"), "{page}");
}

fn verified(file: &std::path::Path, trust: Option<&std::path::Path>) -> crate::told::Told {
    let mut words = vec!["verify", file.to_str().unwrap()];
    words.extend(trust.iter().flat_map(|key| ["--trust", key.to_str().unwrap()]));
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        arguments: super::verify::Arguments,
    }
    super::verify::run(&<Words as clap::Parser>::try_parse_from(words).unwrap().arguments).unwrap()
}

fn reported(file: &std::path::Path, output: &std::path::Path) -> crate::told::Told {
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        arguments: super::verify::ReportArguments,
    }
    let words = ["report", file.to_str().unwrap(), "--output", output.to_str().unwrap()];
    super::verify::report(&<Words as clap::Parser>::try_parse_from(words).unwrap().arguments).unwrap()
}
