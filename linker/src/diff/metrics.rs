//! Counters of the diff.

use prometheus::{IntCounter, IntGauge, Opts, Registry};

use crate::error::Side;

/// Counters of the diff of one family.
#[derive(Clone, Debug)]
pub struct DiffMetrics {
    source_bytes: IntCounter,
    target_bytes: IntCounter,
    source_records: IntCounter,
    target_records: IntCounter,
    /// Differences found, all partitions.
    pub differences: IntGauge,
    /// Offsets between what is compared and the source's high watermark, all partitions.
    pub uncompared_records: IntGauge,
    /// Longest time since a partition was compared through the source's high watermark, ms.
    pub uncompared_ms: IntGauge,
    /// Comparisons that failed and are repeated.
    pub errors: IntCounter,
}

impl DiffMetrics {
    /// The counters of `family`, registered once per process and family.
    pub fn register(registry: &Registry, family: &str) -> prometheus::Result<DiffMetrics> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("towpath_linker_diff_{name}"), help).const_label("family", family)
        };
        let counter = |name: &str, side: Side, help: &str| {
            IntCounter::with_opts(opts(name, help).const_label("side", side.to_string()))
        };
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help));
        let bytes = "Bytes of keys and values the diff read";
        let records = "Records the diff read";
        let metrics = DiffMetrics {
            source_bytes: counter("bytes_total", Side::Source, bytes)?,
            target_bytes: counter("bytes_total", Side::Target, bytes)?,
            source_records: counter("records_total", Side::Source, records)?,
            target_records: counter("records_total", Side::Target, records)?,
            differences: gauge("differences", "Differences found, all partitions")?,
            uncompared_records: gauge(
                "uncompared_records",
                "Offsets between what is compared and the source's high watermark, all partitions",
            )?,
            uncompared_ms: gauge(
                "uncompared_ms",
                "Longest time since a partition was compared through the source's high watermark",
            )?,
            errors: IntCounter::with_opts(opts(
                "errors_total",
                "Comparisons that failed and are repeated",
            ))?,
        };
        registry.register(Box::new(metrics.source_bytes.clone()))?;
        registry.register(Box::new(metrics.target_bytes.clone()))?;
        registry.register(Box::new(metrics.source_records.clone()))?;
        registry.register(Box::new(metrics.target_records.clone()))?;
        registry.register(Box::new(metrics.differences.clone()))?;
        registry.register(Box::new(metrics.uncompared_records.clone()))?;
        registry.register(Box::new(metrics.uncompared_ms.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
    }

    pub(super) fn read(&self, side: Side, records: u64, bytes: u64) {
        let (all_records, all_bytes) = match side {
            Side::Source => (&self.source_records, &self.source_bytes),
            Side::Target => (&self.target_records, &self.target_bytes),
        };
        all_records.inc_by(records);
        all_bytes.inc_by(bytes);
    }
}
