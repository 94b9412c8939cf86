//! The diff of a running link: rounds, verdicts in evidence, tails of moves, and going on after a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use rdkafka::producer::Producer as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_linker::config::Limits;
use towpath_linker::diff::Diff;
use towpath_linker::evidence::{Ledger, LedgerSpec};
use towpath_linker::link::Link;
use towpath_linker::link::translate::Translator;
use towpath_linker::operation::{Operation, Operations, Request};
use towpath_linker::state::cache::Cache;
use towpath_linker::state::journal::Journal;
use towpath_linker::state::standing::Standing;
use towpath_plans::diff::DifferenceCounts;
use towpath_plans::evidence::{Actor, Body, ClusterIdentity, Signer};
use towpath_plans::gates::Verdict;
use towpath_plans::{Plan, Side};
use towpath_shared_log::open_store;
use towpath_tests::diffing::{WRITTEN_MAX, producer, records, send};
use towpath_tests::mirroring::{self, LinkOptions, ends};
use towpath_tests::wait;
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::{NewTopic, delete_topics};

use crate::pair::{RUNTIME, clusters};

/// How long anything of this file may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A link as the service assembles it, with a cache that outlives it.
struct Linked {
    link: Arc<Link>,
    registry: Registry,
    mirroring: mirroring::Link,
}

/// Links `topic` under the name that [`Clusters::pair`] gives its mirrors.
async fn linked(topic: &str, cache: &Path, shape: impl FnOnce(&mut Plan)) -> Linked {
    let clusters = clusters().await;
    let (source, target, env) = (&clusters.source, &clusters.target, Env::real());
    let options = LinkOptions { name: "views".into(), ..LinkOptions::default() };
    let mirroring =
        mirroring::Link::start_with(options, &source.client, &target.client, &[topic]).await.unwrap();
    mirroring.caught_up(&source.client, &target.client, &[topic]).await.unwrap();
    let mut plan = Plan::new("views", "legacy", "towpath");
    shape(&mut plan);
    let store = open_store("memory://").await.unwrap();
    let identity = |side, cluster: &towpath_linker::cluster::Cluster| ClusterIdentity {
        side,
        name: cluster.name.clone(),
        cluster_id: cluster.id.clone(),
    };
    let spec = LedgerSpec {
        store: store.clone(),
        family: "views".into(),
        clusters: vec![identity(Side::Source, source), identity(Side::Target, target)],
        signer: Arc::new(Signer::from_seed([1; 32])),
        former_signer: None,
        standing: Standing::default(),
        env: env.clone(),
    };
    let cache = Cache::open(cache).unwrap();
    let mirror = mirroring.mirror.clone();
    let link = Link {
        plan_hash: plan.hash(),
        plan: Arc::new(plan),
        source: source.clone(),
        target: target.clone(),
        env: env.clone(),
        limits: Limits::default(),
        translator: Translator::new("views", mirror.clone(), Arc::new(cache.clone())),
        follow: mirroring.follow.clone(),
        journal: Journal::open(store, env, "test").await.unwrap(),
        ledger: Ledger::open(spec).await.unwrap(),
        mirror,
        cache,
    };
    let registry = mirroring.metrics.registry.clone();
    Linked { link: Arc::new(link), registry, mirroring }
}

impl Linked {
    fn diff(&self) -> Arc<Diff> {
        Diff::open(self.link.clone()).unwrap()
    }

    /// Records that the diffs of this link read from the source.
    fn records_read(&self) -> u64 {
        let families = self.registry.gather();
        let read = families.iter().find(|one| one.name() == "towpath_linker_diff_records_total").unwrap();
        let of_source = read
            .get_metric()
            .iter()
            .find(|one| one.get_label().iter().any(|label| label.value() == "source"))
            .unwrap();
        of_source.get_counter().get_value() as u64
    }

    async fn evidence(&self) -> Vec<Body> {
        let lines = self.link.ledger.lines().await.unwrap();
        lines.into_iter().map(|line| line.entry().unwrap().body).collect()
    }

    /// Gives the cache back for the next one to open.
    async fn end(self) {
        self.mirroring.stop().await.unwrap();
    }
}

fn operation() -> Arc<Operation> {
    let actor = Actor { name: "tester".into(), authenticated: false, role: "operator".into() };
    Operations::new(Env::real(), 10).begin("diff", "views", &Request::by(actor))
}

async fn pair(topic: &str, count: i64) -> TopicPartition {
    let all = records(0..count);
    clusters().await.pair(NewTopic::new(topic, 1), &all, &all).await.unwrap()
}

fn cache() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_diff_that_was_stopped_half_way_goes_on_where_it_was() {
    RUNTIME.block_on(async {
        const COUNT: i64 = 20_000;
        pair("resumed", COUNT).await;
        let cache = cache();
        let first = linked("resumed", cache.path(), |plan| {
            plan.diff.range_offsets = 512;
            plan.diff.bandwidth_bytes_per_s_max = 100_000;
        })
        .await;
        let (diff, stop) = (first.diff(), CancellationToken::new());
        let running = tokio::spawn(diff.clone().run(stop.clone()));
        let topics = ["resumed".to_owned()];
        let through = wait::until("a part to be compared", LIMIT, async || {
            let seen = diff.observed(&topics);
            assert_eq!(seen[0].verdict, Verdict::Inconclusive, "not yet compared to its end");
            Ok((seen[0].compared_through >= 2_000).then_some(seen[0].compared_through))
        })
        .await
        .unwrap();
        assert!(through < COUNT, "the bandwidth bound holds it back");
        stop.cancel();
        running.await.unwrap();
        drop(diff);
        first.end().await;

        let second = linked("resumed", cache.path(), |_| {}).await;
        let report = second.diff().verify(false, &operation()).await.unwrap();
        assert_eq!((report.verdict, report.records, report.differences), (Verdict::Pass, COUNT as u64, 0));
        let read = second.records_read();
        assert!(read <= (COUNT - through) as u64, "{read} records read after {through} were compared");
        let report = second.diff().verify(true, &operation()).await.unwrap();
        assert_eq!((report.verdict, report.records), (Verdict::Pass, COUNT as u64));
        assert_eq!(second.records_read(), COUNT as u64, "anew reads everything");
        second.end().await;
    });
}

#[test]
fn nothing_written_is_inconclusive_and_an_empty_partition_is_no_fault() {
    RUNTIME.block_on(async {
        pair("empty", 0).await;
        let cache = cache();
        let linked = linked("empty", cache.path(), |_| {}).await;
        let diff = linked.diff();
        let report = diff.verify(false, &operation()).await.unwrap();
        assert_eq!((report.verdict, report.records), (Verdict::Inconclusive, 0));
        let seen = diff.observed(&["empty".to_owned()]);
        assert_eq!((seen[0].verdict, seen[0].uncompared_records), (Verdict::Pass, 0));
        let verdicts = linked.evidence().await;
        let inconclusive =
            |body: &Body| matches!(body, Body::DiffVerdict { verdict: Verdict::Inconclusive, .. });
        assert!(verdicts.iter().any(inconclusive), "{verdicts:?}");
        assert!(!verdicts.iter().any(|body| matches!(body, Body::RangesCompared { .. })));
        drop(diff);
        linked.end().await;
    });
}

#[test]
fn a_mirror_that_differs_fails_and_evidence_names_the_record_without_showing_it() {
    RUNTIME.block_on(async {
        let source = records(0..3_000);
        let mut target = source.clone();
        target[1_234].value.as_mut().unwrap()[0] ^= 1;
        let topic = NewTopic::new("differs", 1);
        let id = clusters().await.pair(topic, &source, &target).await.unwrap();
        let cache = cache();
        let linked = linked("differs", cache.path(), |_| {}).await;
        let diff = linked.diff();
        let report = diff.verify(false, &operation()).await.unwrap();
        assert_eq!((report.verdict, report.differences), (Verdict::Fail, 1));
        let tail = diff.close_tail(&BTreeMap::from([(id.clone(), 3_000)])).await.unwrap();
        assert_eq!((tail.differing, tail.records), (BTreeMap::from([(id, 1)]), 0));
        let bodies = linked.evidence().await;
        let Some(Body::DiffVerdict { verdict, counts, samples, .. }) =
            bodies.iter().find(|body| matches!(body, Body::DiffVerdict { .. }))
        else {
            panic!("{bodies:?}")
        };
        assert_eq!(
            (*verdict, *counts),
            (Verdict::Fail, DifferenceCounts { altered: 1, ..Default::default() })
        );
        assert_eq!(samples[0].sentence, "offset 1234 is altered: value from byte 0");
        assert!(samples[0].key.as_deref().is_some_and(|key| key.starts_with("key:")), "{samples:?}");
        assert_eq!(samples[0].contents, None);
        let ranges = bodies.iter().filter_map(|body| match body {
            Body::RangesCompared { ranges } => Some(ranges.iter().map(|range| (range.from, range.to))),
            _ => None,
        });
        assert_eq!(ranges.flatten().collect::<Vec<_>>(), [(0, 3_000)]);
        drop(diff);
        linked.end().await;
    });
}

#[test]
fn a_tail_is_closed_at_once_while_a_round_creeps() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let id = pair("crept", 20_000).await;
        let cache = cache();
        let linked = linked("crept", cache.path(), |plan| {
            plan.diff.range_offsets = 256;
            plan.diff.bandwidth_bytes_per_s_max = 50_000;
        })
        .await;
        let (diff, stop) = (linked.diff(), CancellationToken::new());
        let running = tokio::spawn(diff.clone().run(stop.clone()));
        let topics = ["crept".to_owned()];
        wait::until("a round to be under way", LIMIT, async || {
            Ok((diff.observed(&topics)[0].compared_through > 0).then_some(()))
        })
        .await
        .unwrap();
        let tail = diff.close_tail(&BTreeMap::from([(id.clone(), 20_000)])).await.unwrap();
        assert!(tail.differing.is_empty() && tail.records > 10_000, "{tail:?}");
        // At the plan's bandwidth it would have taken ten seconds and more.
        let producer = producer(&clusters.kafka.bootstrap(), &[]).unwrap();
        for round in 0..10 {
            records(0..50).iter().for_each(|record| send(&producer, "crept", record).unwrap());
            producer.flush(WRITTEN_MAX).unwrap();
            let end = ends(&clusters.source.client, "crept").await.unwrap()[0];
            assert_eq!(end, 20_000 + 50 * (round + 1));
            linked
                .mirroring
                .caught_up(&clusters.source.client, &clusters.target.client, &["crept"])
                .await
                .unwrap();
            let tail = diff.close_tail(&BTreeMap::from([(id.clone(), end)])).await.unwrap();
            assert!(tail.differing.is_empty());
        }
        let empty = diff.close_tail(&BTreeMap::from([(id, 20_500)])).await.unwrap();
        assert_eq!(empty.records, 0);
        stop.cancel();
        running.await.unwrap();
        drop(diff);
        linked.end().await;
    });
}

#[test]
fn another_incarnation_of_a_topic_is_compared_from_its_beginning() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let cache = cache();
        for count in [900, 300] {
            pair("again", count).await;
            let linked = linked("again", cache.path(), |_| {}).await;
            let report = linked.diff().verify(false, &operation()).await.unwrap();
            assert_eq!((report.verdict, report.records), (Verdict::Pass, count as u64));
            linked.end().await;
            for cluster in [&clusters.source, &clusters.target] {
                delete_topics(&cluster.client, &["again"]).await.unwrap();
                wait::until("the topic to be gone", LIMIT, async || {
                    let metadata = cluster.client.metadata_all().await?;
                    Ok((!metadata.topics.contains_key("again")).then_some(()))
                })
                .await
                .unwrap();
            }
        }
    });
}
