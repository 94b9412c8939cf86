//! Small records cost a broker that looks at each of them.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use super::super::results::Values;
use super::super::turn::Turn;
use super::bulk::{self, Bulk};
use super::{BATCH_BYTES, PARTITIONS, Scenario, WRITERS};

const RECORD_BYTES: usize = 100;

pub const SCENARIO: Scenario = Scenario {
    name: "small-records",
    title: "Produce, records of 100 B",
    about: "As produce, with records of 100 bytes.",
    who: WRITERS,
    metrics: bulk::METRICS,
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    let bulk = Bulk {
        record_bytes: RECORD_BYTES,
        batch_bytes: BATCH_BYTES,
        partitions: PARTITIONS,
        per_request: 1,
        share: 0.5,
    };
    Box::pin(bulk::measure(turn, bulk))
}
