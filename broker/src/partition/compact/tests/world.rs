//! Random operations with crashes at any request of a pass, compared with a model that only appends to a list.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use object_store::memory::InMemory;
use proptest::prelude::*;
use towpath_shared_log::fault::{Faults, FaultyStore};

use super::super::Compactor;
use super::bench::{EAGER, compact, compacted_to, keyed, read, small};
use crate::partition::tests::World;
use crate::partition::{Isolation, Origin};

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
}
