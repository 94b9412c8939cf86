//! Compaction and merging at the same time.

use super::super::Compactor;
use super::bench::{EAGER, keyed, small};
use crate::partition::Origin;
use crate::partition::merge::{Merged, Merger, Rules};
use crate::partition::tests::{TOPIC, World};

const RULES: Rules = Rules { layers_max: 4, bytes_max: 1 << 20, run_bytes: 1 << 19, generations_max: 2 };

/// Four uploads of two partitions, each with keys that come again.
async fn world() -> World {
    let world = World::with(&EAGER, small).await;
    for _ in 0..4 {
        for index in 0..2 {
            let partition = world.partitions.get(TOPIC, index).unwrap();
            for key in 1..4 {
                let batch = keyed(None, &[(key, Some("x".repeat(300)))]);
                partition.append(batch, Origin::Client).unwrap().durable.await.unwrap();
            }
        }
        world.upload().await;
    }
    world
}

fn ranges(world: &World, partition: i32) -> usize {
    world.metadata.image().segments(TOPIC, partition).unwrap().ranges().len()
}

fn passes(world: &World) -> (u64, u64) {
    let passes = &world.partitions.inner.shared.metrics.compaction.passes;
    (passes.with_label_values(&["done"]).get(), passes.with_label_values(&["changed"]).get())
}

#[tokio::test]
async fn while_a_partition_is_compacted_all_others_are_merged_and_the_pass_is_not_disturbed() {
    let world = world().await;
    let inner = world.partitions.inner.clone();
    let mut compactor = Compactor::new(inner.shared.clone());
    let all = inner.all();
    let mut round = Box::pin(compactor.round(&all[..1]));
    while inner.shared.rewriting.compacting().is_none() {
        assert!(futures::poll!(&mut round).is_pending());
        tokio::task::yield_now().await;
    }
    world.merge().await;
    assert_eq!((ranges(&world, 0), ranges(&world, 1)), (4, 1));
    assert_eq!(passes(&world), (0, 0), "it is still under way");
    assert!(!round.await);
    assert_eq!(passes(&world), (1, 0));
    assert_eq!(inner.shared.rewriting.compacting(), None);
}

#[tokio::test]
async fn a_pass_waits_for_the_merge_of_its_partition_and_for_no_other() {
    let world = world().await;
    let inner = world.partitions.inner.clone();
    let mut merger = Merger::default();
    let mut merge = Box::pin(inner.merge_once(&RULES, &mut merger));
    assert!(futures::poll!(&mut merge).is_pending());
    let mut compactor = Compactor::new(inner.shared.clone());
    let all = inner.all();
    let mut round = Box::pin(compactor.round(&all[..1]));
    for _ in 0..100 {
        assert!(futures::poll!(&mut round).is_pending());
        tokio::task::yield_now().await;
    }
    let id = (TOPIC, 0);
    assert_eq!(inner.shared.rewriting.compacting(), Some(id), "no further merge takes it");
    assert_eq!(merge.await, Merged::Objects(1));
    assert!(!round.await);
    assert_eq!(passes(&world), (1, 0), "what it read was not replaced under it");
    // Of partitions that nobody rewrites there is nothing to wait for.
    let other = inner.shared.rewriting.merge([(TOPIC, 1)].into()).unwrap();
    let turn = inner.shared.rewriting.compact(id).await;
    assert!(inner.shared.rewriting.merge([id].into()).is_none());
    drop((other, turn));
    assert!(inner.shared.rewriting.merge([id].into()).is_some());
}
