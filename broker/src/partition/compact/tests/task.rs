//! When a pass is due, and what ends one.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use towpath_wire::batch::BatchBuilder;

use super::super::Compactor;
use super::super::dirty::look;
use super::super::pass::{Interrupted, Pass};
use super::bench::{EAGER, compact, compacted_to, keyed, produce, read, small};
use crate::partition::tests::{NOW_MS, TOPIC, World};
use crate::partition::{Isolation, Origin};
use crate::storage::{SegmentStore, StorageConfig};

#[tokio::test]
async fn what_can_not_be_read_is_not_compacted_and_nothing_is_lost() {
    let world = World::with(&EAGER, small).await;
    produce(&world, &[1, 2, 1]).await;
    world.upload().await;
    let object = world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[0].object;
    let key = Path::from(SegmentStore::segment_key(object));
    let whole = world.store.get(&key).await.unwrap().bytes().await.unwrap();
    let mut damaged = whole.to_vec();
    damaged[70] ^= 1;
    world.store.put(&key, damaged.into()).await.unwrap();
    let inner = world.partitions.inner.clone();
    let metrics = &inner.shared.metrics.compaction;
    let mut compactor = Compactor::new(inner.shared.clone());
    for _ in 0..2 {
        assert!(!compactor.round(&inner.all()).await);
        assert_eq!((compacted_to(&world), metrics.uncleanable.get()), (0, 1));
    }
    assert_eq!(metrics.passes.with_label_values(&["damaged"]).get(), 1, "not again and again");
    produce(&world, &[3, 3]).await;
    world.upload().await;
    let read_on = read(&world.partition(), 3, Isolation::ReadUncommitted).await;
    assert_eq!(read_on.0.len(), 2, "reads go on behind it");
    // Once the log begins behind it, compaction goes on.
    world.partition().delete_records(3).await.unwrap();
    compactor.round(&inner.all()).await;
    assert_eq!((compacted_to(&world), metrics.uncleanable.get()), (5, 0));
    assert_eq!(read(&world.partition(), 3, Isolation::ReadUncommitted).await.0.len(), 1);
}

#[tokio::test]
async fn a_log_whose_end_was_emptied_is_read_to_its_end_and_dated_by_what_is_there() {
    let world = World::with(&[EAGER[0], EAGER[1], ("delete.retention.ms", "0")], small).await;
    produce(&world, &[1, 2]).await;
    let tombstone = keyed(None, &[(1, None)]);
    world.partition().append(tombstone, Origin::Client).unwrap().durable.await.unwrap();
    for _ in 0..2 {
        world.upload().await;
        compact(&world).await;
        produce(&world, &[7]).await;
        world.partition().append(keyed(None, &[(7, None)]), Origin::Client).unwrap().durable.await.unwrap();
    }
    let (left, next) = read(&world.partition(), 0, Isolation::ReadUncommitted).await;
    assert_eq!(
        (left.first().map(|one| one.offset), next),
        (Some(1), world.partition().offsets().high_watermark)
    );
    let found = world.partition().offset_for_time(0).await.unwrap().unwrap();
    assert_eq!(found.offset, 1);
    assert_eq!(world.partition().max_timestamp().await.unwrap().unwrap().offset, 1);
}

#[tokio::test]
async fn what_was_emptied_does_not_count_as_the_newest_record() {
    let world = World::with(&EAGER, small).await;
    let mut emptied = BatchBuilder::new(0).producer(5, 0, 0);
    emptied.append(NOW_MS + 50, Some(&[1]), Some(b"newest, and overwritten"), &[]);
    let emptied = emptied.build().unwrap();
    world.partition().append(emptied, Origin::Client).unwrap().durable.await.unwrap();
    produce(&world, &[1, 2]).await;
    assert_eq!(world.partition().max_timestamp().await.unwrap().unwrap().offset, 0);
    world.upload().await;
    compact(&world).await;
    let found = world.partition().max_timestamp().await.unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (1, NOW_MS));
}

#[tokio::test]
async fn a_pass_whose_segments_changed_is_dropped_and_begun_anew() {
    let world = World::with(&EAGER, small).await;
    produce(&world, &[1, 1, 2]).await;
    world.upload().await;
    produce(&world, &[1, 2]).await;
    world.upload().await;
    let candidate = look(&world.partition(), 0).await.unwrap().unwrap();
    let pass = Pass::new(&candidate);
    world.partition().delete_records(3).await.unwrap();
    let before = world.metadata.image();
    assert_eq!(pass.run().await, Err(Interrupted::Changed));
    let after = world.metadata.image();
    assert_eq!(after.segments(TOPIC, 0), before.segments(TOPIC, 0));
    assert_eq!((compacted_to(&world), after.barred.len()), (0, 1), "what was written for nothing is barred");
    compact(&world).await;
    assert_eq!(compacted_to(&world), 5);
    assert_eq!(read(&world.partition(), 3, Isolation::ReadUncommitted).await.0.len(), 2);
}

#[tokio::test]
async fn memory_does_not_go_on_giving_what_compaction_removed() {
    let roomy = |config: &mut StorageConfig| {
        small(config);
        config.tail_cache_bytes_max = 1 << 20;
    };
    let world = World::with(&EAGER, roomy).await;
    produce(&world, &[1, 2, 1]).await;
    world.upload().await;
    assert_eq!(read(&world.partition(), 0, Isolation::ReadUncommitted).await.0.len(), 3);
    compact(&world).await;
    assert_eq!(read(&world.partition(), 0, Isolation::ReadUncommitted).await.0.len(), 2);
}

async fn lazy(configs: &[(&str, &str)]) -> World {
    let mut all = vec![("cleanup.policy", "compact")];
    all.extend_from_slice(configs);
    World::with(&all, small).await
}

/// Records that are this old now.
async fn produce_aged(world: &World, keys: &[u8], age_s: i64) {
    let mut builder = BatchBuilder::new(0);
    for key in keys {
        builder.append(world.env.now_ms() - age_s * 1_000, Some(&[*key]), Some(b"value"), &[]);
    }
    let batch = builder.build().unwrap();
    world.partition().append(batch, Origin::Client).unwrap().durable.await.unwrap();
}

async fn is_due(world: &World, dirty_bytes_min: u64) -> Option<(f64, bool, bool)> {
    let found = look(&world.partition(), dirty_bytes_min).await.unwrap();
    found.map(|one| (one.dirty_ratio(), one.is_overdue, one.is_due))
}

#[tokio::test]
async fn a_pass_is_due_by_ratio_and_by_age_within_the_topics_limits() {
    let world = lazy(&[("min.compaction.lag.ms", "60000"), ("max.compaction.lag.ms", "600000")]).await;
    assert_eq!(is_due(&world, 0).await, None, "nothing is there");
    produce_aged(&world, &[1, 2, 3, 4], 120).await;
    assert_eq!(is_due(&world, 0).await, None, "nothing is uploaded");
    world.upload().await;
    assert_eq!(is_due(&world, 0).await, Some((1.0, false, true)));
    compact(&world).await;
    assert_eq!(compacted_to(&world), 4);
    produce_aged(&world, &[5], 5).await;
    world.upload().await;
    assert_eq!(is_due(&world, 0).await, None, "all that is new is too young");
    for (age_s, overdue) in [(120, false), (700, true)] {
        let world = lazy(&[("max.compaction.lag.ms", "600000")]).await;
        produce_aged(&world, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], 900).await;
        world.upload().await;
        compact(&world).await;
        // The first of two that wait in one segment; the other is young.
        produce_aged(&world, &[1], age_s).await;
        produce_aged(&world, &[2], 90).await;
        world.upload().await;
        let (ratio, is_overdue, due) = is_due(&world, 0).await.unwrap();
        assert!(ratio > 0.0 && ratio < 0.5, "little waits: {ratio}");
        assert_eq!((is_overdue, due), (overdue, overdue), "{age_s} s old");
    }
}

#[tokio::test]
async fn few_bytes_wait_for_more_or_for_the_age_of_a_segment() {
    const MANY: u64 = 1 << 20;
    for (configs, age_s, due) in [
        (("segment.ms", "60000"), 5, false),
        (("segment.ms", "60000"), 61, true),
        (("segment.bytes", "50"), 5, true),
    ] {
        let world = lazy(&[configs]).await;
        produce_aged(&world, &[1, 1], age_s).await;
        world.upload().await;
        assert_eq!(is_due(&world, MANY).await, Some((1.0, false, due)), "{configs:?} {age_s}");
    }
}

#[tokio::test]
async fn of_a_segment_of_which_too_much_stays_nothing_is_changed_and_its_partition_is_told_of() {
    let mut world = World::with(&EAGER, |config| {
        small(config);
        config.compact_range_bytes_max = 500;
        config.compact_map_bytes_max = 24 * 100;
    })
    .await;
    // Much that is overwritten is no matter.
    produce(&world, &[1; 20]).await;
    world.upload().await;
    compact(&world).await;
    assert_eq!(compacted_to(&world), 20);
    produce(&world, &(2..20).collect::<Vec<u8>>()).await;
    world.upload().await;
    produce(&world, &[1]).await;
    world.upload().await;
    let before = world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[1];
    // It was written under other bounds.
    world.config.unuploaded_bytes_max = 300;
    world.config.wal_queue_bytes_max = 200;
    world.config.merge_bytes_max = 100;
    world.restart().await;
    let inner = world.partitions.inner.clone();
    let mut compactor = Compactor::new(inner.shared.clone());
    for _ in 0..2 {
        assert!(!compactor.round(&inner.all()).await);
    }
    let metrics = &inner.shared.metrics.compaction;
    assert_eq!((compacted_to(&world), metrics.uncleanable.get()), (20, 1));
    assert_eq!(metrics.passes.with_label_values(&["too_large"]).get(), 1, "not again and again");
    assert!(world.metadata.image().segments(TOPIC, 0).unwrap().ranges().contains(&before));
    assert_eq!(metrics.buffered_bytes.get(), 0);
    world.partition().delete_records(38).await.unwrap();
    compactor.round(&inner.all()).await;
    assert_eq!((compacted_to(&world), metrics.uncleanable.get()), (39, 0));
}

#[tokio::test]
async fn what_one_partition_may_gather_while_the_store_is_away_is_not_too_much_of_one_segment() {
    let bounds = |range, unuploaded, queue, merge| {
        let mut config = StorageConfig::new(1, "unused");
        config.compact_range_bytes_max = range;
        (config.unuploaded_bytes_max, config.wal_queue_bytes_max) = (unuploaded, queue);
        config.merge_bytes_max = merge;
        config.compact_range_bytes()
    };
    assert_eq!(bounds(100, 20, 10, 40), 100);
    assert_eq!(bounds(1, 20, 10, 5), 30);
    assert_eq!(bounds(1, 20, 10, 40), 40);
    let world = World::with(&EAGER, |config| {
        small(config);
        config.compact_range_bytes_max = 1;
        config.compact_map_bytes_max = 24 * 100;
    })
    .await;
    produce(&world, &(2..20).collect::<Vec<u8>>()).await;
    produce(&world, &[2]).await;
    world.upload().await;
    compact(&world).await;
    let left = read(&world.partition(), 0, Isolation::ReadUncommitted).await.0.len();
    assert_eq!((compacted_to(&world), left), (19, 18));
}

#[tokio::test]
async fn small_ranges_are_joined_by_a_pass_though_nothing_changes_in_them_and_large_ones_stay() {
    let world = World::with(&EAGER, |config| {
        small(config);
        config.compact_object_bytes_max = 4_000;
        config.compact_map_bytes_max = 24 * 100;
        // Smaller than 400 bytes is small.
        config.merge_run_bytes = 800;
    })
    .await;
    let ranges = || world.metadata.image().segments(TOPIC, 0).unwrap().ranges().to_vec();
    for keys in [&[1][..], &[2], &[3], &[4, 5, 6, 7, 8, 9, 10, 11, 12], &[13]] {
        produce(&world, keys).await;
        world.upload().await;
    }
    let before = ranges();
    assert!(before.iter().map(|range| range.length >= 400).eq([false, false, false, true, false]));
    compact(&world).await;
    let after = ranges();
    assert_eq!(after.len(), 3, "three that are small are one, the large one and the last are as they were");
    assert_eq!(after[1..], before[3..]);
    assert_eq!(read(&world.partition(), 0, Isolation::ReadUncommitted).await.0.len(), 13);
    produce(&world, &[14]).await;
    world.upload().await;
    compact(&world).await;
    assert_eq!(ranges()[..2], after[..2], "nothing is written over and over");
}

#[tokio::test]
async fn a_broker_that_another_took_over_from_compacts_nothing_more() {
    let world = World::with(&EAGER, small).await;
    produce(&world, &[1, 1, 2]).await;
    world.upload().await;
    let (store, env) = (world.store.clone(), world.env.clone());
    let other = crate::metadata::Metadata::open(store, env, 1).await.unwrap();
    let own = crate::metadata::BrokerRegistered {
        node_id: 1,
        host: "other".to_owned(),
        port: 9,
        rack: None,
        alone: true,
    };
    other.propose(own.into()).await.unwrap();
    compact(&world).await;
    assert_eq!(other.refresh().await.unwrap().partition(TOPIC, 0).unwrap().compacted_to, 0);
    assert!(world.partitions.failed().await.to_string().contains("other:9"));
}
