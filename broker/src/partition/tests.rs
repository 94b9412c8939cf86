//! Partitions as their callers see them, on the real metadata, an in-memory store and a disk that may fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use prometheus::Registry;
use towpath_env::Env;
use towpath_wire::batch::{Batch, BatchBuilder, split};
use uuid::Uuid;

use super::*;
use crate::metadata::Metadata;
use crate::metadata::entry::TopicCreated;
use crate::storage::{FaultyFileSystem, Registration, StorageConfig};

/// 2025-01-01.
pub(crate) const NOW_MS: i64 = 1_735_689_600_000;
pub(crate) const TOPIC: Uuid = Uuid::from_u128(7);

mod concurrent;
mod merge;
mod model;
mod panics;
mod registry;
mod replace;
mod requests;
mod rules;
mod stops;
mod takeover;

/// A broker's storage whose process can be restarted.
pub(crate) struct World {
    pub env: Env,
    pub store: Arc<dyn ObjectStore>,
    pub metadata: Metadata,
    pub config: StorageConfig,
    pub partitions: Partitions,
    /// Where the WAL is: a disk that can fail and lose power.
    pub files: FaultyFileSystem,
}

impl World {
    /// One topic with two partitions and these configs.
    pub async fn new(configs: &[(&str, &str)]) -> World {
        World::with(configs, |_| {}).await
    }

    pub async fn with(configs: &[(&str, &str)], change: impl FnOnce(&mut StorageConfig)) -> World {
        World::on(Arc::new(InMemory::new()), Env::real(), configs, change).await
    }

    /// On this store.
    pub async fn on(
        store: Arc<dyn ObjectStore>,
        env: Env,
        configs: &[(&str, &str)],
        change: impl FnOnce(&mut StorageConfig),
    ) -> World {
        let files = FaultyFileSystem::default();
        let metadata = Metadata::open(store.clone(), env.clone(), 1).await.unwrap();
        let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let topic = TopicCreated {
            name: "views".to_owned(),
            id: TOPIC,
            partitions: 2,
            configs: configs.collect::<BTreeMap<_, _>>(),
            internal: false,
        };
        metadata.propose(Entry::TopicCreated(topic)).await.unwrap();
        let mut config = StorageConfig::new(1, "unused");
        config.wal_file_bytes = 256 * 1024;
        config.upload_at_start = false;
        config.sweep_at_start = false;
        // Tests merge by hand.
        config.merge_layers_max = 0;
        change(&mut config);
        let partitions = open(&files, &config, &metadata, (&store, &env)).await;
        World { env, store, metadata, config, partitions, files }
    }

    pub fn partition(&self) -> Arc<Partition> {
        self.partitions.get(TOPIC, 0).unwrap()
    }

    /// Stops and starts again, with nothing but what is durable.
    pub async fn restart(&mut self) {
        self.partitions.close().await;
        self.partitions = open(&self.files, &self.config, &self.metadata, (&self.store, &self.env)).await;
    }

    /// Loses power: of the WAL's unsynced writes those survive that `survives` picks.
    pub async fn crash(&mut self, survives: impl FnMut(usize) -> bool) {
        const SECTOR_BYTES: usize = 32;
        self.stop_uploads().await;
        let after = self.files.crash(SECTOR_BYTES, survives);
        self.files.allow_syncs(None);
        self.files = after;
        self.partitions = open(&self.files, &self.config, &self.metadata, (&self.store, &self.env)).await;
    }

    /// Ends what a process that lost its disk could still do to what survives it.
    pub async fn stop_uploads(&self) {
        self.partitions.inner.stopping.cancel();
        self.partitions.inner.tasks.ended().await;
    }

    /// Merges what four uploads left, and so on.
    pub async fn merge(&self) {
        let rules = crate::partition::merge::Rules {
            layers_max: 4,
            bytes_max: 1 << 20,
            run_bytes: 1 << 19,
            generations_max: 2,
        };
        let mut merger = crate::partition::merge::Merger::default();
        while self.partitions.inner.merge_once(&rules, &mut merger).await
            != crate::partition::merge::Merged::Nothing
        {}
    }

    /// Looks for orphans.
    pub async fn sweep(&self) {
        self.partitions.inner.sweep().await.unwrap();
    }

    pub async fn upload(&self) {
        self.partitions.inner.upload_once().await;
    }
}

async fn open(
    files: &FaultyFileSystem,
    config: &StorageConfig,
    metadata: &Metadata,
    (store, env): (&Arc<dyn ObjectStore>, &Env),
) -> Partitions {
    let registry = Registry::new();
    let outside = (store.clone(), env.clone(), &registry);
    let own = Registration { epoch: metadata.image().broker_epoch(config.node_id), address: String::new() };
    let registered = (metadata.clone(), own);
    let place = WalPlace::Disk(Arc::new(files.clone()));
    Partitions::open(place, config.clone(), registered, outside).await.unwrap()
}

/// A batch of records with these values.
pub(crate) fn batch(values: &[&str]) -> BytesMut {
    let mut builder = BatchBuilder::new(0);
    for value in values {
        builder.append(NOW_MS, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

fn idempotent(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> BytesMut {
    let mut builder = BatchBuilder::new(0).producer(producer_id, epoch, sequence);
    for value in values {
        builder.append(NOW_MS, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

/// Offsets and values of whole batches.
pub(crate) fn contents(batches: &[Bytes]) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in batches.iter().flat_map(|bytes| split(bytes.clone())) {
        for record in batch.unwrap().records(1 << 20).unwrap() {
            let record = record.unwrap();
            let value = record.value.unwrap_or_default();
            found.push((record.offset, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    found
}

pub(crate) const ALL: ReadLimits = ReadLimits { bytes_max: usize::MAX, at_least_one: true };

/// Everything visible from `from` on, over as many reads as it takes.
pub(crate) async fn read_all(partition: &Partition, mut from: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    loop {
        let read = partition.read(from, ALL, Isolation::ReadUncommitted).await.unwrap();
        let Some(last) = read.batches.last() else { return found };
        let last: Batch = split(last.clone()).last().unwrap().unwrap();
        from = last.next_offset();
        found.extend(contents(&read.batches).into_iter().filter(|(offset, _)| *offset < from));
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_read_back_before_and_after_a_restart() {
    let mut world = World::new(&[]).await;
    let first = world.partition().append(batch(&["a", "b"]), Origin::Client).unwrap();
    assert_eq!((first.base_offset, first.last_offset, first.duplicate), (0, 1, false));
    first.durable.await.unwrap();
    let second = world.partition().append(batch(&["c"]), Origin::Client).unwrap();
    assert_eq!(second.base_offset, 2);
    second.durable.await.unwrap();
    let expected = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(read_all(&world.partition(), 0).await, expected);
    world.restart().await;
    assert_eq!(read_all(&world.partition(), 0).await, expected);
    let offsets = world.partition().offsets();
    assert_eq!(offsets, Offsets { log_start: 0, high_watermark: 3, last_stable: 3, log_end: 3 });
    assert_eq!(world.partition().append(batch(&["d"]), Origin::Client).unwrap().base_offset, 3);
}

#[tokio::test]
async fn after_an_upload_and_a_trim_everything_is_still_there_once() {
    let mut world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
    let mut expected = Vec::new();
    for number in 0..50 {
        let value = format!("value-{number}");
        world.partition().append(batch(&[&value]), Origin::Client).unwrap().durable.await.unwrap();
        expected.push((number, value));
        if number % 20 == 19 {
            world.upload().await;
        }
    }
    assert_eq!(read_all(&world.partition(), 0).await, expected);
    for _ in 0..2 {
        world.restart().await;
        assert_eq!(read_all(&world.partition(), 0).await, expected);
        world.upload().await;
    }
    assert_eq!(world.metadata.image().segments(TOPIC, 0).unwrap().ranges().len(), 3);
}

#[tokio::test]
async fn a_duplicate_is_answered_with_its_original_even_after_restarts_and_trims() {
    let mut world = World::new(&[]).await;
    let original = world.partition().append(idempotent(5, 0, 0, &["a", "b"]), Origin::Client).unwrap();
    let again = world.partition().append(idempotent(5, 0, 0, &["a", "b"]), Origin::Client).unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (0, 1, true));
    again.durable.await.unwrap();
    assert_eq!(world.partition().offsets().high_watermark, 2, "the duplicate waited for its original");
    original.durable.await.unwrap();
    for upload in [false, true] {
        if upload {
            world.upload().await;
        }
        world.restart().await;
        let again = world.partition().append(idempotent(5, 0, 0, &["a", "b"]), Origin::Client).unwrap();
        assert_eq!((again.base_offset, again.duplicate), (0, true));
        again.durable.await.unwrap();
    }
    assert_eq!(read_all(&world.partition(), 0).await.len(), 2);
}
