//! How many requests a GiB costs, merging and deletion included. At a thirty-second of the usual sizes: what counts
//! is how segments, slices and runs compare, and so 32 MiB here are what a GiB is there.

use std::time::Duration;

use object_store::memory::InMemory;
use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;
use crate::partition::collect::Collector;
use crate::partition::merge::{Merged, Merger, Rules};
use crate::storage::ObjectMetrics;

const SCALE: usize = 32;
const MIB: usize = 1 << 20;

/// Requests per GiB of a broker with so many partitions.
async fn per_gib(partitions: i32) -> (f64, String) {
    let env = Env::real();
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let metrics = ObjectMetrics::register(&Registry::new()).unwrap();
    let counted = metrics.counted(faulty.clone(), env.clone());
    let world = World::on(counted, env, &[], |config| {
        config.segment_bytes /= SCALE;
        config.merge_bytes_max /= SCALE;
        config.merge_run_bytes /= SCALE;
        config.merge_layers_max = StorageConfig::new(1, "").merge_layers_max;
        config.wal_file_bytes = 4 * MIB;
        config.delete_grace = Duration::ZERO;
    })
    .await;
    let rules = Rules::of(&world.config);
    // By hand, so that nothing else is under way.
    world.stop_uploads().await;
    let id = Uuid::from_u128(99);
    let (name, configs) = ("many".to_owned(), BTreeMap::new());
    let topic = TopicCreated { name, id, partitions, configs, internal: false };
    world.metadata.propose(topic.into()).await.unwrap();
    let before = faulty.requests();
    let value = "x".repeat(world.config.segment_bytes / partitions as usize / 2);
    let (mut merger, mut collector) = (Merger::default(), Collector::default());
    let mut written = 0;
    while written < 32 * MIB {
        let mut waiting = Vec::new();
        let mut bytes = 0;
        while bytes < world.config.segment_bytes {
            for index in 0..partitions {
                let records = batch(&[&value]);
                bytes += records.len();
                let partition = world.partitions.get(id, index).unwrap();
                waiting.push(partition.append(records, Origin::Client).unwrap().durable);
            }
        }
        for durable in waiting {
            durable.await.unwrap();
        }
        written += bytes;
        world.upload().await;
        while world.partitions.inner.merge_once(&rules, &mut merger).await != Merged::Nothing {}
        world.partitions.inner.collect(&mut collector).await;
    }
    let after = faulty.requests();
    let requests = (after.puts + after.gets + after.lists + after.deletes)
        - (before.puts + before.gets + before.lists + before.deletes);
    let of = |kind, verb| metrics.requests.with_label_values(&[kind, verb]).get();
    let kinds = [
        ("segment", "put"),
        ("segment", "get"),
        ("metadata", "put"),
        ("snapshot", "put"),
        ("segment", "delete"),
    ];
    let shares = kinds.map(|(kind, verb)| format!("{kind} {verb} {}", of(kind, verb)));
    let per_gib = requests as f64 / (written as f64 / (32 * MIB) as f64);
    (per_gib, format!("{per_gib:.0} requests per GiB: {}", shares.join(", ")))
}

#[tokio::test]
async fn a_gib_over_six_partitions_is_uploaded_in_runs_that_are_long_enough() {
    let (per_gib, told) = per_gib(6).await;
    // An object and its commit per segment, and what each round of looking for something to delete costs.
    assert!(per_gib <= 70.0, "{told}");
}

#[tokio::test]
async fn a_gib_over_twenty_four_partitions_costs_at_most_two_hundred_requests() {
    let (per_gib, told) = per_gib(24).await;
    assert!(per_gib <= 200.0, "{told}");
}

#[tokio::test]
async fn a_gib_over_a_thousand_partitions_costs_about_twice_as_many() {
    let (per_gib, told) = per_gib(1_000).await;
    assert!(per_gib <= 350.0, "{told}");
}
