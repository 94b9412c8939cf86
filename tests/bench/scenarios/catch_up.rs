//! Consumers that were away: what they read is neither in the broker's memory nor in the page cache.

use anyhow::{Context, Result};
use futures::future::{LocalBoxFuture, try_join_all};
use towpath_env::Env;

use super::super::floor;
use super::super::load::batches::Batches;
use super::super::load::fetch::Reader;
use super::super::memory::{self, drop_cached};
use super::super::results::{Metric, Values, Who};
use super::super::turn::{Turn, values};
use super::{BATCH_BYTES, PARTITIONS, RECORD_BYTES, Scenario};

/// Each reads two of the six partitions.
const CONSUMERS: i32 = 3;
const OTHER: &str = "catch-up-other";
const WHO: &[Who] = &[Who::Towpath, Who::Kafka, Who::Device];

pub const SCENARIO: Scenario = Scenario {
    name: "catch-up",
    title: "Catch-up read",
    about: "1 GB lies in six partitions; another 1 GB was written to another topic after it, so that no broker holds \
            the end of the first in memory. All the broker's files are synced and taken out of the page cache \
            (posix_fadvise); then three consumers read two partitions each from the beginning. Then they read it \
            again, from the page cache. The device: what the kernel takes of one thread that reads a file out of the \
            page cache, sends it, and does nothing else; Kafka has the kernel send from there (sendfile).",
    who: WHO,
    metrics: &[
        Metric::more("cold_mb_s", "from the disk, MB/s"),
        Metric::less("cold_cpu_s_per_gb", "from the disk, broker CPU-s per GB"),
        Metric::more("warm_mb_s", "page cache, MB/s"),
        Metric::less("warm_cpu_s_per_gb", "page cache, broker CPU-s per GB"),
        Metric::less("peak_mb", "broker memory, peak MB"),
        Metric::context("gets_per_gib", "object requests per GiB, no deletions"),
        Metric::context("client_share", "client, cores"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    match turn.who {
        Who::Device => Box::pin(device(turn)),
        _ => Box::pin(measure(turn)),
    }
}

async fn device(turn: &Turn<'_>) -> Result<Values> {
    let (folder, bytes) = (turn.scratch.to_owned(), turn.sizes.bulk_mb as usize * 1_000_000);
    memory::settle(&folder).await?;
    let took = tokio::task::spawn_blocking(move || floor::catch_up(&folder, bytes));
    Ok(values([("warm_cpu_s_per_gb", took.await.context("the device's thread")??)]))
}

async fn measure(turn: &Turn<'_>) -> Result<Values> {
    let batches = Batches::new(RECORD_BYTES, BATCH_BYTES)?;
    let (topic, ends) = turn.filled(PARTITIONS, &batches).await?;
    if turn.round == 1 {
        turn.create(OTHER, PARTITIONS).await?;
        turn.fill(OTHER, PARTITIONS, &batches).await?;
    }
    turn.contender()?.quiet().await?;
    drop_cached(&turn.contender()?.folder).await?;
    let gb = ends.iter().sum::<i64>() as f64 * RECORD_BYTES as f64 / 1e9;
    let meter = turn.meter().await?;
    let cold_s = read(turn, &topic, &ends).await?;
    let cold = meter.end(turn).await?;
    let meter = turn.meter().await?;
    let warm_s = read(turn, &topic, &ends).await?;
    let warm = meter.end(turn).await?;
    let mut told = values([
        ("cold_mb_s", gb * 1e3 / cold_s),
        ("cold_cpu_s_per_gb", cold.broker_cpu_s / gb),
        ("warm_mb_s", gb * 1e3 / warm_s),
        ("warm_cpu_s_per_gb", warm.broker_cpu_s / gb),
        ("peak_mb", cold.peak_mb.max(warm.peak_mb)),
        ("client_share", warm.client_share),
    ]);
    if let Some(requests) = cold.object_requests {
        told.insert("gets_per_gib".to_owned(), requests / gb * 1.073_741_824);
    }
    Ok(told)
}

/// Reads all of it; gives the seconds.
async fn read(turn: &Turn<'_>, topic: &str, ends: &[i64]) -> Result<f64> {
    let mut readers = Vec::new();
    for first in 0..CONSUMERS {
        let mine = (0..PARTITIONS).filter(|partition| partition % CONSUMERS == first);
        let positions = mine.map(|partition| (partition, 0)).collect();
        readers.push(Reader::new(turn.client()?, topic, positions).await?);
    }
    let env = Env::real();
    try_join_all(readers.iter_mut().map(|reader| reader.read_to(ends))).await?;
    Ok(env.elapsed().as_secs_f64())
}
