//! Logs of message formats v0 and v1: converted on the way, at the same offsets.

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::util::Timeout;
use towpath_tests::clients::ClientKind;
use towpath_tests::clients::reading::WholeTopic;
use towpath_tests::kafka::{Kafka, KafkaOptions};
use towpath_tests::mirroring::{Link, LinkOptions, RawLog, broker, connect, partitions};
use towpath_wire::client::admin::{ConfigChange, ConfigResource, NewTopic, alter_configs, create_topic};

const LIMIT: Timeout = Timeout::After(std::time::Duration::from_secs(60));

fn write(bootstrap: &str, topic: &str, codec: &str, count: u64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
    // Kafka 2.8 converts down what it is sent to the topic's format.
    config.set("compression.codec", codec);
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for n in 0..count {
        let (key, value) = (format!("key-{n}"), format!("{n} ").repeat((n * n % 300) as usize));
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition((n % 2) as i32);
        record.timestamp = Some(1_700_000_000_000 + n as i64);
        record.key = (n % 7 != 0).then_some(key.as_str());
        record.payload = (n % 5 != 0).then_some(value.as_str());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an old version that CI need not fetch every time: cargo test -- --ignored"]
async fn logs_of_formats_v0_and_v1_are_mirrored_at_their_offsets() {
    let options = KafkaOptions::new("2.8.2").property("inter.broker.protocol.version", "2.8");
    let kafka = Kafka::start_with(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), 0).await.unwrap();
    let target_bootstrap = broker.address().to_string();
    let (source, target) =
        (connect(&kafka.bootstrap()).await.unwrap(), connect(&target_bootstrap).await.unwrap());
    let mut topics = Vec::new();
    for (format, codecs) in [("0.9.0", ["none", "gzip", "snappy"]), ("0.10.0", ["none", "snappy", "lz4"])] {
        for codec in codecs {
            let topic = format!("format-{format}-{codec}");
            let new = NewTopic::new(&topic, 2).with_config("message.format.version", format);
            create_topic(&source, new).await.unwrap();
            write(&kafka.bootstrap(), &topic, codec, 600);
            topics.push(topic);
        }
    }
    // A log that was upgraded half way holds both.
    let (upgraded, set) = (&topics[3], ConfigChange::Set("message.format.version".into(), "2.8".into()));
    alter_configs(&source, &ConfigResource::Topic(upgraded.clone()), &[set]).await.unwrap();
    write(&kafka.bootstrap(), upgraded, "zstd", 200);

    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    // Small fetches cut the log in other places each time it is read again.
    let mut options = LinkOptions::default();
    options.limits.fetch_partition_bytes_max = 20_000;
    let link = Link::start_with(options, &source, &target, &names).await.unwrap();
    for _ in 0..20 {
        // What was on the way is read again.
        link.mirror.pause().await;
        link.mirror.resume();
        tokio::task::yield_now().await;
    }
    link.caught_up(&source, &target, &names).await.unwrap();
    for topic in &topics {
        let read = async |bootstrap: &str| {
            // librdkafka does not read these formats any more.
            let kind = ClientKind::Java("3.9.1".to_owned());
            let whole = WholeTopic::read(&kind, bootstrap, topic, "read_uncommitted", folder.path()).await;
            let mut records = whole.unwrap().records;
            // Records of v0 have no time; in v2 that is said by the time, not by its type.
            records.iter_mut().for_each(|record| record.timestamp_type = record.timestamp_type.max(0));
            records
        };
        let (theirs, ours) = (read(&kafka.bootstrap()).await, read(&target_bootstrap).await);
        assert!(theirs.len() >= 600, "{topic}");
        assert_eq!(theirs, ours, "{topic}");
        let mut old = false;
        for id in partitions(&target, topic).await.unwrap() {
            old |= RawLog::read(&source, &id).await.is_err();
            let log = RawLog::read(&target, &id).await.unwrap();
            assert!(log.views().all(|batch| batch.magic() == 2), "{topic}");
        }
        assert!(old, "{topic} is of an old format on the source");
    }
    link.stop().await.unwrap();
    broker.stop().await;
}
