//! Producers, readers and uploads at the same time.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

const PRODUCERS: usize = 4;
const BATCHES: usize = 150;

async fn produce(partition: Arc<Partition>, producer: usize) {
    for number in 0..BATCHES {
        let value = format!("{producer}/{number}");
        let records = idempotent(producer as i64, 0, number as i32, &[&value]);
        partition.append(records, Origin::Client).unwrap().durable.await.unwrap();
    }
}

/// Follows the end of a log until `count` records came; each exactly once, in order.
async fn follow(partition: Arc<Partition>, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let next = values.len() as i64;
        partition.wait_past(next, Isolation::ReadUncommitted).await;
        let limits = ReadLimits { bytes_max: 500, at_least_one: true };
        let read = partition.read(next, limits, Isolation::ReadUncommitted).await.unwrap();
        for (offset, value) in contents(&read.batches) {
            assert_eq!(offset, values.len() as i64, "no hole, no record twice");
            values.push(value);
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_everything_happens_at_once() {
    let small = |config: &mut StorageConfig| {
        config.wal_file_bytes = 16 * 1024;
        config.tail_cache_bytes_max = 2_000;
        config.block_cache_bytes_max = 4_000;
        config.segment_bytes = 3_000;
    };
    let mut world = World::with(&[], small).await;
    let count = PRODUCERS * BATCHES;
    let mut readers = Vec::new();
    let mut producers = Vec::new();
    for index in 0..2 {
        let partition = world.partitions.get(TOPIC, index).unwrap();
        readers.push(tokio::spawn(follow(partition.clone(), count)));
        for producer in 0..PRODUCERS {
            producers.push(tokio::spawn(produce(partition.clone(), producer)));
        }
    }
    for producer in producers {
        producer.await.unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    assert!(world.metadata.image().segments(TOPIC, 0).unwrap().ranges().len() > 1, "uploads were going on");
    for survives in [false, true] {
        world.crash(|_| survives).await;
        for (index, seen) in seen.iter().enumerate() {
            let partition = world.partitions.get(TOPIC, index as i32).unwrap();
            let values: Vec<String> =
                read_all(&partition, 0).await.into_iter().map(|(_, value)| value).collect();
            assert_eq!(&values, seen);
            for producer in 0..PRODUCERS {
                let of = values.iter().filter(|value| value.starts_with(&format!("{producer}/")));
                assert_eq!(of.count(), BATCHES);
            }
        }
    }
}

/// Appends until it is stopped; `acked` is one past the last acknowledged offset.
async fn produce_on(partition: Arc<Partition>, acked: Arc<AtomicI64>) {
    for number in 0_i64.. {
        let Ok(appended) = partition.append(batch(&[&number.to_string()]), Origin::Client) else { return };
        if appended.durable.await.is_err() {
            return;
        }
        acked.store(number + 1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crash_right_after_an_upload_loses_nothing_that_was_acknowledged_meanwhile() {
    for _ in 0..20 {
        let mut world = World::with(&[], |config| config.segment_bytes = 500).await;
        let mut tasks = Vec::new();
        let acked: Vec<_> = (0..2).map(|_| Arc::new(AtomicI64::new(0))).collect();
        for (index, acked) in acked.iter().enumerate() {
            let partition = world.partitions.get(TOPIC, index as i32).unwrap();
            tasks.push(tokio::spawn(produce_on(partition, acked.clone())));
        }
        let mut changes = world.metadata.changes();
        while world.metadata.image().objects.len() < 4 {
            changes.changed().await.unwrap();
        }
        world.stop_uploads().await;
        let acked: Vec<i64> = acked.iter().map(|acked| acked.load(Ordering::SeqCst)).collect();
        world.crash(|_| false).await;
        tasks.iter().for_each(|task| task.abort());
        for index in 0..2 {
            let values = read_all(&world.partitions.get(TOPIC, index).unwrap(), 0).await;
            assert!(values.len() as i64 >= acked[index as usize], "{} of {acked:?}", values.len());
            let expected = (0..values.len() as i64).map(|number| (number, number.to_string()));
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
    }
}
