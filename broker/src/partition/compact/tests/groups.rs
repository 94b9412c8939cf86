//! `__consumer_offsets` is an ordinary compacted topic.

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::super::Compactor;
use crate::group::{Commit, CommittedOffset, GroupConfig, Groups};
use crate::partition::tests::World;
use crate::server::ClientContext;

fn groups(world: &World) -> Groups {
    let config = GroupConfig { offsets_partitions: 2, ..GroupConfig::default() };
    let (partitions, metadata) = (world.partitions.clone(), world.metadata.clone());
    Groups::open(partitions, metadata, config, world.env.clone(), &Registry::new()).unwrap()
}

async fn commit(groups: &Groups, group: &str, offset: i64) {
    let offsets = vec![CommittedOffset {
        topic: "views".to_owned(),
        partition: 0,
        offset,
        leader_epoch: -1,
        metadata: format!("note {offset}"),
    }];
    let commit = Commit { generation: -1, retention_ms: -1, offsets, ..Commit::default() };
    groups.commit(group, commit).await.remove(0).unwrap();
}

async fn positions(groups: &Groups) -> Vec<String> {
    let client = ClientContext::new(1, "127.0.0.1:5".parse().unwrap(), CancellationToken::new());
    let mut found = Vec::new();
    for group in ["a", "b", "gone"] {
        let fetched = loop {
            match groups.fetch(&client, group, None).await {
                Err(kafka_protocol::ResponseError::CoordinatorLoadInProgress) => {
                    tokio::task::yield_now().await
                }
                fetched => break fetched.unwrap(),
            }
        };
        found.push(format!("{group}: {fetched:?}"));
    }
    found
}

#[tokio::test]
async fn groups_are_the_same_after_their_log_was_compacted() {
    let eager = |config: &mut crate::storage::StorageConfig| {
        config.compact_dirty_bytes_min = 0;
        config.tail_cache_bytes_max = 0;
    };
    let mut world = World::with(&[], eager).await;
    let before = groups(&world);
    for offset in 0..50 {
        for group in ["a", "b", "gone"] {
            commit(&before, group, offset).await;
        }
        if offset % 20 == 10 {
            world.upload().await;
        }
    }
    before.delete("gone").await.unwrap();
    world.upload().await;
    let expected = positions(&before).await;
    assert!(expected[0].contains("note 49"), "{expected:?}");
    before.close().await;
    let inner = world.partitions.inner.clone();
    assert!(!Compactor::new(inner.shared.clone()).round(&inner.all()).await);
    let records = &inner.shared.metrics.compaction.records;
    let (kept, removed) =
        (records.with_label_values(&["kept"]).get(), records.with_label_values(&["removed"]).get());
    assert!(kept < 20 && removed >= 140, "kept {kept}, removed {removed}");
    world.restart().await;
    assert_eq!(positions(&groups(&world)).await, expected);
}
