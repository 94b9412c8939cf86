//! Random operations with crashes, compared with a model that only appends to a list.

use proptest::prelude::*;

use super::*;
use crate::partition::collect::Collector;
use crate::partition::merge::{Merger, Rules};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A batch of so many records, from an idempotent producer or from none.
    Produce {
        index: i32,
        producer: Option<u8>,
        records: u8,
    },
    /// An idempotent producer sends its last batch again.
    Repeat {
        index: i32,
        producer: u8,
    },
    /// Everything sent so far is acknowledged.
    Await,
    /// The disk stops syncing, or goes on.
    Hold(bool),
    Upload,
    /// Records below this share (of 8) of what is there are deleted.
    Delete {
        index: i32,
        share: u8,
    },
    /// Power loss; the bits say which unsynced sectors survive.
    Crash {
        survivors: u64,
    },
    /// Neighbouring ranges become one.
    Merge,
    /// What nothing refers to is deleted.
    Collect,
    /// Power loss after so many steps of background work.
    CrashIn {
        work: Work,
        polls: u8,
        survivors: u64,
    },
    Restart,
}

/// What goes on in the background.
#[derive(Clone, Copy, Debug)]
enum Work {
    Upload,
    Merge,
    Collect,
}

const RULES: Rules = Rules { layers_max: 2, bytes_max: 4_000, run_bytes: 8_000, generations_max: 3 };

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let produce = (0..2, proptest::option::of(0_u8..3), 1_u8..4)
        .prop_map(|(index, producer, records)| Step::Produce { index, producer, records });
    let work = prop_oneof![Just(Work::Upload), Just(Work::Merge), Just(Work::Collect)];
    let step = prop_oneof![
        12 => produce,
        3 => (0..2, 0_u8..3).prop_map(|(index, producer)| Step::Repeat { index, producer }),
        3 => Just(Step::Await),
        2 => any::<bool>().prop_map(Step::Hold),
        4 => Just(Step::Upload),
        2 => Just(Step::Merge),
        1 => Just(Step::Collect),
        1 => (0..2, 0_u8..9).prop_map(|(index, share)| Step::Delete { index, share }),
        2 => any::<u64>().prop_map(|survivors| Step::Crash { survivors }),
        3 => (work, 0_u8..16, any::<u64>())
            .prop_map(|(work, polls, survivors)| Step::CrashIn { work, polls, survivors }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a partition must hold.
#[derive(Default)]
struct Model {
    values: Vec<String>,
    log_start: i64,
    /// Everything below was acknowledged.
    acked: i64,
    /// Batches of each producer: first sequence, values, base offset.
    sent: [Vec<(i32, Vec<String>, i64)>; 3],
}

impl Model {
    fn next_sequence(&self, producer: u8) -> i32 {
        let last = self.sent[producer as usize].last();
        last.map_or(0, |(first, values, _)| first + values.len() as i32)
    }

    /// After a crash a prefix is left, which holds at least what was acknowledged.
    fn cut(&mut self, log_end: i64) {
        assert!(log_end >= self.acked, "acknowledged up to {}, left up to {log_end}", self.acked);
        assert!(log_end as usize <= self.values.len());
        self.values.truncate(log_end as usize);
        self.acked = log_end;
        for sent in &mut self.sent {
            sent.retain(|(_, _, base_offset)| *base_offset < log_end);
        }
    }
}

struct Run {
    world: World,
    models: [Model; 2],
    waiting: Vec<Durable>,
    held: bool,
    produced: usize,
}

impl Run {
    fn partition(&self, index: i32) -> Arc<Partition> {
        self.world.partitions.get(TOPIC, index).unwrap()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Produce { index, producer, records } => self.produce(index, producer, records),
            Step::Repeat { index, producer } => self.repeat(index, producer),
            Step::Await => self.settle().await,
            Step::Hold(held) => {
                self.held = held;
                self.world.files.allow_syncs(held.then_some(0));
            }
            Step::Upload => {
                self.settle().await;
                self.world.upload().await;
            }
            Step::Delete { index, share } => {
                let high_watermark = self.partition(index).offsets().high_watermark;
                let before = high_watermark * i64::from(share.min(8)) / 8;
                let log_start = self.partition(index).delete_records(before).await.unwrap();
                let model = &mut self.models[index as usize];
                model.log_start = model.log_start.max(before);
                // Deleted up to the high watermark: acknowledged, in a way.
                model.acked = model.acked.max(before);
                assert_eq!(log_start, model.log_start);
            }
            Step::Crash { survivors } => self.crash(survivors).await,
            Step::Merge => {
                self.work(Work::Merge).await;
                self.settle().await;
                self.compare().await;
            }
            Step::Collect => {
                self.work(Work::Collect).await;
                self.settle().await;
                self.compare().await;
            }
            Step::CrashIn { work, polls, survivors } => {
                self.settle().await;
                let mut working = Box::pin(self.work(work));
                for _ in 0..polls {
                    if futures::poll!(&mut working).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                drop(working);
                self.crash(survivors).await;
            }
            Step::Restart => {
                self.settle().await;
                self.world.restart().await;
            }
        }
    }

    async fn work(&self, work: Work) {
        let inner = &self.world.partitions.inner;
        match work {
            Work::Upload => inner.upload_once().await,
            Work::Merge => drop(inner.merge_once(&RULES, &mut Merger::default()).await),
            Work::Collect => inner.collect(&mut Collector::default()).await,
        }
    }

    /// The store holds what the image refers to, and nothing else.
    async fn account(&self) {
        // What was committed under way may first have to be barred.
        for _ in 0..2 {
            self.work(Work::Collect).await;
        }
        let image = self.world.metadata.image();
        let snapshot = image.wal(1).and_then(|wal| wal.snapshot.as_ref()?.key().map(str::to_owned));
        assert_eq!(super::merge::keys(&self.world, "snapshots").await, Vec::from_iter(snapshot));
        let mut referred: Vec<_> = image.objects.keys().map(|object| format!("segments/{object}")).collect();
        referred.sort();
        let mut held = super::merge::keys(&self.world, "segments").await;
        held.sort();
        assert_eq!(held, referred);
        assert_eq!(image.barred.len(), 0);
    }

    fn produce(&mut self, index: i32, producer: Option<u8>, records: u8) {
        let values: Vec<String> = (0..records).map(|_| self.value()).collect();
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let model = &mut self.models[index as usize];
        let base_offset = model.values.len() as i64;
        let records = match producer {
            Some(id) => idempotent(i64::from(id), 0, model.next_sequence(id), &texts),
            None => batch(&texts),
        };
        if let Some(id) = producer {
            model.sent[id as usize].push((model.next_sequence(id), values.clone(), base_offset));
        }
        model.values.extend(values);
        let appended = self.partition(index).append(records, Origin::Client).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (base_offset, false));
        self.waiting.push(appended.durable);
    }

    fn value(&mut self) -> String {
        self.produced += 1;
        // Small ones are copied beside their frame, large ones are not.
        let size = if self.produced.is_multiple_of(3) { 700 } else { 1 };
        format!("{}-{}", self.produced, "x".repeat(size))
    }

    fn repeat(&mut self, index: i32, producer: u8) {
        let model = &self.models[index as usize];
        let Some((sequence, values, base_offset)) = model.sent[producer as usize].last() else { return };
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let records = idempotent(i64::from(producer), 0, *sequence, &texts);
        let appended = self.partition(index).append(records, Origin::Client).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (*base_offset, true));
        self.waiting.push(appended.durable);
    }

    async fn settle(&mut self) {
        self.held = false;
        self.world.files.allow_syncs(None);
        for durable in self.waiting.drain(..) {
            durable.await.unwrap();
        }
        for (index, model) in self.models.iter_mut().enumerate() {
            model.acked = model.values.len() as i64;
            let offsets = self.world.partitions.get(TOPIC, index as i32).unwrap().offsets();
            assert_eq!(offsets.high_watermark, model.acked);
        }
    }

    async fn crash(&mut self, survivors: u64) {
        self.held = false;
        self.waiting.clear();
        self.world.crash(|unit| survivors >> (unit % 64) & 1 == 1).await;
        for index in 0..2 {
            let log_end = self.partition(index).offsets().log_end;
            self.models[index as usize].cut(log_end);
        }
        self.compare().await;
    }

    /// Everything visible is what the model says, at its offset.
    async fn compare(&self) {
        for (index, model) in self.models.iter().enumerate() {
            let partition = self.partition(index as i32);
            let offsets = partition.offsets();
            assert_eq!((offsets.log_start, offsets.log_end), (model.log_start, model.values.len() as i64));
            let visible = offsets.high_watermark;
            let read = read_all(&partition, model.log_start).await.into_iter();
            let read: Vec<_> = read.filter(|(offset, _)| *offset >= model.log_start).collect();
            let expected =
                (model.log_start..visible).map(|offset| (offset, model.values[offset as usize].clone()));
            let expected: Vec<_> = expected.collect();
            assert_eq!(read, expected);
        }
    }
}

async fn run(steps: Vec<Step>, snapshot_inline_bytes_max: usize) {
    let small = |config: &mut StorageConfig| {
        config.snapshot_inline_bytes_max = snapshot_inline_bytes_max;
        config.wal_file_bytes = 8 * 1024;
        config.wal_group_bytes_max = 2 * 1024;
        config.tail_cache_bytes_max = 1_000;
        config.block_cache_bytes_max = 4_000;
        config.delete_grace = std::time::Duration::ZERO;
    };
    let world = World::with(&[], small).await;
    let mut run = Run { world, models: Default::default(), waiting: Vec::new(), held: false, produced: 0 };
    for step in steps {
        run.step(step).await;
    }
    run.settle().await;
    run.compare().await;
    run.world.upload().await;
    run.world.restart().await;
    run.compare().await;
    run.account().await;
    run.compare().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_acknowledged_record_is_there_once_and_in_order(
        steps in steps(),
        // All in the entry, some, none.
        snapshot_inline_bytes_max in prop_oneof![Just(100_000_usize), Just(300), Just(0)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, snapshot_inline_bytes_max));
    }
}
