//! Closed loads of every shape: throughput, and what it costs the broker.

use anyhow::Result;

use super::super::load::batches::Batches;
use super::super::load::closed::{Closed, Wrote};
use super::super::results::{Metric, Values};
use super::super::turn::{Cost, Turn, values};

/// A load, as data.
pub struct Bulk {
    pub record_bytes: usize,
    pub batch_bytes: usize,
    pub partitions: i32,
    pub per_request: i32,
    /// Of the usual amount.
    pub share: f64,
}

/// Every figure of such a load.
pub const METRICS: &[Metric] = &[
    Metric::more("mb_s", "MB/s"),
    Metric::less("cpu_s_per_gb", "broker CPU-s per GB"),
    Metric::less("peak_mb", "broker memory, peak MB"),
    Metric::context("object_requests_per_gib", "object requests per GiB, no deletions"),
    Metric::context("client_share", "client, cores"),
    Metric::context("retries", "refused, tried again"),
];

/// Writes a topic of this turn's own.
pub async fn measure(turn: &Turn<'_>, bulk: Bulk) -> Result<Values> {
    let topic = turn.topic();
    turn.create(&topic, bulk.partitions).await?;
    let values = measure_on(turn, &topic, bulk).await?;
    turn.delete(&topic).await?;
    Ok(values)
}

/// Writes a topic that is there.
pub async fn measure_on(turn: &Turn<'_>, topic: &str, bulk: Bulk) -> Result<Values> {
    let batches = Batches::new(bulk.record_bytes, bulk.batch_bytes)?;
    let load = Closed {
        topic,
        partitions: bulk.partitions,
        per_request: bulk.per_request,
        batches: &batches,
        bytes: (turn.sizes.bulk_mb as f64 * 1e6 * bulk.share) as u64,
        limit: turn.sizes.closed_max,
    };
    let meter = turn.meter().await?;
    let wrote = load.write(turn.client()?).await?;
    let cost = meter.end(turn).await?;
    Ok(told(&wrote, &cost))
}

/// The figures.
pub fn told(wrote: &Wrote, cost: &Cost) -> Values {
    const GB_PER_GIB: f64 = 1.073_741_824;
    let mut told = values([
        ("mb_s", wrote.mb_s()),
        ("cpu_s_per_gb", cost.broker_cpu_s / wrote.gb()),
        ("peak_mb", cost.peak_mb),
        ("client_share", cost.client_share),
        ("retries", wrote.retries as f64),
    ]);
    if let Some(requests) = cost.object_requests {
        told.insert("object_requests_per_gib".to_owned(), requests / wrote.gb() * GB_PER_GIB);
    }
    told
}
