//! The largest records that Kafka takes by default.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use super::super::results::Values;
use super::super::turn::Turn;
use super::bulk::{self, Bulk};
use super::{PARTITIONS, Scenario, WRITERS};

const RECORD_BYTES: usize = 1_000_000;

pub const SCENARIO: Scenario = Scenario {
    name: "large-records",
    title: "Produce, records of 1 MB",
    about: "As produce, with one record of 1 MB in each batch.",
    who: WRITERS,
    metrics: bulk::METRICS,
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    let bulk = Bulk {
        record_bytes: RECORD_BYTES,
        batch_bytes: RECORD_BYTES,
        partitions: PARTITIONS,
        per_request: 1,
        share: 0.5,
    };
    Box::pin(bulk::measure(turn, bulk))
}
