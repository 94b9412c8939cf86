//! Through partitions, with uploads, crashes and restarts.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use towpath_shared_log::fault::{Faults, FaultyStore};
use towpath_wire::batch::{Batch, BatchBuilder, RecordView, split};

use super::super::Compactor;
use super::super::dirty::look;
use super::model::{Given, given, latest, shown, written};
use crate::metadata::config::MIRROR_STATE;
use crate::metadata::entry::{ConfigResource, ConfigsAltered, Entry};
use crate::mirror::{MirrorBatches, MirrorIdentity};
use crate::partition::tests::{NOW_MS, TOPIC, World};
use crate::partition::{Isolation, Origin, Partition, ReadLimits};
use crate::storage::{SegmentStore, StorageConfig};

/// Everything is worth a pass.
const EAGER: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];

fn small(config: &mut StorageConfig) {
    config.tail_cache_bytes_max = 0;
    config.read_ahead_bytes = 1;
    config.compact_dirty_bytes_min = 0;
    config.compact_object_bytes_max = 400;
    config.compact_map_bytes_max = 24 * 8;
}

async fn compact(world: &World) {
    let inner = &world.partitions.inner;
    let mut compactor = Compactor::new(inner.shared.clone());
    while compactor.round(&inner.all()).await {}
}

fn compacted_to(world: &World) -> i64 {
    world.metadata.image().partition(TOPIC, 0).unwrap().compacted_to
}

/// As a client reads: response by response, each with its own list of aborted transactions.
async fn read(partition: &Partition, from: i64, isolation: Isolation) -> (Vec<RecordView>, i64) {
    let (mut records, mut next) = (Vec::new(), from);
    loop {
        let limits = ReadLimits { bytes_max: 300, at_least_one: true };
        let found = partition.read(next, limits, isolation).await.unwrap();
        let batches: Vec<Batch> = found.batches.into_iter().flat_map(split).map(Result::unwrap).collect();
        let Some(last) = batches.last() else { return (records, next) };
        next = last.next_offset();
        records.extend(shown(&batches, found.aborted).into_iter().filter(|record| record.offset >= from));
    }
}

fn keyed(producer: Option<(i64, i32)>, records: &[(u8, Option<String>)]) -> BytesMut {
    let mut builder = BatchBuilder::new(0);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for (key, value) in records {
        builder.append(NOW_MS, Some(&[*key]), value.as_deref().map(str::as_bytes), &[]);
    }
    builder.build().unwrap()
}

async fn produce(world: &World, keys: &[u8]) {
    for key in keys {
        let batch = keyed(None, &[(*key, Some(format!("value of {key}")))]);
        world.partition().append(batch, Origin::Client).unwrap().durable.await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Produce {
        producer: Option<u8>,
        records: Vec<(u8, bool)>,
    },
    Upload,
    Compact,
    /// Power loss after so many requests to the store.
    CrashInCompaction(u64),
    Restart,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = proptest::collection::vec((1_u8..7, proptest::bool::weighted(0.8)), 1..4);
    let produce = (proptest::option::of(0_u8..2), records)
        .prop_map(|(producer, records)| Step::Produce { producer, records });
    let step = prop_oneof![
        8 => produce,
        4 => Just(Step::Upload),
        2 => Just(Step::Compact),
        2 => (0_u64..24).prop_map(Step::CrashInCompaction),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..50)
}

type Sent = (i32, Vec<(u8, Option<String>)>, i64);

struct Run {
    world: World,
    store: std::sync::Arc<FaultyStore>,
    /// Everything that was acknowledged, by offset.
    all: Vec<(u8, Option<String>)>,
    /// The last batch of each producer: first sequence, records, base offset.
    sent: HashMap<u8, Sent>,
}

impl Run {
    async fn new() -> Run {
        let env = towpath_env::Env::real();
        let store = FaultyStore::new(std::sync::Arc::new(InMemory::new()), env.clone(), Faults::NONE);
        let world = World::on(store.clone(), env, &EAGER, small).await;
        Run { world, store, all: Vec::new(), sent: HashMap::new() }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Produce { producer, records } => self.produce(producer, &records).await,
            Step::Upload => self.world.upload().await,
            Step::Compact => compact(&self.world).await,
            Step::CrashInCompaction(requests) => {
                self.compact_for(requests).await;
                self.world.crash(|_| true).await;
            }
            Step::Restart => self.world.restart().await,
            Step::Crash => self.world.crash(|_| false).await,
        }
    }

    async fn produce(&mut self, producer: Option<u8>, records: &[(u8, bool)]) {
        let base = self.all.len() as i64;
        let value = |index: usize| format!("{}", base + index as i64);
        let records: Vec<(u8, Option<String>)> = records
            .iter()
            .enumerate()
            .map(|(index, (key, has_value))| (*key, has_value.then(|| value(index))))
            .collect();
        let sequence = |(first, records, _): &Sent| first + records.len() as i32;
        let numbered = producer.map(|id| (id, self.sent.get(&id).map_or(0, sequence)));
        let batch = keyed(numbered.map(|(id, sequence)| (i64::from(id), sequence)), &records);
        let appended = self.world.partition().append(batch, Origin::Client).unwrap();
        assert_eq!(appended.base_offset, base);
        appended.durable.await.unwrap();
        if let Some((id, sequence)) = numbered {
            self.sent.insert(id, (sequence, records.clone(), base));
        }
        self.all.extend(records);
    }

    /// Compacts until so many more requests have come to the store.
    async fn compact_for(&self, requests: u64) {
        let count = || {
            let requests = self.store.requests();
            requests.puts + requests.gets
        };
        let until = count() + requests;
        let inner = self.world.partitions.inner.clone();
        let mut compactor = Compactor::new(inner.shared.clone());
        let partitions = inner.all();
        let mut round = Box::pin(compactor.round(&partitions));
        while count() < until && futures::poll!(&mut round).is_pending() {
            tokio::task::yield_now().await;
        }
    }

    async fn compare(&self) {
        let partition = self.world.partition();
        let offsets = partition.offsets();
        assert_eq!((offsets.log_start, offsets.high_watermark), (0, self.all.len() as i64));
        let (left, next) = read(&partition, 0, Isolation::ReadUncommitted).await;
        assert_eq!(next, offsets.high_watermark, "a reader gets to the end");
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        for record in &left {
            let (key, value) = &self.all[record.offset as usize];
            assert_eq!(record.key.as_deref(), Some(&[*key][..]));
            assert_eq!(&record.value.as_ref().map(text), value);
        }
        let last = self.all.iter().enumerate().map(|(offset, (key, _))| (*key, offset as i64));
        let last: BTreeMap<u8, i64> = last.collect();
        let found: BTreeMap<u8, i64> =
            left.iter().map(|record| (record.key.as_ref().unwrap()[0], record.offset)).collect();
        assert_eq!(found, last, "the last record of each key is there");
        let compacted_to = compacted_to(&self.world);
        let mut keys: Vec<_> =
            left.iter().filter(|one| one.offset < compacted_to).map(|one| &one.key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "below {compacted_to} each key has one record");
        for from in 0..offsets.high_watermark {
            let (behind, _) = read(&partition, from, Isolation::ReadCommitted).await;
            let expected: Vec<_> = left.iter().filter(|one| one.offset >= from).cloned().collect();
            assert_eq!(behind, expected, "from {from}");
        }
        for (id, (sequence, records, base_offset)) in &self.sent {
            let again = keyed(Some((i64::from(*id), *sequence)), records);
            let again = partition.append(again, Origin::Client).unwrap();
            assert_eq!((again.duplicate, again.base_offset), (true, *base_offset));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn through_uploads_passes_crashes_and_restarts_readers_find_the_last_of_each_key(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                let compares = !matches!(step, Step::Produce { .. });
                run.step(step).await;
                if compares {
                    run.compare().await;
                }
            }
            run.world.upload().await;
            compact(&run.world).await;
            run.compare().await;
            assert_eq!(compacted_to(&run.world), run.all.len() as i64, "nothing is left to do");
        });
    }

    /// Transactions come by the mirror, and are compacted once the topic is promoted.
    #[test]
    fn readers_of_committed_records_see_the_same_before_and_after_and_after_a_restart(
        given in proptest::collection::vec(given(), 1..40),
    ) {
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
    // What has a value stays, what has none goes behind its horizon.
    let values = |records: &[RecordView]| {
        let latest = latest(records).into_iter().filter(|(_, (_, value))| value.is_some());
        latest.collect::<BTreeMap<_, _>>()
    };
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

/// Passes over passes, each after a restart from a snapshot that still knows what was forgotten: the markers of what is
/// gone go too, and nothing else.
async fn markers_go_too(world: &mut World, shown: &[RecordView]) {
    let newest = shown.last();
    for _ in 0..3 {
        produce(world, &[9]).await;
        world.upload().await;
        compact(world).await;
        world.restart().await;
        let (records, _) = read(&world.partition(), 0, Isolation::ReadCommitted).await;
        assert!(newest.iter().all(|newest| records.contains(newest)));
    }
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
        assert!(raw.iter().any(is_its), "the index does not grow: {aborted:?}");
    }
}

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
    let world = lazy(&[("min.compaction.lag.ms", "60000"), ("max.compaction.lag.ms", "600000")]).await;
    for (age_s, overdue) in [(120, false), (700, true)] {
        let world = if overdue { &lazy(&[("max.compaction.lag.ms", "600000")]).await } else { &world };
        produce_aged(world, &[1, 2, 3, 4, 5, 6], 900).await;
        world.upload().await;
        compact(world).await;
        produce_aged(world, &[1], age_s).await;
        produce_aged(world, &[2], 90).await;
        world.upload().await;
        let (ratio, is_overdue, due) = is_due(world, 0).await.unwrap();
        assert!(ratio > 0.0 && ratio < 0.7, "{ratio}");
        assert_eq!((is_overdue, due), (overdue, overdue || ratio > 0.5), "{age_s} s old");
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
