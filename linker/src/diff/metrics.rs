//! Counters of the diff.

use prometheus::core::Collector;
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
    /// The counters of `family`, in the place of those that an earlier run of it registered.
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
            errors: IntCounter::with_opts(opts("errors_total", "Comparisons that failed and are repeated"))?,
        };
        let counters =
            [&metrics.source_bytes, &metrics.target_bytes, &metrics.source_records, &metrics.target_records];
        for counter in counters.into_iter().chain([&metrics.errors]) {
            take_place(registry, counter)?;
        }
        for gauge in [&metrics.differences, &metrics.uncompared_records, &metrics.uncompared_ms] {
            take_place(registry, gauge)?;
        }
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

/// Registers `collector` instead of an equal one: a family may be linked, cancelled and linked again.
fn take_place<C: Collector + Clone + 'static>(registry: &Registry, collector: &C) -> prometheus::Result<()> {
    // An error says that there was none.
    let _ = registry.unregister(Box::new(collector.clone()));
    registry.register(Box::new(collector.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_linked_again_counts_anew() {
        let registry = Registry::new();
        DiffMetrics::register(&registry, "views").unwrap().read(Side::Source, 5, 100);
        let again = DiffMetrics::register(&registry, "views").unwrap();
        again.read(Side::Source, 2, 10);
        DiffMetrics::register(&registry, "carts").unwrap();
        let families = registry.gather();
        let records = families.iter().find(|one| one.name() == "towpath_linker_diff_records_total").unwrap();
        let counts: Vec<f64> = records.get_metric().iter().map(|one| one.get_counter().get_value()).collect();
        assert_eq!(counts.iter().sum::<f64>(), 2.0);
    }
}
