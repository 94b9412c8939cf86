//! The figure that Towpath's broker is held against first.

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;

use super::super::floor;
use super::super::memory;
use super::super::results::{Values, Who};
use super::super::turn::{Turn, values};
use super::bulk::{self, Bulk};
use super::{BATCH_BYTES, PARTITIONS, RECORD_BYTES, Scenario};

const WHO: &[Who] = &[Who::Towpath, Who::Kafka, Who::KafkaFsync, Who::Device];

pub const SCENARIO: Scenario = Scenario {
    name: "produce",
    title: "Produce",
    about: "Six producers with five requests in flight each write batches of 128 KB, made before, of records of \
            500 bytes to six partitions, acks=all. The device: what the kernel takes of one thread that receives as \
            many bytes, writes them to a file with fdatasync and once more to new files with fsync, and does nothing \
            else: the floor under a log that is in an object store of the same machine.",
    who: WHO,
    metrics: bulk::METRICS,
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    let bulk = Bulk {
        record_bytes: RECORD_BYTES,
        batch_bytes: BATCH_BYTES,
        partitions: PARTITIONS,
        per_request: 1,
        share: 1.0,
    };
    match turn.who {
        Who::Device => Box::pin(device(turn)),
        _ => Box::pin(bulk::measure(turn, bulk)),
    }
}

async fn device(turn: &Turn<'_>) -> Result<Values> {
    let (folder, bytes) = (turn.scratch.to_owned(), turn.sizes.bulk_mb as usize * 1_000_000);
    memory::settle(&folder).await?;
    let took = tokio::task::spawn_blocking(move || floor::produce(&folder, bytes, BATCH_BYTES));
    Ok(values([("cpu_s_per_gb", took.await.context("the device's thread")??)]))
}
