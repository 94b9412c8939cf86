//! Whether somebody who reads all of a topic again is felt at its end.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{LocalBoxFuture, try_join};
use towpath_env::Env;
use towpath_tests::process::output_of;

use super::super::load::batches::Batches;
use super::super::memory::drop_cached;
use super::super::results::{Metric, Values};
use super::super::statistics::Latency;
use super::super::turn::{Turn, latency_values, values};
use super::{BATCH_BYTES, PARTITIONS, RECORD_BYTES, SMALL_BATCH_BYTES, Scenario, WRITERS, tail};

const MB_S: f64 = 10.0;
/// Beyond the length of the load.
const REPLAY_GRACE: Duration = Duration::from_secs(60);

pub const SCENARIO: Scenario = Scenario {
    name: "replay",
    title: "Produce to consume at 10 MB/s during a full replay",
    about: "The load and the consumer of end-to-end, on a topic that holds 1 GB already: first alone, then while a \
            process of its own (nice 10, so that the client's core is the tail's) reads the topic from the beginning, \
            out of the page cache, over and over.",
    who: WRITERS,
    metrics: &[
        Metric::less("p50_ms", "p50, ms"),
        Metric::less("p99_ms", "p99, ms"),
        Metric::less("p999_ms", "p99.9, ms"),
        Metric::context("alone_p50_ms", "without replay: p50, ms"),
        Metric::context("alone_p99_ms", "without replay: p99, ms"),
        Metric::context("alone_p999_ms", "without replay: p99.9, ms"),
        Metric::context("slower", "p99 with replay, times without"),
        Metric::more("replay_mb_s", "replay, MB/s"),
        Metric::less("peak_mb", "broker memory, peak MB"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &Turn<'_>) -> Result<Values> {
    let large = Batches::new(RECORD_BYTES, BATCH_BYTES)?;
    let (topic, _) = turn.filled(PARTITIONS, &large).await?;
    let (batches, env) = (Batches::new(RECORD_BYTES, SMALL_BATCH_BYTES)?, Env::real());
    let load = tail::load(turn, (&topic, PARTITIONS), &batches, MB_S, &env);
    turn.meter().await?;
    let alone = Latency::of(tail::watch(turn, &load, 1).await?.milliseconds);
    drop_cached(&turn.contender()?.folder).await?;
    let meter = turn.meter().await?;
    let (tail, replay_mb_s) = try_join(tail::watch(turn, &load, 1), replay(turn, &topic)).await?;
    let cost = meter.end(turn).await?;
    let mut told = latency_values("", tail.milliseconds);
    told.remove("max_ms");
    let p99_ms = told.get("p99_ms").copied().unwrap_or(f64::NAN);
    told.extend(values([
        ("alone_p50_ms", alone.p50),
        ("alone_p99_ms", alone.p99),
        ("alone_p999_ms", alone.p999),
        ("slower", p99_ms / alone.p99),
        ("replay_mb_s", replay_mb_s),
        ("peak_mb", cost.peak_mb),
    ]));
    Ok(told)
}

/// This program as a replaying consumer; gives its MB/s.
async fn replay(turn: &Turn<'_>, topic: &str) -> Result<f64> {
    let length = turn.sizes.paced;
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(std::env::current_exe()?);
    command.args(["replay", &turn.contender()?.bootstrap, topic]);
    command.args([RECORD_BYTES.to_string(), length.as_millis().to_string()]);
    let said = output_of("replay", command, length + REPLAY_GRACE).await?;
    said.trim().parse().with_context(|| format!("the replay says {said}"))
}
