//! The figure that Towpath's broker is held against first.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use super::super::results::Values;
use super::super::turn::Turn;
use super::bulk::{self, Bulk};
use super::{BATCH_BYTES, PARTITIONS, RECORD_BYTES, Scenario, WRITERS};

pub const SCENARIO: Scenario = Scenario {
    name: "produce",
    title: "Produce",
    about: "Six producers with five requests in flight each write batches of 128 KB, made before, of records of \
            500 bytes to six partitions, acks=all.",
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
        share: 1.0,
    };
    Box::pin(bulk::measure(turn, bulk))
}
