//! A compacted topic, written by a client and read by others after compaction: on the broker as on Apache Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use towpath_tests::clients::protocol::{Command, ProduceSettings, Settings, Verb};
use towpath_tests::clients::reading::WholeTopic;
use towpath_tests::clients::{Client, ClientKind};
use towpath_tests::daemon::Daemon;
use towpath_tests::folder::Folder;
use towpath_tests::kafka::{KafkaOptions, Pool};
use towpath_tests::mirroring::connect;
use towpath_tests::record::{Blob, Message, Record};
use towpath_tests::wait;
use towpath_wire::client::admin::{NewTopic, create_topic};

const LIMIT: Duration = Duration::from_secs(90);
const TOPIC: &str = "profiles";
const KEYS: u64 = 12;
const RECORDS: u64 = 3_000;
/// Written again and again until all before it is compacted: Kafka's active segment never is.
const LAST_KEY: &[u8] = b"last";

/// Looks for work all the time, and finds a few bytes worth it.
const EAGER: &str = "storage:
  segment_age_max_ms: 200
  compact_interval_ms: 100
  compact_dirty_bytes_min: 0
  compact_map_bytes_max: 400
  compact_object_bytes_max: 20000
";

fn message(n: u64, key: &[u8]) -> Message {
    let blob = |text: String| Some(Blob(text.into_bytes()));
    Message {
        n,
        topic: TOPIC.to_owned(),
        partition: Some(0),
        timestamp_ms: None,
        key: Some(Blob(key.to_vec())),
        // A third of all are tombstones, and so are the last records of a third of the keys.
        value: if (n + n / KEYS).is_multiple_of(3) && key != LAST_KEY {
            None
        } else {
            blob(format!("value-{n} ").repeat(20))
        },
        headers: vec![("n".to_owned(), blob(n.to_string())), ("n".to_owned(), None)],
    }
}

async fn create(bootstrap: &str) {
    let topic = NewTopic::new(TOPIC, 1)
        .with_config("cleanup.policy", "compact")
        .with_config("min.cleanable.dirty.ratio", "0.001")
        .with_config("segment.ms", "100");
    create_topic(&connect(bootstrap).await.unwrap(), topic).await.unwrap();
}

/// Writes the records, then the last key until a reader finds one record of each other key; what it then finds.
async fn compacted(bootstrap: &str, folder: &Folder) -> Result<Vec<Record>> {
    let mut settings = ProduceSettings::new(bootstrap);
    settings.codec = "zstd".to_owned();
    settings.linger_ms = 1;
    let kind = ClientKind::Rdkafka;
    let mut client = Client::start(&kind, "write", &Settings::Produce(settings), folder.path()).await?;
    for n in 0..RECORDS {
        let key = format!("key-{}", n % KEYS);
        client.tell(&Command::Send(message(n, key.as_bytes()))).await?;
        if n % 100 == 0 {
            client.finish(Verb::Flush, LIMIT, |_| {}).await?;
        }
    }
    let mut n = RECORDS;
    let found = wait::until("one record of each key", LIMIT, async || {
        client.tell(&Command::Send(message(n, LAST_KEY))).await?;
        client.finish(Verb::Flush, LIMIT, |_| {}).await?;
        n += 1;
        let whole = WholeTopic::read(&kind, bootstrap, TOPIC, "read_committed", folder.path()).await?;
        let of_keys = of_keys(whole.records);
        Ok((of_keys.len() as u64 == KEYS).then_some(of_keys))
    });
    let found = found.await?;
    client.close_input();
    client.process().ended(LIMIT).await?;
    Ok(found)
}

fn of_keys(records: Vec<Record>) -> Vec<Record> {
    let is_last = |record: &Record| record.key.as_ref().is_some_and(|key| key.0 == LAST_KEY);
    records.into_iter().filter(|record| !is_last(record)).collect()
}

/// Offset, key, value and headers: all that does not depend on the clock.
type Content = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn contents(records: &[Record]) -> Vec<Content> {
    let bytes = |blob: &Option<Blob>| blob.as_ref().map(|blob| blob.0.clone());
    let headers = |record: &Record| {
        record.headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect::<Vec<_>>()
    };
    records
        .iter()
        .map(|record| (record.offset, bytes(&record.key), bytes(&record.value), headers(record)))
        .collect()
}

#[tokio::test]
async fn readers_of_a_compacted_topic_find_the_last_of_each_key_where_apache_kafka_has_it() {
    let folder = Folder::new("towpath-compaction-").unwrap();
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, EAGER).unwrap();
    let arguments = ["--config".to_owned(), file.display().to_string()];
    let mut broker = Daemon::broker("broker", folder.path(), &arguments).unwrap();
    broker.start().await.unwrap();
    create(&broker.bootstrap()).await;
    let ours = compacted(&broker.bootstrap(), &folder).await.unwrap();

    let last: BTreeMap<String, u64> = (0..RECORDS).map(|n| (format!("key-{}", n % KEYS), n)).collect();
    let mut expected: Vec<u64> = last.into_values().collect();
    expected.sort_unstable();
    let offsets: Vec<u64> = ours.iter().map(|record| record.offset as u64).collect();
    assert_eq!(offsets, expected, "the last record of each key, where it was written");
    assert!(ours.iter().any(|record| record.value.is_none()), "tombstones stay for a day");
    let removed = broker.metric("towpath_broker_compaction_records_total", "removed").await.unwrap();
    assert!(removed >= (RECORDS - KEYS) as f64, "{removed}");

    // After a kill too, and to another implementation of a reader.
    broker.kill().await.unwrap();
    broker.start().await.unwrap();
    let java = ClientKind::Java("4.1.1".to_owned());
    let again = WholeTopic::read(&java, &broker.bootstrap(), TOPIC, "read_committed", folder.path()).await;
    assert_eq!(of_keys(again.unwrap().records), ours);
    broker.stop().await.unwrap();
    assert_eq!(broker.undeclared_problems(&[]).unwrap(), Vec::<String>::new());

    let options = KafkaOptions::new("4.1.1")
        .property("log.cleaner.backoff.ms", "200")
        .property("log.initial.task.delay.ms", "100");
    let kafka = Pool::shared().lease(options).await.unwrap();
    create(&kafka.bootstrap()).await;
    let theirs = compacted(&kafka.bootstrap(), &folder).await.unwrap();
    assert_eq!(contents(&ours), contents(&theirs));
    Pool::shared().give_back(kafka);
}
