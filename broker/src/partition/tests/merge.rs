//! Merging, deletion and sweeps on a store, as readers and operators see them.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;
use crate::metadata::entry::TopicDeleted;
use crate::partition::collect::Collector;
use crate::partition::merge::{Merged, Merger, Rules};

const RULES: Rules = Rules { layers_max: 4, bytes_max: 1 << 20, run_bytes: 1 << 19, generations_max: 2 };

pub(super) async fn keys(world: &World, folder: &str) -> Vec<String> {
    let listed = world.store.list(Some(&Path::from(folder))).try_collect::<Vec<_>>().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

fn ranges(world: &World, partition: i32) -> usize {
    world.metadata.image().segments(TOPIC, partition).unwrap().ranges().len()
}

async fn merge_all(world: &World) -> usize {
    let mut merger = Merger::default();
    let mut jobs = 0;
    while world.partitions.inner.merge_once(&RULES, &mut merger).await != Merged::Nothing {
        jobs += 1;
        assert!(jobs < 100, "merging does not end");
    }
    jobs
}

/// A store without a memory of its own, and no grace.
async fn merging_world(configs: &[(&str, &str)]) -> World {
    World::with(configs, |config| {
        config.tail_cache_bytes_max = 0;
        config.delete_grace = Duration::ZERO;
    })
    .await
}

async fn uploads(world: &World, count: usize) -> Vec<(i64, String)> {
    let mut expected = Vec::new();
    for number in 0..count {
        for index in 0..2 {
            let partition = world.partitions.get(TOPIC, index).unwrap();
            let value = format!("value {number} {}", "x".repeat(1_000));
            let appended = partition.append(batch(&[&value]), Origin::Client).unwrap();
            let base_offset = appended.base_offset;
            appended.durable.await.unwrap();
            if index == 0 {
                expected.push((base_offset, value));
            }
        }
        world.upload().await;
    }
    expected
}

#[tokio::test]
async fn what_was_merged_reads_the_same_from_fewer_objects_and_the_sources_are_deleted() {
    let mut world = merging_world(&[]).await;
    let expected = uploads(&world, 16).await;
    assert_eq!((ranges(&world, 0), ranges(&world, 1)), (16, 16));
    // Four jobs of four uploads, and one of what they made.
    assert_eq!(merge_all(&world).await, 5);
    assert_eq!((ranges(&world, 0), ranges(&world, 1)), (1, 1));
    assert_eq!(read_all(&world.partition(), 0).await, expected);
    world.partitions.inner.collect(&mut Collector::default()).await;
    assert_eq!(keys(&world, "segments").await.len(), 1);
    let image = world.metadata.image();
    assert_eq!((image.objects.len(), image.barred.len()), (1, 0));
    world.restart().await;
    assert_eq!(read_all(&world.partition(), 0).await, expected);
}

#[tokio::test]
async fn a_reader_whose_image_is_from_before_looks_again() {
    let world = merging_world(&[]).await;
    let expected = uploads(&world, 4).await;
    let before = world.metadata.image().segments(TOPIC, 0).unwrap().ranges().to_vec();
    merge_all(&world).await;
    world.partitions.inner.collect(&mut Collector::default()).await;
    let shared = &world.partitions.inner.shared;
    // A cold cache, as another broker's reader has.
    let cold = crate::storage::SegmentStore::new(
        world.store.clone(),
        &world.config,
        world.env.clone(),
        shared.metrics.clone(),
    );
    let gone = cold.read(&before[0], 0, 1, ALL).await.unwrap_err();
    assert!(matches!(gone, crate::storage::SegmentError::Gone { .. }));
    assert_eq!(read_all(&world.partition(), 0).await, expected);
}

#[tokio::test]
async fn a_damaged_source_is_left_as_it_is_and_the_others_are_merged() {
    let world = merging_world(&[]).await;
    uploads(&world, 4).await;
    let damaged = world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[1].object;
    let path = Path::from(format!("segments/{damaged}"));
    let mut bytes = world.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[300] ^= 1;
    world.store.put(&path, bytes.into()).await.unwrap();
    let mut merger = Merger::default();
    assert_eq!(world.partitions.inner.merge_once(&RULES, &mut merger).await, Merged::Objects(0));
    assert_eq!(ranges(&world, 0), 4);
    assert_eq!(world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[1].object, damaged);
    uploads(&world, 1).await;
    assert_eq!(world.partitions.inner.merge_once(&RULES, &mut merger).await, Merged::Objects(1));
    let failed = &world.partitions.inner.shared.metrics.upkeep.merge_jobs;
    assert_eq!(failed.with_label_values(&["failed"]).get(), 1);
    assert_eq!(world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[1].object, damaged);
}

#[tokio::test]
async fn merging_in_the_background_is_woken_by_commits_and_idle_asks_the_store_nothing() {
    let env = Env::real();
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let world = World::on(store.clone(), env, &[], |config| config.merge_layers_max = 4).await;
    uploads(&world, 4).await;
    let mut changes = world.metadata.changes();
    let merged = async {
        while ranges(&world, 0) > 1 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), merged).await.unwrap();
    tokio::time::pause();
    let before = store.requests();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(store.requests(), before);
}

#[tokio::test]
async fn a_topic_that_goes_while_it_is_merged_leaves_nothing_behind() {
    let world = merging_world(&[]).await;
    uploads(&world, 4).await;
    let inner = world.partitions.inner.clone();
    let mut merger = Merger::default();
    let mut merge = Box::pin(inner.merge_once(&RULES, &mut merger));
    // Until it has read its sources: then the topic goes, and the rest is for nothing.
    for _ in 0..3 {
        assert!(futures::poll!(&mut merge).is_pending());
        tokio::task::yield_now().await;
    }
    world.metadata.propose(TopicDeleted { topic_id: TOPIC }.into()).await.unwrap();
    merge.await;
    inner.collect(&mut Collector::default()).await;
    assert_eq!(keys(&world, "segments").await, Vec::<String>::new());
    let image = world.metadata.image();
    assert_eq!((image.objects.len(), image.barred.len()), (0, 0));
}

#[tokio::test]
async fn retention_by_size_and_by_time_gives_up_whole_merged_ranges() {
    let world = merging_world(&[("retention.ms", "-1"), ("retention.bytes", "3000")]).await;
    uploads(&world, 6).await;
    merge_all(&world).await;
    assert_eq!(ranges(&world, 0), 3, "four as one, and two");
    world.partitions.inner.retain().await;
    // Without the merged range two are left, less than the limit: it stays whole.
    assert_eq!(world.partition().offsets().log_start, 0);
    uploads(&world, 1).await;
    world.partitions.inner.retain().await;
    assert_eq!((world.partition().offsets().log_start, ranges(&world, 0)), (4, 3));

    let world = merging_world(&[("retention.ms", "60000")]).await;
    let append_at = async |at_ms: i64| {
        let mut builder = BatchBuilder::new(0);
        builder.append(at_ms, Some(b"k"), Some(b"v"), &[]);
        let appended = world.partition().append(builder.build().unwrap(), Origin::Client).unwrap();
        appended.durable.await.unwrap();
        world.upload().await;
    };
    let now_ms = world.env.now_ms();
    for at_ms in [now_ms - 90_000, now_ms - 80_000, now_ms - 70_000, now_ms] {
        append_at(at_ms).await;
    }
    merge_all(&world).await;
    world.partitions.inner.retain().await;
    assert_eq!(world.partition().offsets().log_start, 0, "as old as its youngest record");
    for at_ms in [now_ms - 90_000, now_ms - 80_000, now_ms - 70_000, now_ms - 65_000] {
        append_at(at_ms).await;
    }
    merge_all(&world).await;
    world.partitions.inner.retain().await;
    assert_eq!(world.partition().offsets().log_start, 0, "what lies behind a young range waits for it");
}

#[tokio::test]
async fn what_a_crash_left_between_put_and_commit_is_barred_by_a_sweep_and_deleted_a_grace_later() {
    let env = Env::real();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let world = World::on(store, env, &[], |config| config.delete_grace = Duration::from_millis(1)).await;
    uploads(&world, 1).await;
    let orphan = Path::from(format!("segments/{}", Uuid::from_u128(77)));
    let snapshot = Path::from(format!("snapshots/1/{:020}-{}", 3, Uuid::from_u128(78)));
    let probe = Path::from("probe/of a start that was killed/single");
    let strange = Path::from("segments/somebody's notes");
    for path in [&orphan, &snapshot, &probe, &strange] {
        world.store.put(path, "left behind".into()).await.unwrap();
    }
    let mut collector = Collector::default();
    let inner = &world.partitions.inner;
    let left = async || {
        let segments = keys(&world, "segments").await;
        (
            segments.contains(&orphan.to_string()),
            keys(&world, "snapshots").await.contains(&snapshot.to_string()),
            keys(&world, "probe").await.contains(&probe.to_string()),
        )
    };
    let deadline = world.env.elapsed() + Duration::from_secs(10);
    while left().await != (false, false, false) {
        assert!(world.env.elapsed() < deadline, "{:?}", left().await);
        inner.sweep().await.unwrap();
        inner.collect(&mut collector).await;
        tokio::task::yield_now().await;
    }
    assert!(keys(&world, "segments").await.len() == 2, "what is referred to, and what nobody knows, stay");
    assert!(world.metadata.image().born_floor > 0);
    // The commit that was under way all the time.
    let late = crate::metadata::SegmentCommitted {
        object: crate::metadata::ObjectId(Uuid::from_u128(77)),
        born: 0,
        size_bytes: 1,
        ranges: Vec::new(),
        wal: None,
    };
    world.metadata.propose(late.into()).await.unwrap_err();
}

#[tokio::test]
async fn young_objects_are_no_orphans() {
    let world = World::new(&[]).await;
    let young = Path::from(format!("segments/{}", Uuid::from_u128(77)));
    world.store.put(&young, "being committed".into()).await.unwrap();
    world.partitions.inner.collect(&mut Collector::default()).await;
    assert_eq!(world.metadata.image().barred.len(), 0);
    assert_eq!(keys(&world, "segments").await.len(), 1);
}

#[tokio::test]
async fn a_snapshot_is_not_deleted_while_the_commit_that_names_it_can_still_win() {
    let world = merging_world(&[]).await;
    uploads(&world, 1).await;
    let object = crate::metadata::ObjectId(Uuid::from_u128(78));
    let key = format!("snapshots/1/{:020}-{object}", 3);
    world.store.put(&Path::from(key.as_str()), "state".into()).await.unwrap();
    // Whoever sweeps can't tell anybody that the commit is void.
    world.metadata.close().await;
    let inner = &world.partitions.inner;
    inner.sweep().await.unwrap();
    inner.collect(&mut Collector::default()).await;
    assert_eq!(keys(&world, "snapshots").await, [key.as_str()]);
    // So it wins.
    let metadata = Metadata::open(world.store.clone(), world.env.clone(), 1).await.unwrap();
    let before = metadata.image();
    let trim = crate::metadata::WalTrim {
        node_id: 1,
        epoch: before.broker_epoch(1),
        trimmed_to: before.wal(1).unwrap().trimmed_to,
        position: None,
        snapshot: Some(crate::metadata::SnapshotAt::Object(key.clone())),
    };
    let born = before.version;
    let (size_bytes, ranges) = (1, Vec::new());
    let late = crate::metadata::SegmentCommitted { object, born, size_bytes, ranges, wal: Some(trim) };
    metadata.propose(late.into()).await.unwrap();
    assert_eq!(metadata.image().wal(1).unwrap().snapshot.as_ref().unwrap().key(), Some(key.as_str()));
}

#[tokio::test]
async fn a_broker_that_another_took_over_from_gives_up_nothing_more_and_ends() {
    let world = merging_world(&[("retention.ms", "-1"), ("retention.bytes", "1000")]).await;
    uploads(&world, 4).await;
    let other = Metadata::open(world.store.clone(), world.env.clone(), 1).await.unwrap();
    let own = crate::metadata::BrokerRegistered {
        node_id: 1,
        host: "other".to_owned(),
        port: 9,
        rack: None,
        alone: true,
    };
    other.propose(own.into()).await.unwrap();
    world.partitions.inner.retain().await;
    assert_eq!(world.partition().offsets().log_start, 0);
    assert_eq!(other.refresh().await.unwrap().partition(TOPIC, 0).unwrap().log_start, 0);
    let why = world.partitions.failed().await.to_string();
    assert!(why.contains("other:9"), "{why}");
    // Known by then without asking.
    assert!(world.partitions.inner.shared.is_superseded().await);
}

#[tokio::test(start_paused = true)]
async fn orphans_are_looked_for_at_a_start_a_grace_later_and_then_once_per_interval() {
    let env = Env::seeded(1, 0);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let world = World::on(store, env.clone(), &[], |config| config.sweep_at_start = true).await;
    let sweeps = &world.partitions.inner.shared.metrics.upkeep.sweeps;
    let mut counted = Vec::new();
    for seconds in [1, 590, 60, 80_000, 7_000] {
        env.sleep(Duration::from_secs(seconds)).await;
        counted.push(sweeps.with_label_values(&["done"]).get());
    }
    assert_eq!(counted, [1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn a_search_for_orphans_that_failed_is_made_up_for_in_the_next_round() {
    let env = Env::real();
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let world = World::on(store.clone(), env, &[], |_| {}).await;
    let inner = &world.partitions.inner;
    let sweeps = &inner.shared.metrics.upkeep.sweeps;
    let mut collector = Collector::default();
    let mut counted = Vec::new();
    for refusals in [1_000, 1_000, 0, 0] {
        store.set_faults(Faults { refusals, ..Faults::NONE });
        inner.sweep_when_due(&mut collector).await;
        counted.push(["failed", "done"].map(|result| sweeps.with_label_values(&[result]).get()));
    }
    assert_eq!(counted, [[1, 0], [2, 0], [2, 1], [2, 1]], "the second comes a grace later");
}
