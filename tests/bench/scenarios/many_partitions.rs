//! A thousand partitions: what each of them costs a broker.

use std::time::Duration;

use anyhow::Result;
use futures::future::LocalBoxFuture;
use towpath_env::Env;

use super::super::load::batches::Batches;
use super::super::load::closed::Closed;
use super::super::results::{Metric, Values};
use super::super::turn::Turn;
use super::bulk::{self, Bulk};
use super::{RECORD_BYTES, Scenario, WRITERS};

/// Spread over so many partitions, batches are small.
const BATCH_BYTES: usize = 8 << 10;
const PER_REQUEST: i32 = 16;

pub const SCENARIO: Scenario = Scenario {
    name: "many-partitions",
    title: "Produce to 1,000 partitions",
    about: "A topic of 1,000 partitions is created, and a batch written to each of them: Kafka then has the files of \
            its indexes in place. Then six producers write to all of them in turn, batches of 8 KB of records of 500 \
            bytes, 16 partitions in a request.",
    who: WRITERS,
    metrics: &[
        Metric::less("create_s", "create, and one batch each, s"),
        Metric::more("mb_s", "MB/s"),
        Metric::less("cpu_s_per_gb", "broker CPU-s per GB"),
        Metric::less("peak_mb", "broker memory, peak MB"),
        Metric::context("object_requests_per_gib", "object requests per GiB, no deletions"),
        Metric::context("client_share", "client, cores"),
        Metric::context("retries", "refused, tried again"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &Turn<'_>) -> Result<Values> {
    let (topic, partitions) = (turn.topic(), turn.sizes.partitions_many);
    turn.contender()?.quiet().await?;
    let env = Env::real();
    turn.create(&topic, partitions).await?;
    let batches = Batches::new(RECORD_BYTES, BATCH_BYTES)?;
    let first = Closed {
        topic: &topic,
        partitions,
        per_request: PER_REQUEST,
        batches: &batches,
        bytes: partitions as u64 * batches.value_bytes,
        limit: Duration::MAX,
    };
    first.write(turn.client()?).await?;
    let create_s = env.elapsed().as_secs_f64();
    let bulk = Bulk {
        record_bytes: RECORD_BYTES,
        batch_bytes: BATCH_BYTES,
        partitions,
        per_request: PER_REQUEST,
        share: 0.25,
    };
    let mut values = bulk::measure_on(turn, &topic, bulk).await?;
    values.insert("create_s".to_owned(), create_s);
    turn.delete(&topic).await?;
    Ok(values)
}
