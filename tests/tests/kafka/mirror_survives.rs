//! What the mirror makes of deaths: of the target, of itself, and of records on the source.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_tests::daemon::Daemon;
use towpath_tests::kafka::{Kafka, KafkaOptions, Pool};
use towpath_tests::mirroring::{
    CAUGHT_UP_MAX, Link, LinkOptions, RawLog, broker, connect, ends, partitions, produce, same_bytes,
};
use towpath_tests::wait;
use towpath_wire::client::admin::{NewTopic, create_topic};
use towpath_wire::client::{Client, TopicPartition};

/// Writes to all partitions of a topic until it is stopped; gives the number of batches.
fn writer(source: &Client, topic: &str, stop: &CancellationToken) -> JoinHandle<u64> {
    let (source, topic, stop) = (source.clone(), topic.to_owned(), stop.clone());
    tokio::spawn(async move {
        let partitions = partitions(&source, &topic).await.unwrap();
        let mut written = 0;
        for id in partitions.iter().cycle() {
            if stop.is_cancelled() {
                break;
            }
            produce(&source, id, 50).await.unwrap();
            written += 1;
        }
        written
    })
}

/// Until the target holds `more` batches' worth of offsets beyond what it held.
async fn progress(target: &Client, topic: &str, more: i64) {
    let held =
        async || Ok::<i64, anyhow::Error>(ends(target, topic).await.map_or(0, |ends| ends.iter().sum()));
    let before = held().await.unwrap();
    wait::until("the mirror to move on", CAUGHT_UP_MAX, async || {
        Ok((held().await? >= before + more).then_some(()))
    })
    .await
    .unwrap();
}

async fn the_target_and_the_linker_die_in_turn(kafka: &Kafka) {
    let topic = "mortal";
    let source = connect(&kafka.bootstrap()).await.unwrap();
    create_topic(&source, NewTopic::new(topic, 3)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Daemon::broker("broker", folder.path(), &[]).unwrap();
    broker.start().await.unwrap();
    let target = connect(&broker.bootstrap()).await.unwrap();
    let stop = CancellationToken::new();
    let writing = writer(&source, topic, &stop);
    let mut link = Link::start(&source, &target, &[topic]).await.unwrap();
    for round in 0..6 {
        progress(&target, topic, 2_000).await;
        // With appends in flight: the broker, the linker, both.
        if round % 3 != 1 {
            broker.kill().await.unwrap();
        }
        if round % 3 != 0 {
            link.abandon();
        }
        if !broker.is_started() {
            broker.start().await.unwrap();
        }
        if round % 3 != 0 {
            link = Link::start(&source, &target, &[topic]).await.unwrap();
        }
    }
    stop.cancel();
    let written = writing.await.unwrap();
    link.caught_up(&source, &target, &[topic]).await.unwrap();
    let logs = same_bytes(&source, &target, topic).await.unwrap();
    assert_eq!(logs.iter().map(|log| log.batches.len() as u64).sum::<u64>(), written);
    assert_eq!(broker.undeclared_problems(&[]).unwrap(), Vec::<String>::new());
    link.stop().await.unwrap();
    broker.stop().await.unwrap();
}

/// The source comes back without records that the mirror holds, as after an unclean election or a restore.
async fn a_source_that_lost_records_halts_the_mirror(kafka: &mut Kafka) {
    let (topic, later) = (TopicPartition::new("lost", 0), TopicPartition::new("lost-and-refilled", 0));
    let source = connect(&kafka.bootstrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), 0).await.unwrap();
    let target = connect(&broker.address().to_string()).await.unwrap();
    for id in [&topic, &later] {
        create_topic(&source, NewTopic::new(&id.topic, 1)).await.unwrap();
        produce(&source, id, 20).await.unwrap();
    }
    let names = [topic.topic.as_str(), later.topic.as_str()];
    let link = Link::start(&source, &target, &names).await.unwrap();
    link.caught_up(&source, &target, &names).await.unwrap();
    link.stop().await.unwrap();
    let before = [RawLog::read(&target, &topic).await.unwrap(), RawLog::read(&target, &later).await.unwrap()];

    kafka.stop().await.unwrap();
    for id in [&topic, &later] {
        forget(&kafka.data_path(0).join(id.to_string()));
    }
    kafka.start_again().await.unwrap();
    produce(&source, &topic, 5).await.unwrap();
    for _ in 0..3 {
        // Beyond what the mirror holds: the offsets alone tell nothing.
        produce(&source, &later, 10).await.unwrap();
    }
    let link = Link::start(&source, &target, &names).await.unwrap();
    let reason = link.halted(&topic.topic).await.unwrap();
    assert!(reason.contains("ends at offset 5") || reason.contains("cut"), "{reason}");
    let reason = link.halted(&later.topic).await.unwrap();
    assert!(reason.contains("cut") && reason.contains("back to offset"), "{reason}");
    let refused = link.mirror.accept_loss(&topic).await.unwrap_err().to_string();
    assert!(refused.contains("offset 5") && link.halted(&topic.topic).await.is_ok(), "{refused}");
    // Whoever accepts it keeps what the target has and goes on behind it.
    link.mirror.accept_loss(&later).await.unwrap();
    link.caught_up(&source, &target, &names[1..]).await.unwrap();
    let after = [RawLog::read(&target, &topic).await.unwrap(), RawLog::read(&target, &later).await.unwrap()];
    assert_eq!(after[0], before[0]);
    assert_eq!((after[1].high_watermark, &after[1].batches[..1]), (30, &before[1].batches[..]));
    link.stop().await.unwrap();
    broker.stop().await;
}

/// Takes the records of a partition while its broker is down; the topic's id stays.
fn forget(partition: &Path) {
    for entry in std::fs::read_dir(partition).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "partition.metadata") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A source that is slow to answer and a small bound on memory: what is in flight stays below the bound.
async fn memory_and_bandwidth_stay_within_their_bounds(kafka: &Kafka) {
    let topic = "bounded";
    let source = connect(&kafka.bootstrap()).await.unwrap();
    create_topic(&source, NewTopic::new(topic, 2)).await.unwrap();
    let mut bytes = 0;
    for id in partitions(&source, topic).await.unwrap() {
        for _ in 0..20 {
            produce(&source, &id, 400).await.unwrap();
        }
        bytes += RawLog::read(&source, &id).await.unwrap().bytes().len() as u64;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), 0).await.unwrap();
    let target = connect(&broker.address().to_string()).await.unwrap();
    let mut options = LinkOptions { bandwidth_bytes_per_s: bytes / 4, ..LinkOptions::default() };
    options.limits.mirror_in_flight_bytes_max = 100_000;
    let started = towpath_env::Env::real();
    let link = Link::start_with(options, &source, &target, &[topic]).await.unwrap();
    let mut largest = 0;
    let complete = wait::until("the mirror to be complete", CAUGHT_UP_MAX, async || {
        Ok((ends(&target, topic).await? == [8_000, 8_000]).then_some(()))
    });
    // An append is in flight for some milliseconds.
    let watch = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        loop {
            looks.tick().await;
            link.mirror.observe();
            largest = largest.max(link.metrics.in_flight_bytes.get());
        }
    };
    tokio::select! {
        complete = complete => complete.unwrap(),
        () = watch => unreachable!(),
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(3), "4 s at the bandwidth asked for, took {took:?}");
    assert!((1..=100_000).contains(&largest), "{largest}");
    assert!(link.metrics.held_back_seconds.get() > 1.0);
    link.stop().await.unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_leave_no_hole_and_no_duplicate_and_lost_records_are_noticed() {
    let mut kafka = Pool::shared().lease(KafkaOptions::new("3.9.1")).await.unwrap();
    the_target_and_the_linker_die_in_turn(&kafka).await;
    memory_and_bandwidth_stay_within_their_bounds(&kafka).await;
    a_source_that_lost_records_halts_the_mirror(&mut kafka).await;
    Pool::shared().give_back(kafka);
}
