//! Random operations with crashes, compared with a model that only appends to a list.

use proptest::prelude::*;

use super::*;

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
    /// Power loss after so many steps of an upload.
    CrashInUpload {
        polls: u8,
        survivors: u64,
    },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let produce = (0..2, proptest::option::of(0_u8..3), 1_u8..4)
        .prop_map(|(index, producer, records)| Step::Produce { index, producer, records });
    let step = prop_oneof![
        12 => produce,
        3 => (0..2, 0_u8..3).prop_map(|(index, producer)| Step::Repeat { index, producer }),
        3 => Just(Step::Await),
        2 => any::<bool>().prop_map(Step::Hold),
        2 => Just(Step::Upload),
        1 => (0..2, 0_u8..9).prop_map(|(index, share)| Step::Delete { index, share }),
        2 => any::<u64>().prop_map(|survivors| Step::Crash { survivors }),
        1 => (0_u8..12, any::<u64>()).prop_map(|(polls, survivors)| Step::CrashInUpload { polls, survivors }),
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
            Step::CrashInUpload { polls, survivors } => {
                self.settle().await;
                let inner = self.world.partitions.inner.clone();
                let mut upload = Box::pin(inner.upload_once());
                for _ in 0..polls {
                    if futures::poll!(&mut upload).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                drop(upload);
                self.crash(survivors).await;
            }
            Step::Restart => {
                self.settle().await;
                self.world.restart().await;
            }
        }
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

async fn run(steps: Vec<Step>) {
    let small = |config: &mut StorageConfig| {
        config.wal_file_bytes = 8 * 1024;
        config.wal_group_bytes_max = 2 * 1024;
        config.tail_cache_bytes_max = 1_000;
        config.block_cache_bytes_max = 4_000;
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
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_acknowledged_record_is_there_once_and_in_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
