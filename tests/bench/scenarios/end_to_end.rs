//! From the moment a write is meant to be sent to its arrival at a consumer.

use anyhow::Result;
use futures::future::LocalBoxFuture;
use towpath_env::Env;

use super::super::load::batches::Batches;
use super::super::results::{Metric, Values};
use super::super::turn::{Turn, latency_values, values};
use super::{PARTITIONS, RECORD_BYTES, SMALL_BATCH_BYTES, Scenario, WRITERS, tail};

const MB_S: f64 = 10.0;

pub const SCENARIO: Scenario = Scenario {
    name: "end-to-end",
    title: "Produce to consume at 10 MB/s",
    about: "The load of ack-10, and one consumer that waits at the end of all six partitions (fetch.min.bytes 1). \
            Latency runs from the time at which a write was meant to be sent until the consumer has it.",
    who: WRITERS,
    metrics: &[
        Metric::less("p50_ms", "p50, ms"),
        Metric::less("p99_ms", "p99, ms"),
        Metric::less("p999_ms", "p99.9, ms"),
        Metric::context("max_ms", "max, ms"),
        Metric::less("cpu_s_per_gb", "broker CPU-s per GB"),
        Metric::less("peak_mb", "broker memory, peak MB"),
        Metric::context("client_share", "client, cores"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &Turn<'_>) -> Result<Values> {
    let (topic, env) = (turn.topic(), Env::real());
    turn.create(&topic, PARTITIONS).await?;
    let batches = Batches::new(RECORD_BYTES, SMALL_BATCH_BYTES)?;
    let load = tail::load(turn, (&topic, PARTITIONS), &batches, MB_S, &env);
    let meter = turn.meter().await?;
    let tail = tail::watch(turn, &load, 1).await?;
    let cost = meter.end(turn).await?;
    turn.delete(&topic).await?;
    let gb = tail.writes.len() as f64 * batches.value_bytes as f64 / 1e9;
    let mut told = latency_values("", tail.milliseconds);
    told.extend(values([
        ("cpu_s_per_gb", cost.broker_cpu_s / gb),
        ("peak_mb", cost.peak_mb),
        ("client_share", cost.client_share),
    ]));
    Ok(told)
}
