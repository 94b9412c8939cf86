//! From the moment a write is meant to be sent to its acknowledgement, at three paces, beside what the device takes.

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;
use towpath_env::Env;

use super::super::device::syncs_ms;
use super::super::load::batches::Batches;
use super::super::load::open::{Open, Write};
use super::super::results::{Metric, Values, Who};
use super::super::statistics::Latency;
use super::super::turn::{Turn, latency_values, values};
use super::{PARTITIONS, RECORD_BYTES, SMALL_BATCH_BYTES, Scenario};

const WHO: &[Who] = &[Who::Towpath, Who::Kafka, Who::KafkaFsync, Who::Device];

const METRICS: &[Metric] = &[
    Metric::less("p50_ms", "p50, ms"),
    Metric::less("p99_ms", "p99, ms"),
    Metric::less("p999_ms", "p99.9, ms"),
    Metric::context("max_ms", "max, ms"),
    Metric::less("cpu_s_per_gb", "broker CPU-s per GB"),
    Metric::less("peak_mb", "broker memory, peak MB"),
    Metric::context("reached_mb_s", "reached, MB/s"),
    Metric::context("late_p99_ms", "client late, p99 ms"),
    Metric::context("client_share", "client, cores"),
];

const ABOUT: &str = "Six producers write batches of 16 KB to six partitions at a fixed pace, acks=all. Latency runs \
    from the time at which a write was meant to be sent. The device: write and fdatasync of the same size at the same \
    pace, in a file filled before. A round has 500 writes at this pace: their p99.9 is the slowest of them.";

pub const AT_1: Scenario = Scenario {
    name: "ack-1",
    title: "Acknowledgement at 1 MB/s",
    about: ABOUT,
    who: WHO,
    metrics: METRICS,
    run: |turn| run(turn, 1.0),
};

pub const AT_10: Scenario = Scenario {
    name: "ack-10",
    title: "Acknowledgement at 10 MB/s",
    about: "As ack-1, ten times as fast: 5,000 writes in a round.",
    run: |turn| run(turn, 10.0),
    ..AT_1
};

pub const AT_50: Scenario = Scenario {
    name: "ack-50",
    title: "Acknowledgement at 50 MB/s",
    about: "As ack-10, five times as fast.",
    run: |turn| run(turn, 50.0),
    ..AT_1
};

fn run<'a>(turn: &'a mut Turn<'_>, mb_s: f64) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(async move {
        match turn.who {
            Who::Device => device(turn, mb_s).await,
            _ => broker(turn, mb_s).await,
        }
    })
}

async fn broker(turn: &Turn<'_>, mb_s: f64) -> Result<Values> {
    let (topic, env) = (turn.topic(), Env::real());
    turn.create(&topic, PARTITIONS).await?;
    let batches = Batches::new(RECORD_BYTES, SMALL_BATCH_BYTES)?;
    let load = Open {
        topic: &topic,
        partitions: PARTITIONS,
        batches: &batches,
        mb_s,
        length: turn.sizes.paced,
        env: &env,
    };
    let meter = turn.meter().await?;
    let writes = load.write(turn.client()?).await?;
    let cost = meter.end(turn).await?;
    turn.delete(&topic).await?;
    let gb = writes.len() as f64 * batches.value_bytes as f64 / 1e9;
    let mut told = latency_values("", writes.iter().map(Write::ack_ms).collect());
    told.extend(values([
        ("cpu_s_per_gb", cost.broker_cpu_s / gb),
        ("peak_mb", cost.peak_mb),
        ("reached_mb_s", gb * 1e3 / seconds(&writes)),
        ("late_p99_ms", Latency::of(writes.iter().map(Write::late_ms).collect()).p99),
        ("client_share", cost.client_share),
    ]));
    Ok(told)
}

/// From the first write to the last acknowledgement.
fn seconds(writes: &[Write]) -> f64 {
    let first = writes.iter().map(|write| write.intended).min().unwrap_or_default();
    let last = writes.iter().map(|write| write.acked).max().unwrap_or_default();
    (last - first).as_secs_f64()
}

async fn device(turn: &Turn<'_>, mb_s: f64) -> Result<Values> {
    let (folder, length) = (turn.scratch.to_owned(), turn.sizes.paced / 2);
    super::super::memory::settle(&folder).await?;
    let bytes = SMALL_BATCH_BYTES;
    let took = tokio::task::spawn_blocking(move || syncs_ms(&folder, bytes, mb_s, length));
    Ok(latency_values("", took.await.context("the device's thread")??))
}
