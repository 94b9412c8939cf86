//! Transactions come by the mirror, and are compacted once the topic is promoted.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use towpath_wire::batch::{Batch, RecordView, split};

use super::bench::{EAGER, compact, compacted_to, produce, read, read_by, small};
use super::model::{Given, given, latest, written};
use crate::metadata::config::MIRROR_STATE;
use crate::metadata::entry::{ConfigResource, ConfigsAltered, Entry};
use crate::mirror::{MirrorBatches, MirrorIdentity};
use crate::partition::tests::World;
use crate::partition::{Isolation, ReadLimits};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn readers_of_committed_records_see_the_same_before_and_after_and_after_a_restart(
        mut given in proptest::collection::vec(given(), 1..40),
        is_open in proptest::bool::weighted(0.2),
    ) {
        // Markers without a transaction mean nothing.
        let ends = (0..3).map(|producer| Given::Marker { producer, is_abort: producer == 1 });
        given.extend(ends.filter(|_| !is_open));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(committed_stays_committed(&given));
    }
}

async fn mirror(configs: &[(&str, &str)]) -> World {
    let id = uuid::Uuid::from_u128(99).to_string();
    let mut all = vec![
        ("towpath.mirror.link", "l"),
        ("towpath.mirror.source.cluster.id", "c"),
        ("towpath.mirror.source.topic.id", id.as_str()),
        ("towpath.mirror.state", "mirroring"),
    ];
    all.extend_from_slice(&EAGER);
    all.extend_from_slice(configs);
    World::with(&all, small).await
}

async fn append_mirrored(world: &World, batches: &[Batch]) {
    let identity = MirrorIdentity {
        link: "l".to_owned(),
        source_cluster_id: "c".to_owned(),
        source_topic_id: uuid::Uuid::from_u128(99),
    };
    for batch in batches {
        let call = MirrorBatches {
            from_offset: world.partition().offsets().log_end,
            source_leader_epoch: 3,
            source_log_start: 0,
            source_high_watermark: 1_000,
            log_end: -1,
            records: batch.bytes().clone(),
        };
        world.partition().append_mirrored(&identity, call).await.unwrap().durable.await.unwrap();
    }
}

async fn promote(world: &World) {
    let set = BTreeMap::from([(MIRROR_STATE.to_owned(), "promoted".to_owned())]);
    let resource = ConfigResource::Topic("views".to_owned());
    let altered = ConfigsAltered { resource, set, removed: Vec::new() };
    world.metadata.propose(Entry::ConfigsAltered(altered)).await.unwrap();
}

async fn committed_stays_committed(given: &[Given]) {
    let mut world = mirror(&[("delete.retention.ms", "0")]).await;
    let (batches, log) = written(given);
    let (first, second) = batches.split_at(batches.len() / 2);
    append_mirrored(&world, first).await;
    world.upload().await;
    append_mirrored(&world, second).await;
    world.upload().await;
    let (before, _) = read(&world.partition(), 0, Isolation::ReadCommitted).await;
    compact(&world).await;
    assert_eq!(compacted_to(&world), 0, "a mirror follows its source");
    promote(&world).await;
    let last_stable = log.transactions.last_stable(log.log_end);
    compact(&world).await;
    let (after, _) = read(&world.partition(), 0, Isolation::ReadCommitted).await;
    assert_eq!(values(&after), values(&before));
    let (raw, _) = read(&world.partition(), 0, Isolation::ReadUncommitted).await;
    assert!(raw.iter().all(|record| record.offset >= last_stable || after.contains(record)));
    // Of a key that the log has, and behind what is open if anything is.
    produce(&world, &[1]).await;
    world.upload().await;
    let (now, _) = read(&world.partition(), 0, Isolation::ReadCommitted).await;
    assert_eq!(now.len() - after.len(), usize::from(last_stable == log.log_end));
    if last_stable == log.log_end {
        markers_go_too(&mut world, &now).await;
    }
}

/// The last record of each key: what has a value stays, what has none goes behind its horizon.
fn values(records: &[RecordView]) -> BTreeMap<Bytes, (i64, Option<Bytes>)> {
    latest(records).into_iter().filter(|(_, (_, value))| value.is_some()).collect()
}

/// Passes over passes, each after a restart from a snapshot that still knows what was forgotten: the markers of what is
/// gone go too, and nothing else.
async fn markers_go_too(world: &mut World, shown: &[RecordView]) {
    const NEW: u8 = 9;
    let expected = values(shown);
    for _ in 0..3 {
        produce(world, &[NEW]).await;
        world.upload().await;
        compact(world).await;
        nothing_is_kept_in_vain(world).await;
        world.restart().await;
        for bytes_max in [1, 1 << 20] {
            let (records, _) = read_by(bytes_max, &world.partition(), 0, Isolation::ReadCommitted).await;
            let mut found = values(&records);
            assert!(found.remove(&[NEW][..]).is_some());
            assert_eq!(found, expected);
        }
    }
}

/// Of every aborted transaction that the index knows, something is left in the log.
async fn nothing_is_kept_in_vain(world: &World) {
    let partition = world.partition();
    let end = compacted_to(world);
    let whole = ReadLimits { bytes_max: usize::MAX, at_least_one: true };
    let raw = partition.read(0, whole, Isolation::ReadUncommitted).await.unwrap().batches;
    let raw: Vec<Batch> = raw.into_iter().flat_map(split).map(Result::unwrap).collect();
    let state = partition.state.lock();
    for aborted in state.log.transactions.aborted().filter(|aborted| aborted.last_offset < end) {
        let is_its = |batch: &Batch| {
            let within = aborted.first_offset..=aborted.last_offset;
            batch.producer_id() == aborted.producer_id && within.contains(&batch.base_offset())
        };
        assert!(raw.iter().any(is_its), "{aborted:?}");
    }
}
