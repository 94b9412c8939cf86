//! What the mirror makes of a real Apache Kafka that changes under it: prefixes deleted, logs compacted,
//! partitions added, configs changed, epochs raised, topics re-created.

use std::time::Duration;

use towpath_env::Env;
use towpath_tests::kafka::{Kafka, KafkaOptions, Pool};
use towpath_tests::mirroring::{
    CAUGHT_UP_MAX, Link, RawLog, broker, connect, ends, partitions, produce, same_bytes,
};
use towpath_tests::wait;
use towpath_wire::batch::Batch;
use towpath_wire::client::admin::{
    ConfigChange, ConfigResource, NewTopic, OffsetSpec, alter_configs, create_partitions, create_topic,
    delete_records, delete_topics, describe_topic_configs, list_offset,
};
use towpath_wire::client::{Client, TopicPartition};

/// Both sides, and what keeps the target alive.
struct Sides {
    source: Client,
    target: Client,
    folder: tempfile::TempDir,
    broker: towpath_broker::Broker,
}

impl Sides {
    async fn new(kafka: &Kafka) -> Sides {
        let folder = tempfile::tempdir().unwrap();
        let broker = broker(folder.path(), 0).await.unwrap();
        let target = connect(&broker.address().to_string()).await.unwrap();
        Sides { source: connect(&kafka.bootstrap()).await.unwrap(), target, folder, broker }
    }

    async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let topic = configs
            .iter()
            .fold(NewTopic::new(name, partitions), |topic, (key, value)| topic.with_config(*key, *value));
        create_topic(&self.source, topic).await.unwrap();
    }

    async fn link(&self, topics: &[&str]) -> Link {
        Link::start(&self.source, &self.target, topics).await.unwrap()
    }

    async fn same(&self, link: &Link, topic: &str) -> Vec<RawLog> {
        link.caught_up(&self.source, &self.target, &[topic]).await.unwrap();
        same_bytes(&self.source, &self.target, topic).await.unwrap()
    }
}

fn first(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

/// Deleted before the link began, in the middle of a batch and a whole partition; and while it runs.
async fn a_deleted_prefix_is_followed(sides: &Sides) {
    let (topic, id) = ("deleted-prefix", first("deleted-prefix"));
    sides.topic(topic, 2, &[]).await;
    for partition in 0..2 {
        let id = TopicPartition::new(topic, partition);
        for _ in 0..4 {
            produce(&sides.source, &id, 10).await.unwrap();
        }
    }
    delete_records(&sides.source, &[(id.clone(), 25), (TopicPartition::new(topic, 1), -1)]).await.unwrap();
    let link = sides.link(&[topic]).await;
    let logs = sides.same(&link, topic).await;
    assert_eq!(logs.iter().map(|log| log.log_start).collect::<Vec<_>>(), [25, 40]);
    // While it runs: what is mirrored already, then all of it; then new records behind.
    for (before, left) in [(35, 1), (-1, 0)] {
        delete_records(&sides.source, &[(id.clone(), before)]).await.unwrap();
        let wanted = if before < 0 { 40 } else { before };
        wait::until("the target's log start to follow", CAUGHT_UP_MAX, async || {
            let start = list_offset(&sides.target, &id, OffsetSpec::Earliest).await?.offset;
            Ok((start == wanted).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(sides.same(&link, topic).await[0].batches.len(), left);
    }
    produce(&sides.source, &id, 5).await.unwrap();
    assert_eq!(sides.same(&link, topic).await[0].high_watermark, 45);
    link.stop().await.unwrap();
}

/// The mirror has seen nothing yet of a topic whose records are all gone.
async fn an_all_expired_topic_reaches_the_sources_end(sides: &Sides) {
    let (topic, id) = ("all-expired", first("all-expired"));
    sides.topic(topic, 1, &[("retention.ms", "1"), ("segment.ms", "100")]).await;
    produce(&sides.source, &id, 30).await.unwrap();
    wait::until("retention", CAUGHT_UP_MAX, async || {
        Ok((list_offset(&sides.source, &id, OffsetSpec::Earliest).await?.offset == 30).then_some(()))
    })
    .await
    .unwrap();
    let link = sides.link(&[topic]).await;
    let logs = sides.same(&link, topic).await;
    assert_eq!((logs[0].log_start, logs[0].high_watermark), (30, 30));
    link.stop().await.unwrap();
}

/// Whether there is a gap at or behind `offset`.
fn has_gap_from(offset: i64, log: &RawLog) -> bool {
    let views: Vec<Batch> = log.views().collect();
    let gap = |pair: &[Batch]| pair[1].base_offset() > pair[0].next_offset();
    views.windows(2).any(|pair| pair[0].next_offset() >= offset && gap(pair))
}

/// The cleaner leaves gaps between and inside batches.
async fn a_compacted_topic_is_mirrored_with_its_gaps(sides: &Sides) {
    let (topic, id) = ("compacted", first("compacted"));
    let configs =
        [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.01")];
    sides.topic(topic, 1, &configs).await;
    for _ in 0..20 {
        // The same ten keys each time. Behind offset 200 it is the first of them, again and again: a gap there stays.
        produce(&sides.source, &id, 10).await.unwrap();
    }
    wait::until("the cleaner", CAUGHT_UP_MAX, async || {
        // A new segment, so that the ones before it are cleaned.
        produce(&sides.source, &id, 1).await?;
        let log = RawLog::read(&sides.source, &id).await?;
        let records: i64 = log.views().map(|batch| i64::from(batch.record_count())).sum();
        Ok((records < log.high_watermark / 2 && has_gap_from(200, &log)).then_some(()))
    })
    .await
    .unwrap();
    // What is mirrored now must not be cleaned further before it is compared.
    let lag = ConfigChange::Set("min.compaction.lag.ms".to_owned(), "1000000000000".to_owned());
    alter_configs(&sides.source, &ConfigResource::Topic(topic.to_owned()), &[lag]).await.unwrap();
    let mut before = Vec::new();
    wait::until("the cleaner to end", CAUGHT_UP_MAX, async || {
        before.push(RawLog::read(&sides.source, &id).await?);
        // Longer than the cleaner's pause between two looks.
        let settled =
            before.len() > 20 && before[before.len() - 20..].windows(2).all(|pair| pair[0] == pair[1]);
        Ok(settled.then_some(()))
    })
    .await
    .unwrap();
    let link = sides.link(&[topic]).await;
    let log = sides.same(&link, topic).await.remove(0);
    assert!(has_gap_from(200, &log));
    link.stop().await.unwrap();
}

async fn partitions_and_configs_follow_the_source(sides: &Sides) {
    let topic = "grows";
    sides.topic(topic, 1, &[("retention.ms", "315360000000")]).await;
    let link = sides.link(&[topic]).await;
    create_partitions(&sides.source, topic, 4).await.unwrap();
    // The controller knows them before the broker does.
    let all = wait::until("the new partitions", CAUGHT_UP_MAX, async || {
        let all = partitions(&sides.source, topic).await?;
        Ok((all.len() == 4).then_some(all))
    });
    for id in all.await.unwrap() {
        produce(&sides.source, &id, 7).await.unwrap();
    }
    assert_eq!(sides.same(&link, topic).await.len(), 4);
    let resource = ConfigResource::Topic(topic.to_owned());
    let set = |key: &str, value: &str| ConfigChange::Set(key.to_owned(), value.to_owned());
    let changes = [
        set("retention.ms", "630720000000"),
        set("cleanup.policy", "compact"),
        set("segment.bytes", "1048576"),
    ];
    alter_configs(&sides.source, &resource, &changes).await.unwrap();
    let expected = [("retention.ms", "630720000000"), ("cleanup.policy", "compact")];
    configs_become(sides, topic, &expected).await;
    alter_configs(&sides.source, &resource, &[ConfigChange::Unset("cleanup.policy".to_owned())])
        .await
        .unwrap();
    configs_become(sides, topic, &[("cleanup.policy", "delete")]).await;
    // How the source cluster runs is not what the topic is.
    let described =
        describe_topic_configs(&sides.target, &[topic]).await.unwrap().remove(topic).unwrap().unwrap();
    assert_ne!(described["segment.bytes"].value.as_deref(), Some("1048576"));
    link.stop().await.unwrap();
}

async fn configs_become(sides: &Sides, topic: &str, expected: &[(&str, &str)]) {
    wait::until(&format!("{expected:?}"), CAUGHT_UP_MAX, async || {
        let described = describe_topic_configs(&sides.target, &[topic]).await?;
        let Some(Ok(configs)) = described.get(topic) else { return Ok(None) };
        let value = |key: &str| configs.get(key).and_then(|config| config.value.as_deref());
        Ok(expected.iter().all(|(key, wanted)| value(key) == Some(*wanted)).then_some(()))
    })
    .await
    .unwrap();
}

/// Restarts raise the leader epoch; the target advertises it and answers for each.
async fn leader_epochs_of_the_source_are_kept(sides: &Sides, kafka: &mut Kafka) {
    let (topic, id) = ("epochs", first("epochs"));
    sides.topic(topic, 1, &[]).await;
    let link = sides.link(&[topic]).await;
    for round in 0..3 {
        produce(&sides.source, &id, 5).await.unwrap();
        sides.same(&link, topic).await;
        if round < 2 {
            kafka.stop().await.unwrap();
            kafka.start_again().await.unwrap();
        }
    }
    let log = sides.same(&link, topic).await.remove(0);
    let epochs: Vec<i32> = log.views().map(|batch| batch.leader_epoch()).collect();
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]) && epochs.len() == 3, "{epochs:?}");
    let advertised = sides.target.metadata(&[topic]).await.unwrap().topics[topic].partitions[0].leader_epoch;
    assert!(advertised >= epochs[2], "{advertised} {epochs:?}");
    link.stop().await.unwrap();
}

/// More than a fetch takes, in one partition before another: each gets its turn and nothing is taken for a gap.
async fn a_busy_partition_does_not_starve_the_others(sides: &Sides) {
    let topic = "busy";
    sides.topic(topic, 8, &[]).await;
    for id in partitions(&sides.source, topic).await.unwrap() {
        for _ in 0..10 {
            produce(&sides.source, &id, 200).await.unwrap();
        }
    }
    let mut options = towpath_tests::mirroring::LinkOptions::default();
    options.limits.fetch_bytes_max = 20_000;
    options.limits.fetch_partition_bytes_max = 8_000;
    options.limits.mirror_in_flight_bytes_max = 50_000;
    let link = Link::start_with(options, &sides.source, &sides.target, &[topic]).await.unwrap();
    assert_eq!(sides.same(&link, topic).await.len(), 8);
    link.stop().await.unwrap();
}

async fn what_retention_took_before_it_was_mirrored_halts_until_it_is_accepted(sides: &Sides) {
    let (topic, id) = ("passed-by-retention", first("passed-by-retention"));
    sides.topic(topic, 1, &[]).await;
    produce(&sides.source, &id, 10).await.unwrap();
    let link = sides.link(&[topic]).await;
    sides.same(&link, topic).await;
    link.mirror.pause().await;
    produce(&sides.source, &id, 10).await.unwrap();
    delete_records(&sides.source, &[(id.clone(), 15)]).await.unwrap();
    link.mirror.resume();
    let reason = link.halted(topic).await.unwrap();
    assert!(reason.contains("offsets 10 to 14"), "{reason}");
    link.mirror.observe();
    assert_eq!(link.metrics.halted_partitions.get(), 1);
    link.mirror.accept_loss(&id).await.unwrap();
    let log = sides.same(&link, topic).await.remove(0);
    assert_eq!((log.log_start, log.high_watermark), (15, 20));
    link.stop().await.unwrap();
}

async fn a_topic_re_created_under_the_link_halts_with_the_reason(sides: &Sides) {
    let (topic, id) = ("re-created", first("re-created"));
    sides.topic(topic, 1, &[]).await;
    produce(&sides.source, &id, 10).await.unwrap();
    let link = sides.link(&[topic]).await;
    let before = sides.same(&link, topic).await;
    delete_topics(&sides.source, &[topic]).await.unwrap().remove(topic).unwrap().unwrap();
    let reason = link.halted(topic).await.unwrap();
    assert!(reason.contains("was deleted on the source"), "{reason}");
    create_topic(&sides.source, NewTopic::new(topic, 2)).await.unwrap();
    produce(&sides.source, &id, 30).await.unwrap();
    wait::until("the whole reason", CAUGHT_UP_MAX, async || {
        Ok(link.halted(topic).await?.contains("was deleted and re-created").then_some(()))
    })
    .await
    .unwrap();
    link.stop().await.unwrap();
    // A new link's run says so again, and the target holds what it held.
    let link = sides.link(&[topic]).await;
    assert!(link.halted(topic).await.unwrap().contains("re-created"));
    let refused = link.mirror.accept_loss(&id).await.unwrap_err().to_string();
    assert!(refused.contains("another one"), "{refused}");
    assert_eq!(vec![RawLog::read(&sides.target, &id).await.unwrap()], before);
    assert_eq!(ends(&sides.target, topic).await.unwrap().len(), 1, "nor does it grow with the other topic");
    link.stop().await.unwrap();
}

async fn an_idle_link_asks_little(sides: &Sides) {
    let topics: Vec<String> = (0..4).map(|number| format!("idle-{number}")).collect();
    for topic in &topics {
        sides.topic(topic, 50, &[]).await;
    }
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let link = sides.link(&topics).await;
    link.caught_up(&sides.source, &sides.target, &topics).await.unwrap();
    let (env, asked) = (Env::real(), link.metrics.fetch_seconds.get_sample_count());
    wait::until("twenty more fetches", CAUGHT_UP_MAX, async || {
        Ok((link.metrics.fetch_seconds.get_sample_count() >= asked + 20).then_some(()))
    })
    .await
    .unwrap();
    // Each waits for its 200 ms; 4 s would be exact.
    assert!(env.elapsed() > Duration::from_secs(3), "{:?}", env.elapsed());
    link.mirror.observe();
    assert_eq!((link.metrics.lag_ms.get(), link.metrics.lag_messages.get()), (0, 0));
    link.stop().await.unwrap();
}

async fn changes_are_followed(version: &str) {
    // The cleaner starts at once.
    let options = KafkaOptions::new(version).property("log.initial.task.delay.ms", "100");
    let mut kafka = Pool::shared().lease(options).await.unwrap();
    let sides = Sides::new(&kafka).await;
    // Each has topics and a link of its own.
    tokio::join!(
        a_deleted_prefix_is_followed(&sides),
        an_all_expired_topic_reaches_the_sources_end(&sides),
        a_compacted_topic_is_mirrored_with_its_gaps(&sides),
        partitions_and_configs_follow_the_source(&sides),
        a_busy_partition_does_not_starve_the_others(&sides),
        what_retention_took_before_it_was_mirrored_halts_until_it_is_accepted(&sides),
        an_idle_link_asks_little(&sides),
        a_topic_re_created_under_the_link_halts_with_the_reason(&sides),
    );
    leader_epochs_of_the_source_are_kept(&sides, &mut kafka).await;
    let Sides { broker, folder, .. } = sides;
    broker.stop().await;
    drop(folder);
    Pool::shared().give_back(kafka);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_kafka_3_9_are_followed() {
    changes_are_followed("3.9.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_kafka_4_1_are_followed() {
    changes_are_followed("4.1.1").await;
}
