//! The diff between a real Apache Kafka and a mirror of it: finds each change at its offset, and nothing else.

use std::time::Duration;

use rdkafka::producer::Producer as _;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_linker::diff::{Compared, Comparison, ComparisonSpec, DiffMetrics, Stretch, Terms};
use towpath_plans::diff::{Difference, DifferenceKind, Field, OffsetRange, Record};
use towpath_tests::diffing::{Clusters, WRITTEN_MAX, producer, records, send};
use towpath_tests::mirroring::{CAUGHT_UP_MAX, Link, RawLog, ends, partitions};
use towpath_tests::wait;
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::{NewTopic, create_topic, delete_records};

use crate::pair::{RUNTIME, clusters};

fn comparison(clusters: &Clusters) -> Comparison {
    let metrics = DiffMetrics::register(&prometheus::Registry::new(), "views").unwrap();
    Comparison::open(ComparisonSpec {
        source: clusters.source.clone(),
        target: clusters.target.clone(),
        env: Env::real(),
        range_offsets: 4_096,
        samples_max: 20,
        metrics,
    })
    .unwrap()
}

fn stretch(id: TopicPartition, to: i64) -> Stretch {
    Stretch { id, from: 0, to }
}

/// Compares until everything is compared: outcomes in order, of all stretches together.
async fn compare(comparison: &Comparison, stretches: &[Stretch]) -> Vec<Compared> {
    let terms = Terms { bytes_per_s: 0, stop: CancellationToken::new() };
    let mut outcomes = Vec::new();
    let mut rest = stretches.to_vec();
    while !rest.is_empty() {
        let before = rest.clone();
        let mut tell = |index: usize, outcome: Compared| {
            let rest: &mut Stretch = &mut rest[index];
            let range = match &outcome {
                Compared::Range { source, .. } => OffsetRange { from: source.from, to: source.to },
                Compared::Expired(range) => *range,
            };
            assert_eq!(range.from, rest.from, "outcomes have no holes");
            rest.from = range.to;
            outcomes.push(outcome);
        };
        comparison.compare(&before, &terms, &mut tell).await.unwrap();
        assert_ne!(rest, before, "no progress");
        rest.retain(|stretch| stretch.from < stretch.to);
    }
    outcomes
}

fn differences(outcomes: &[Compared]) -> Vec<Difference> {
    let found = outcomes.iter().filter_map(|outcome| match outcome {
        Compared::Range { found, .. } => Some(found.iter().map(|found| found.difference.clone())),
        Compared::Expired(_) => None,
    });
    found.flatten().collect()
}

fn count(outcomes: &[Compared]) -> u64 {
    let records = outcomes.iter().map(|outcome| match outcome {
        Compared::Range { source, .. } => source.records,
        Compared::Expired(_) => 0,
    });
    records.sum()
}

#[test]
fn every_kind_of_change_is_found_at_its_exact_offset() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let source = records(0..20_000);
        let mut target = source.clone();
        target[5_000].key.as_mut().unwrap()[0] ^= 1;
        target[5_001].value.as_mut().unwrap()[3] ^= 0x80;
        target[5_004].headers[0].1.as_mut().unwrap()[2] ^= 4;
        target[9_000].timestamp_ms += 1;
        target[9_010].value = Some(Vec::new());
        // Two exchange their places, one is sent twice in the place of the next.
        let at = |offset: i64, of: i64| Record { offset, ..source[of as usize].clone() };
        (target[12_000], target[12_001]) = (at(12_000, 12_001), at(12_001, 12_000));
        target[13_001] = at(13_001, 13_000);
        target.remove(100);
        let id = clusters.pair(NewTopic::new("changed", 1), &source, &target).await.unwrap();
        let outcomes = compare(&comparison(clusters), &[stretch(id, 20_000)]).await;
        assert_eq!(count(&outcomes), 20_000);
        let found: Vec<(i64, DifferenceKind)> =
            differences(&outcomes).into_iter().map(|one| (one.offset, one.kind)).collect();
        let altered = |kind: &DifferenceKind| match kind {
            DifferenceKind::Altered { changes } => {
                Some((changes[0].field.clone(), changes[0].first_difference))
            }
            _ => None,
        };
        let fields: Vec<_> =
            found.iter().filter_map(|(offset, kind)| altered(kind).map(|field| (*offset, field))).collect();
        let header = Field::Header { index: 0, name: "same".into() };
        assert_eq!(
            fields,
            [
                (5_000, (Field::Key, Some(0))),
                (5_001, (Field::Value, Some(3))),
                (5_004, (header, Some(2))),
                (9_000, (Field::Timestamp, None)),
                (9_010, (Field::Value, Some(0))),
            ]
        );
        let others: Vec<_> = found.into_iter().filter(|(_, kind)| altered(kind).is_none()).collect();
        assert_eq!(
            others,
            [
                (100, DifferenceKind::Missing),
                (12_000, DifferenceKind::Reordered { target_offset: 12_001 }),
                (12_001, DifferenceKind::Reordered { target_offset: 12_000 }),
                (13_001, DifferenceKind::Missing),
                (13_001, DifferenceKind::Duplicated { of: 13_000 }),
            ]
        );
    });
}

#[test]
fn a_tail_is_closed_within_milliseconds_on_connections_that_are_warm() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let source = records(0..400);
        let id = clusters.pair(NewTopic::new("tail", 1), &source, &source).await.unwrap();
        let comparison = comparison(clusters);
        let env = Env::real();
        let mut took = Vec::new();
        for part in 0..20 {
            let part = Stretch { id: id.clone(), from: part * 20, to: part * 20 + 20 };
            let started = env.elapsed();
            let outcomes = compare(&comparison, &[part]).await;
            took.push(env.elapsed() - started);
            assert_eq!((count(&outcomes), differences(&outcomes).len()), (20, 0));
        }
        let mut warm = took.split_off(1);
        warm.sort();
        // A debug build on a busy machine; the figure itself is printed.
        assert!(warm[warm.len() / 2] < Duration::from_millis(100), "{warm:?}");
    });
}

#[test]
fn what_expired_on_one_side_is_reported_and_not_counted_as_loss() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let source = records(0..1_000);
        let id = clusters.pair(NewTopic::new("expired", 1), &source, &source).await.unwrap();
        delete_records(&clusters.source.client, &[(id.clone(), 700)]).await.unwrap();
        let outcomes = compare(&comparison(clusters), &[stretch(id, 1_000)]).await;
        assert_eq!(outcomes[0], Compared::Expired(OffsetRange { from: 0, to: 700 }));
        assert_eq!((count(&outcomes), differences(&outcomes)), (300, vec![]));
    });
}

#[test]
fn records_missing_at_the_very_end_are_found_though_nothing_marks_the_end() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let source = records(0..50);
        let id = clusters.pair(NewTopic::new("gap", 1), &source, &source[..48]).await.unwrap();
        let outcomes = compare(&comparison(clusters), &[stretch(id, 50)]).await;
        let missing = |offset| Difference { offset, kind: DifferenceKind::Missing };
        assert_eq!(differences(&outcomes), [missing(48), missing(49)]);
    });
}

fn keyed(offset: i64, key: &str, value: Option<&str>) -> Record {
    let (key, value) = (Some(key.as_bytes().to_vec()), value.map(|value| value.as_bytes().to_vec()));
    Record { key, value, headers: Vec::new(), ..records(offset..offset + 1).remove(0) }
}

#[test]
fn a_compacted_topic_may_lack_what_was_overwritten_and_not_the_latest_of_a_key() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let source: Vec<Record> = [("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("a", Some("2"))]
            .into_iter()
            .chain([("b", None), ("d", Some("1")), ("e", Some("1")), ("d", Some("2"))])
            .zip(0..)
            .map(|((key, value), offset)| keyed(offset, key, value))
            .collect();
        // Compacted on the target: a@0 was overwritten, b was deleted. Wrong: the latest d is gone, e is another one.
        let mut target: Vec<Record> = [2, 3, 5, 6].map(|offset: usize| source[offset].clone()).to_vec();
        target[3].value = Some(b"9".to_vec());
        let topic = NewTopic::new("compacted-pair", 1).with_config("cleanup.policy", "compact");
        let id = clusters.pair(topic, &source, &target).await.unwrap();
        let outcomes = compare(&comparison(clusters), &[stretch(id, 8)]).await;
        let found = differences(&outcomes);
        assert_eq!(found.iter().map(|one| one.offset).collect::<Vec<_>>(), [6, 7], "{found:?}");
        assert!(matches!(found[0].kind, DifferenceKind::Altered { .. }));
        assert_eq!(found[1].kind, DifferenceKind::Missing);
    });
}

/// Everything a source may hold: all codecs, headers, tombstones, both timestamp types, transactions, aborts.
async fn written(clusters: &Clusters) -> Vec<String> {
    let (source, bootstrap) = (&clusters.source.client, clusters.kafka.bootstrap());
    let mut topics = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codec-{codec}");
        create_topic(source, NewTopic::new(&topic, 1)).await.unwrap();
        let producer = producer(&bootstrap, &[("compression.codec", codec)]).unwrap();
        records(0..5_000).iter().for_each(|record| send(&producer, &topic, record).unwrap());
        producer.flush(WRITTEN_MAX).unwrap();
        topics.push(topic);
    }
    let stamped = NewTopic::new("stamped", 1).with_config("message.timestamp.type", "LogAppendTime");
    create_topic(source, stamped).await.unwrap();
    let plain = producer(&bootstrap, &[]).unwrap();
    records(0..300).iter().for_each(|record| send(&plain, "stamped", record).unwrap());
    plain.flush(WRITTEN_MAX).unwrap();
    create_topic(source, NewTopic::new("transactions", 1)).await.unwrap();
    let transactional = producer(&bootstrap, &[("transactional.id", "diffed")]).unwrap();
    transactional.init_transactions(WRITTEN_MAX).unwrap();
    for round in 0..4 {
        transactional.begin_transaction().unwrap();
        records(0..50).iter().for_each(|record| send(&transactional, "transactions", record).unwrap());
        transactional.flush(WRITTEN_MAX).unwrap();
        match round % 2 {
            0 => transactional.commit_transaction(WRITTEN_MAX).unwrap(),
            _ => transactional.abort_transaction(WRITTEN_MAX).unwrap(),
        }
    }
    topics.extend(["stamped".to_owned(), "transactions".to_owned()]);
    topics
}

#[test]
fn an_untouched_family_gives_no_false_alarm() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let topics = written(clusters).await;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let (source, target) = (&clusters.source.client, &clusters.target.client);
        let link = Link::start(source, target, &topics).await.unwrap();
        link.caught_up(source, target, &topics).await.unwrap();
        let mut stretches = Vec::new();
        for topic in topics {
            let ids = partitions(source, topic).await.unwrap();
            let ends = ends(source, topic).await.unwrap();
            stretches.extend(ids.into_iter().zip(ends).map(|(id, end)| stretch(id, end)));
        }
        // All at once: the ends of partitions of seven topics have the same number.
        let outcomes = compare(&comparison(clusters), &stretches).await;
        assert_eq!(differences(&outcomes), []);
        assert_eq!(count(&outcomes), 5 * 5_000 + 300 + 4 * 50);
        link.stop().await.unwrap();
    });
}

#[test]
fn a_source_that_compacts_after_it_was_mirrored_gives_no_false_alarm() {
    RUNTIME.block_on(async {
        let clusters = clusters().await;
        let (source, target) = (&clusters.source.client, &clusters.target.client);
        let topic = NewTopic::new("compacting", 1)
            .with_config("cleanup.policy", "compact")
            .with_config("min.cleanable.dirty.ratio", "0.001")
            .with_config("segment.ms", "100")
            .with_config("delete.retention.ms", "100");
        create_topic(source, topic).await.unwrap();
        let plain = producer(&clusters.kafka.bootstrap(), &[]).unwrap();
        let write = |count: i64| {
            for n in 0..count {
                let record = keyed(0, &format!("key-{}", n % 10), (n % 13 != 0).then_some("value"));
                send(&plain, "compacting", &Record { timestamp_ms: Env::real().now_ms(), ..record }).unwrap();
            }
            plain.flush(WRITTEN_MAX).unwrap();
        };
        write(2_000);
        let link = Link::start(source, target, &["compacting"]).await.unwrap();
        link.caught_up(source, target, &["compacting"]).await.unwrap();
        let id = TopicPartition::new("compacting", 0);
        let batches = async |client| -> i64 {
            let log = RawLog::read(client, &id).await.unwrap();
            log.views().map(|batch| i64::from(batch.record_count())).sum()
        };
        wait::until("the source to compact", CAUGHT_UP_MAX, async || {
            // A segment rolls when something with a later timestamp is written.
            write(1);
            Ok((batches(source).await < 1_000).then_some(()))
        })
        .await
        .unwrap();
        link.caught_up(source, target, &["compacting"]).await.unwrap();
        let end = ends(source, "compacting").await.unwrap()[0];
        let outcomes = compare(&comparison(clusters), &[stretch(id.clone(), end)]).await;
        assert_eq!(differences(&outcomes), []);
        let (compacted, whole) = (batches(source).await, batches(target).await);
        assert!(compacted < whole, "the target has kept what the source compacted: {compacted}, {whole}");
        link.stop().await.unwrap();
    });
}
