//! One topic, ten consumers that all read all of it.

use anyhow::Result;
use futures::future::LocalBoxFuture;
use towpath_env::Env;

use super::super::load::batches::Batches;
use super::super::results::{Metric, Values};
use super::super::turn::{Turn, latency_values, values};
use super::{BATCH_BYTES, BROKERS, PARTITIONS, RECORD_BYTES, Scenario, tail};

const MB_S: f64 = 20.0;
const CONSUMERS: usize = 10;

pub const SCENARIO: Scenario = Scenario {
    name: "fan-out",
    title: "One topic to ten consumers",
    about: "Six producers write 20 MB/s in batches of 128 KB to six partitions; ten consumers wait at the end of all of \
            them, 200 MB/s together. Delivered bytes are set against all CPU-seconds of the broker, those of the \
            writes included.",
    who: BROKERS,
    metrics: &[
        Metric::more("mb_per_cpu_s", "delivered MB per broker CPU-s"),
        Metric::less("p50_ms", "write to arrival, p50 ms"),
        Metric::less("p99_ms", "write to arrival, p99 ms"),
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
    let batches = Batches::new(RECORD_BYTES, BATCH_BYTES)?;
    let load = tail::load(turn, (&topic, PARTITIONS), &batches, MB_S, &env);
    let meter = turn.meter().await?;
    let tail = tail::watch(turn, &load, CONSUMERS).await?;
    let cost = meter.end(turn).await?;
    turn.delete(&topic).await?;
    let delivered_mb = tail.milliseconds.len() as f64 * batches.value_bytes as f64 / 1e6;
    let latency = latency_values("", tail.milliseconds);
    let mut told = values([
        ("mb_per_cpu_s", delivered_mb / cost.broker_cpu_s),
        ("peak_mb", cost.peak_mb),
        ("client_share", cost.client_share),
    ]);
    told.extend(latency.into_iter().filter(|(key, _)| key == "p50_ms" || key == "p99_ms"));
    Ok(told)
}
