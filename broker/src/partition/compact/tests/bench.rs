//! What the tests of compaction share: a broker that compacts a few bytes at a time, and a client that reads it.

use bytes::BytesMut;
use towpath_wire::batch::{Batch, BatchBuilder, RecordView, split};

use super::super::Compactor;
use super::model::shown;
use crate::partition::tests::{NOW_MS, TOPIC, World};
use crate::partition::{Isolation, Origin, Partition, ReadLimits};
use crate::storage::StorageConfig;

/// Everything is worth a pass.
pub(super) const EAGER: [(&str, &str); 2] =
    [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];

pub(super) fn small(config: &mut StorageConfig) {
    config.tail_cache_bytes_max = 0;
    config.read_ahead_bytes = 1;
    config.compact_dirty_bytes_min = 0;
    config.compact_object_bytes_max = 400;
    config.compact_map_bytes_max = 24 * 8;
}

pub(super) async fn compact(world: &World) {
    let inner = &world.partitions.inner;
    let mut compactor = Compactor::new(inner.shared.clone());
    while compactor.round(&inner.all()).await {}
}

pub(super) fn compacted_to(world: &World) -> i64 {
    world.metadata.image().partition(TOPIC, 0).unwrap().compacted_to
}

/// As a client reads: response by response, each with its own list of aborted transactions.
pub(super) async fn read(partition: &Partition, from: i64, isolation: Isolation) -> (Vec<RecordView>, i64) {
    read_by(300, partition, from, isolation).await
}

/// As [`read`], with responses of so many bytes.
pub(super) async fn read_by(
    bytes_max: usize,
    partition: &Partition,
    from: i64,
    isolation: Isolation,
) -> (Vec<RecordView>, i64) {
    let (mut records, mut next) = (Vec::new(), from);
    loop {
        let limits = ReadLimits { bytes_max, at_least_one: true };
        let found = partition.read(next, limits, isolation).await.unwrap();
        let batches: Vec<Batch> = found.batches.into_iter().flat_map(split).map(Result::unwrap).collect();
        let Some(last) = batches.last() else { return (records, next) };
        next = last.next_offset();
        records.extend(shown(&batches, found.aborted).into_iter().filter(|record| record.offset >= from));
    }
}

pub(super) fn keyed(producer: Option<(i64, i32)>, records: &[(u8, Option<String>)]) -> BytesMut {
    let mut builder = BatchBuilder::new(0);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for (key, value) in records {
        builder.append(NOW_MS, Some(&[*key]), value.as_deref().map(str::as_bytes), &[]);
    }
    builder.build().unwrap()
}

pub(super) async fn produce(world: &World, keys: &[u8]) {
    for key in keys {
        let batch = keyed(None, &[(*key, Some(format!("value of {key}")))]);
        world.partition().append(batch, Origin::Client).unwrap().durable.await.unwrap();
    }
}
