//! Metrics of what keeps the store in shape: merging, deletion, the orphan sweep.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::metrics::Names;

/// Metrics of merging, deletion and sweeps.
#[derive(Clone)]
pub struct UpkeepMetrics {
    /// Merges by how they ended (`done`, `failed`).
    pub merge_jobs: IntCounterVec,
    /// Bytes read to be merged.
    pub merge_read_bytes: IntCounter,
    /// Bytes of the objects that merging wrote.
    pub merge_written_bytes: IntCounter,
    /// Duration of one merge, its rests included.
    pub merge_seconds: Histogram,
    /// Objects that the index knows, by how often their bytes were merged.
    pub segment_objects: IntGaugeVec,
    /// Ranges of the index, by how often their bytes were merged.
    pub segment_ranges: IntGaugeVec,
    /// Objects barred that wait for their deletion.
    pub objects_barred: IntGauge,
    /// Objects deleted, by kind (`segment`, `snapshot`, `probe`).
    pub objects_deleted: IntCounterVec,
    /// Objects that a sweep found unreferenced beyond the grace.
    pub orphans: IntCounter,
    /// Sweeps by how they ended (`done`, `failed`).
    pub sweeps: IntCounterVec,
}

impl UpkeepMetrics {
    pub(super) fn register(names: &Names<'_>) -> Result<UpkeepMetrics, prometheus::Error> {
        Ok(UpkeepMetrics {
            merge_jobs: names.counters("merge_jobs_total", "Merges, by how they ended", &["result"])?,
            merge_read_bytes: names.counter("merge_read_bytes_total", "Bytes read to be merged")?,
            merge_written_bytes: names.counter("merge_written_bytes_total", "Bytes written by merging")?,
            merge_seconds: names.seconds("merge_seconds", "One merge, its rests included")?,
            segment_objects: names.gauges("segment_objects", "Segment objects", &["generation"])?,
            segment_ranges: names.gauges("segment_ranges", "Ranges of the index", &["generation"])?,
            objects_barred: names.gauge("objects_barred", "Objects that wait for their deletion")?,
            objects_deleted: names.counters("objects_deleted_total", "Objects deleted", &["kind"])?,
            orphans: names.counter("orphans_found_total", "Unreferenced objects found by sweeps")?,
            sweeps: names.counters("orphan_sweeps_total", "Orphan sweeps, by how they ended", &["result"])?,
        })
    }

    /// Shows objects and ranges by generation.
    pub fn show_census(&self, counts: impl Iterator<Item = (String, i64, i64)>) {
        self.segment_objects.reset();
        self.segment_ranges.reset();
        for (generation, objects, ranges) in counts {
            self.segment_objects.with_label_values(&[&generation]).set(objects);
            self.segment_ranges.with_label_values(&[&generation]).set(ranges);
        }
    }
}
