//! The diff between a real Apache Kafka and a mirror whose content the test decides, record by record.

use std::sync::LazyLock;
use std::time::Duration;

use rdkafka::config::ClientConfig as Settings;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use towpath_broker::Broker;
use towpath_env::Env;
use towpath_linker::cluster::Cluster;
use towpath_linker::diff::{Compared, Comparison, ComparisonSpec, DiffMetrics, Stretch, Terms};
use towpath_linker::link::follow::{
    MIRROR_LINK, MIRROR_SOURCE_CLUSTER, MIRROR_SOURCE_TOPIC, MIRROR_STATE, MIRRORING,
};
use towpath_plans::diff::{Difference, DifferenceKind, Field, OffsetRange, Record, TimestampType};
use towpath_tests::kafka::Kafka;
use towpath_tests::mirroring::{broker, connect};
use towpath_wire::batch::BatchBuilder;
use towpath_wire::client::admin::{NewTopic, create_topic};
use towpath_wire::client::{ClientConfig, To, TopicPartition};
use towpath_wire::private::{MirrorAppendPartition, MirrorAppendRequest, MirrorAppendTopic};

/// One runtime and one pair of clusters for every test of this file.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static CLUSTERS: OnceCell<Clusters> = OnceCell::const_new();

struct Clusters {
    source: Cluster,
    target: Cluster,
    kafka: Kafka,
    _broker: Broker,
    _folder: TempDir,
}

async fn clusters() -> &'static Clusters {
    let start = async || {
        let options = towpath_tests::kafka::KafkaOptions::new("3.9.1")
            .property("log.cleaner.backoff.ms", "200")
            .property("log.initial.task.delay.ms", "100");
        let kafka = Kafka::start_with(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let broker = broker(folder.path(), 0).await.unwrap();
        let cluster = async |name: &str, bootstrap: &str| {
            let client = connect(bootstrap).await.unwrap();
            let config = ClientConfig::plaintext(bootstrap);
            Cluster { name: name.to_owned(), id: client.cluster_id(), client, config }
        };
        let source = cluster("legacy", &kafka.bootstrap()).await;
        let target = cluster("towpath", &broker.address().to_string()).await;
        Clusters { source, target, kafka, _broker: broker, _folder: folder }
    };
    CLUSTERS.get_or_init(start).await
}

impl Clusters {
    fn comparison(&self) -> Comparison {
        let metrics = DiffMetrics::register(&prometheus::Registry::new(), "views").unwrap();
        Comparison::open(ComparisonSpec {
            source: self.source.clone(),
            target: self.target.clone(),
            env: Env::real(),
            range_offsets: 4_096,
            samples_max: 20,
            metrics,
        })
        .unwrap()
    }

    /// A topic of one partition with these records on both sides.
    async fn pair(&self, topic: &str, source: &[Record], target: &[Record]) -> Stretch {
        create_topic(&self.source.client, NewTopic::new(topic, 1)).await.unwrap();
        let producer = producer(&self.kafka.bootstrap(), &[]);
        source.iter().for_each(|record| send(&producer, topic, record));
        producer.flush(Duration::from_secs(60)).unwrap();
        let id = TopicPartition::new(topic, 0);
        let metadata = self.source.client.metadata(&[topic]).await.unwrap();
        let topic_id = metadata.topics[topic].topic_id;
        let mirror = NewTopic::new(topic, 1)
            .with_config(MIRROR_LINK, "views")
            .with_config(MIRROR_SOURCE_CLUSTER, &self.source.id)
            .with_config(MIRROR_SOURCE_TOPIC, topic_id.to_string())
            .with_config(MIRROR_STATE, MIRRORING);
        create_topic(&self.target.client, mirror).await.unwrap();
        let end = source.last().map_or(0, |record| record.offset + 1);
        let mut batches = Vec::new();
        for record in target {
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            let mut batch = BatchBuilder::new(record.offset);
            batch.append(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
            batches.extend_from_slice(&batch.build().unwrap());
        }
        let partition = MirrorAppendPartition {
            index: 0,
            from_offset: 0,
            source_leader_epoch: 0,
            source_log_start: 0,
            source_high_watermark: end,
            log_end: end,
            records: batches.into(),
        };
        let request = MirrorAppendRequest {
            link: "views".into(),
            source_cluster_id: self.source.id.clone(),
            timeout_ms: 30_000,
            topics: vec![MirrorAppendTopic {
                name: topic.to_owned(),
                source_topic_id: topic_id,
                partitions: vec![partition],
            }],
        };
        let leader = To::Leader(topic.to_owned(), 0);
        let answer = self.target.client.mirror_append(leader, &request).await.unwrap();
        let answer = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.log_end), (0, end), "{answer:?}");
        Stretch { id, from: 0, to: end }
    }
}

type Producer = ThreadedProducer<DefaultProducerContext>;

fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> Producer {
    let mut config = Settings::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    config.create().unwrap()
}

fn send(producer: &Producer, topic: &str, record: &Record) {
    let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(0);
    sent.timestamp = Some(record.timestamp_ms);
    sent.key = record.key.as_deref();
    sent.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        sent.headers = Some(headers);
    }
    producer.send(sent).map_err(|(error, _)| error).unwrap();
}

/// Records with null keys, tombstones, empty values, repeated and null headers among them.
fn records(offsets: std::ops::Range<i64>) -> Vec<Record> {
    let record = |offset: i64| Record {
        offset,
        timestamp_ms: 1_700_000_000_000 + offset,
        timestamp_type: TimestampType::CreateTime,
        key: (offset % 7 != 3).then(|| format!("key-{offset}").into_bytes()),
        value: match offset % 11 {
            4 => None,
            5 => Some(Vec::new()),
            _ => Some(format!("value of {offset}").into_bytes()),
        },
        headers: match offset % 3 {
            0 => vec![("same".into(), Some(vec![1, 2, 3])), ("same".into(), None)],
            _ => Vec::new(),
        },
    };
    offsets.map(record).collect()
}

/// Compares until everything is compared: outcomes in order.
async fn compare(comparison: &Comparison, stretch: &Stretch) -> Vec<Compared> {
    let terms = Terms { bytes_per_s: 0, stop: CancellationToken::new() };
    let mut outcomes = Vec::new();
    let mut rest = stretch.clone();
    while rest.from < rest.to {
        let before = rest.from;
        comparison
            .compare(&[rest.clone()], &terms, &mut |_, outcome| {
                let range = match &outcome {
                    Compared::Range { source, .. } => OffsetRange { from: source.from, to: source.to },
                    Compared::Expired(range) => *range,
                };
                assert_eq!(range.from, rest.from, "outcomes have no holes");
                rest.from = range.to;
                outcomes.push(outcome);
            })
            .await
            .unwrap();
        assert!(rest.from > before, "no progress at {before}");
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
        let stretch = clusters.pair("changed", &source, &target).await;
        let outcomes = compare(&clusters.comparison(), &stretch).await;
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
        let stretch = clusters.pair("tail", &source, &source).await;
        let comparison = clusters.comparison();
        let env = Env::real();
        let mut took = Vec::new();
        for part in 0..20 {
            let part = Stretch { from: part * 20, to: part * 20 + 20, ..stretch.clone() };
            let started = env.elapsed();
            let outcomes = compare(&comparison, &part).await;
            took.push(env.elapsed() - started);
            assert_eq!((count(&outcomes), differences(&outcomes).len()), (20, 0));
        }
        let mut warm = took.split_off(1);
        warm.sort();
        // A debug build on a busy machine; the figure itself is printed.
        assert!(warm[warm.len() / 2] < Duration::from_millis(100), "{warm:?}");
    });
}
