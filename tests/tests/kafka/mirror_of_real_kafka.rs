//! What the mirror makes of a real Apache Kafka: the same bytes at the same offsets, whatever was written.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::util::Timeout;
use towpath_tests::clients::ClientKind;
use towpath_tests::clients::reading::WholeTopic;
use towpath_tests::kafka::{KafkaOptions, Pool};
use towpath_tests::mirroring::{Link, broker, connect, same_bytes};
use towpath_wire::batch::Codec;
use towpath_wire::client::Client;
use towpath_wire::client::admin::{NewTopic, create_topic};

const CODECS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];
const LIMIT: Timeout = Timeout::After(Duration::from_secs(60));

type Producer = ThreadedProducer<DefaultProducerContext>;

fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> Producer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    config.create().unwrap()
}

/// Null keys, null values, headers with repeated names and null values, sizes from nothing to 20 kB.
fn write(producer: &Producer, topic: &str, partition: i32, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (key, value) = (format!("key-{}", n % 10), format!("{n} ").repeat((n * n % 5_000) as usize));
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition);
        record.timestamp = Some(1_700_000_000_000 + n as i64);
        record.key = (n % 7 != 0).then_some(key.as_str());
        record.payload = (n % 5 != 0).then_some(value.as_str());
        if n % 3 == 0 {
            let header = |key, value| Header { key, value };
            record.headers = Some(
                OwnedHeaders::new()
                    .insert(header("same", Some("1")))
                    .insert(header("same", None))
                    .insert(header("same", Some(""))),
            );
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

async fn sources(source: &Client, bootstrap: &str) -> Vec<String> {
    let mut topics = Vec::new();
    for (name, _) in CODECS {
        let topic = format!("codec-{name}");
        create_topic(source, NewTopic::new(&topic, 3)).await.unwrap();
        let producer = producer(bootstrap, &[("compression.codec", name)]);
        (0..3).for_each(|partition| write(&producer, &topic, partition, 0..200));
        producer.flush(LIMIT).unwrap();
        topics.push(topic);
    }
    let stamped = NewTopic::new("stamped-by-the-broker", 1);
    create_topic(source, stamped.with_config("message.timestamp.type", "LogAppendTime")).await.unwrap();
    let plain = producer(bootstrap, &[]);
    write(&plain, "stamped-by-the-broker", 0, 0..50);
    plain.flush(LIMIT).unwrap();
    topics.push("stamped-by-the-broker".to_owned());
    topics.push(transactions(source, bootstrap).await);
    topics
}

async fn transactions(source: &Client, bootstrap: &str) -> String {
    create_topic(source, NewTopic::new("transactions", 2)).await.unwrap();
    let begin = |id| {
        let producer = producer(bootstrap, &[("transactional.id", id)]);
        producer.init_transactions(LIMIT).unwrap();
        producer
    };
    let (first, second) = (begin("first"), begin("second"));
    for round in 0..4 {
        for producer in [&first, &second] {
            producer.begin_transaction().unwrap();
            (0..2).for_each(|partition| write(producer, "transactions", partition, 0..20));
            producer.flush(LIMIT).unwrap();
        }
        first.commit_transaction(LIMIT).unwrap();
        if round % 2 == 0 { second.abort_transaction(LIMIT) } else { second.commit_transaction(LIMIT) }
            .unwrap();
    }
    // Left open, with plain records behind it that only a reader of everything sees.
    first.begin_transaction().unwrap();
    write(&first, "transactions", 0, 0..20);
    first.flush(LIMIT).unwrap();
    let plain = producer(bootstrap, &[]);
    write(&plain, "transactions", 0, 0..20);
    plain.flush(LIMIT).unwrap();
    // Its transaction stays open: nobody aborts it.
    std::mem::forget(first);
    "transactions".to_owned()
}

async fn is_mirrored_byte_for_byte(version: &str) {
    let kafka = Pool::shared().lease(KafkaOptions::new(version)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), 0).await.unwrap();
    let target_bootstrap = broker.address().to_string();
    let (source, target) =
        (connect(&kafka.bootstrap()).await.unwrap(), connect(&target_bootstrap).await.unwrap());
    let topics = sources(&source, &kafka.bootstrap()).await;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let link = Link::start(&source, &target, &topics).await.unwrap();
    link.caught_up(&source, &target, &topics).await.unwrap();
    for topic in &topics {
        let logs = same_bytes(&source, &target, topic).await.unwrap();
        if let Some(name) = topic.strip_prefix("codec-") {
            let wanted = CODECS.iter().find(|codec| codec.0 == name).unwrap().1;
            assert!(
                logs.iter().flat_map(|log| log.views()).any(|batch| batch.codec() == Ok(wanted)),
                "{topic}"
            );
        }
        for isolation in ["read_committed", "read_uncommitted"] {
            let read = async |bootstrap: &str| {
                WholeTopic::read(&ClientKind::Rdkafka, bootstrap, topic, isolation, folder.path())
                    .await
                    .unwrap()
            };
            let (theirs, ours) = (read(&kafka.bootstrap()).await, read(&target_bootstrap).await);
            assert!(!ours.records.is_empty());
            assert_eq!(theirs.records, ours.records, "{topic} {isolation}");
        }
    }
    link.stop().await.unwrap();
    broker.stop().await;
    Pool::shared().give_back(kafka);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_to_kafka_3_9_is_mirrored_byte_for_byte() {
    is_mirrored_byte_for_byte("3.9.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_to_kafka_4_1_is_mirrored_byte_for_byte() {
    is_mirrored_byte_for_byte("4.1.1").await;
}
