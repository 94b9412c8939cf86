//! Counters of the linking service, in Prometheus form.

use prometheus::{Counter, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

use crate::moves::GroupGauges;

/// Counters of one link.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    /// Where these are registered; the link's other parts register theirs there too.
    pub registry: Registry,
    /// Of the family's groups.
    pub groups: GroupGauges,
    /// Bytes of record batches that the source sent.
    pub fetched_bytes: IntCounter,
    /// Bytes of record batches that the target acknowledged.
    pub mirrored_bytes: IntCounter,
    /// Time from fetch request to answer, long polls included.
    pub fetch_seconds: Histogram,
    /// Time not fetched, for the bandwidth bound or because the source was slow.
    pub held_back_seconds: Counter,
    /// Time not written, because the target asked for a pause.
    pub target_held_back_seconds: Counter,
    /// Requests to the source that failed and are repeated.
    pub source_errors: IntCounter,
    /// Requests to the target that failed and are repeated.
    pub target_errors: IntCounter,
    /// Partitions that are halted.
    pub halted_partitions: IntGauge,
    /// Largest lag of a partition, ms; −1 while one was never caught up.
    pub lag_ms: IntGauge,
    /// Offsets behind the source, all partitions.
    pub lag_messages: IntGauge,
    /// Bytes fetched and not yet acknowledged by the target.
    pub in_flight_bytes: IntGauge,
}

impl LinkMetrics {
    /// The counters of `family`, registered once per process and family.
    pub fn register(registry: &Registry, family: &str) -> prometheus::Result<LinkMetrics> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("towpath_linker_{name}"), help).const_label("family", family)
        };
        let counter = |name: &str, help: &str| IntCounter::with_opts(opts(name, help));
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help));
        let metrics = LinkMetrics {
            registry: registry.clone(),
            groups: GroupGauges::register(registry, family)?,
            fetched_bytes: counter("fetched_bytes_total", "Bytes of record batches the source sent")?,
            mirrored_bytes: counter(
                "mirrored_bytes_total",
                "Bytes of record batches the target acknowledged",
            )?,
            fetch_seconds: Histogram::with_opts(HistogramOpts::from(opts(
                "fetch_seconds",
                "Time from fetch to answer, long polls included",
            )))?,
            held_back_seconds: Counter::with_opts(opts(
                "held_back_seconds_total",
                "Time not fetched, for the bandwidth bound or a slow source",
            ))?,
            target_held_back_seconds: Counter::with_opts(opts(
                "target_held_back_seconds_total",
                "Time not written, because the target asked for a pause",
            ))?,
            source_errors: counter(
                "source_errors_total",
                "Requests to the source that failed and are repeated",
            )?,
            target_errors: counter(
                "target_errors_total",
                "Requests to the target that failed and are repeated",
            )?,
            halted_partitions: gauge("halted_partitions", "Partitions that are halted")?,
            lag_ms: gauge("lag_ms", "Largest lag of a partition; -1 while one was never caught up")?,
            lag_messages: gauge("lag_messages", "Offsets behind the source, all partitions")?,
            in_flight_bytes: gauge("in_flight_bytes", "Bytes fetched and not yet acknowledged")?,
        };
        registry.register(Box::new(metrics.fetched_bytes.clone()))?;
        registry.register(Box::new(metrics.mirrored_bytes.clone()))?;
        registry.register(Box::new(metrics.fetch_seconds.clone()))?;
        registry.register(Box::new(metrics.held_back_seconds.clone()))?;
        registry.register(Box::new(metrics.target_held_back_seconds.clone()))?;
        registry.register(Box::new(metrics.source_errors.clone()))?;
        registry.register(Box::new(metrics.target_errors.clone()))?;
        registry.register(Box::new(metrics.halted_partitions.clone()))?;
        registry.register(Box::new(metrics.lag_ms.clone()))?;
        registry.register(Box::new(metrics.lag_messages.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        Ok(metrics)
    }
}
