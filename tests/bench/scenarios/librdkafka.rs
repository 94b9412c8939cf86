//! What remains of it with a client that makes its batches itself.

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;

use super::super::load::librdkafka;
use super::super::results::Values;
use super::super::turn::Turn;
use super::bulk;
use super::{PARTITIONS, RECORD_BYTES, Scenario, WRITERS};

/// Of the usual amount: librdkafka is slower than either broker.
const SHARE: f64 = 0.4;

pub const SCENARIO: Scenario = Scenario {
    name: "produce-librdkafka",
    title: "Produce with librdkafka",
    about: "One idempotent producer of librdkafka (batch.size 128 KB, linger.ms 5) writes records of 500 bytes to \
            six partitions, acks=all. Near one core, the client is the limit.",
    who: WRITERS,
    metrics: bulk::METRICS,
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &Turn<'_>) -> Result<Values> {
    let topic = turn.topic();
    turn.create(&topic, PARTITIONS).await?;
    let meter = turn.meter().await?;
    let (bootstrap, name) = (turn.contender()?.bootstrap.clone(), topic.clone());
    let bytes = (turn.sizes.bulk_mb as f64 * 1e6 * SHARE) as u64;
    let limit = turn.sizes.closed_max;
    let write = move || librdkafka::write(&bootstrap, (&name, PARTITIONS), RECORD_BYTES, bytes, limit);
    let wrote = tokio::task::spawn_blocking(write).await.context("librdkafka")??;
    let cost = meter.end(turn).await?;
    turn.delete(&topic).await?;
    Ok(bulk::told(&wrote, &cost))
}
