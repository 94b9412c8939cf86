//! The storage's metrics, one per queue, cache and stage (names `towpath_broker_*`).

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::upkeep::UpkeepMetrics;

/// Metrics of the WAL.
#[derive(Clone)]
pub struct WalMetrics {
    /// Bytes queued, not yet durable (bound: `wal_queue_bytes_max`).
    pub queued_bytes: IntGauge,
    /// Groups made durable: one gathered write and one `fdatasync` each.
    pub groups: IntCounter,
    /// Records made durable.
    pub records: IntCounter,
    /// Bytes made durable.
    pub bytes: IntCounter,
    /// Duration of one group's write and `fdatasync`.
    pub sync_seconds: Histogram,
    /// Files that hold records.
    pub files: IntGauge,
    /// Trimmed files kept for use again (bound: `wal_spare_files_max`).
    pub spare_files: IntGauge,
    /// Files given up after a failed write or `fdatasync`.
    pub failed_files: IntCounter,
    /// Files of a WAL that was given up, put aside; nobody removes them but the operator.
    pub abandoned_files: IntGauge,
    /// 1 while nothing becomes durable: the disk is full, or the store does not answer.
    pub held: IntGauge,
    /// Slots being put into the store (bound: `wal_puts_inflight_max`).
    pub slots_inflight: IntGauge,
    /// Slots in the store that hold records not yet uploaded.
    pub slots: IntGauge,
    /// From the first request for a slot until it is known to be there.
    pub put_seconds: Histogram,
    /// Requests of the object WAL, by kind (`put`, `get`, `delete`, `list`).
    pub requests: IntCounterVec,
    /// Fences put into the way of a predecessor.
    pub fences: IntCounter,
    /// Proofs that nobody had taken over, asked for by whoever needed one.
    pub lease_proofs: IntCounter,
    /// Answers that waited for such a proof.
    pub lease_waits: IntCounter,
}

/// Metrics of log compaction.
#[derive(Clone)]
pub struct CompactionMetrics {
    /// Passes by result: `done`, `changed`, `failed`, `damaged`, `too_large`.
    pub passes: IntCounterVec,
    /// Records by what became of them: `kept`, `removed`, `without_key` (of those removed).
    pub records: IntCounterVec,
    /// Bytes of batches, `read` and `kept`.
    pub bytes: IntCounterVec,
    /// Duration of a pass.
    pub seconds: Histogram,
    /// Largest share of uncompacted bytes of any compacted partition.
    pub dirty_ratio_max: Gauge,
    /// Partitions that are not compacted because damage was found, or a segment that is too large.
    pub uncleanable: IntGauge,
    /// Bytes of the key map of the pass that runs (bound: `compact_map_bytes_max`).
    pub map_bytes: IntGauge,
    /// Bytes of batches that wait to become an object (bounds: `compact_object_bytes_max`, `compact_range_bytes_max`).
    pub buffered_bytes: IntGauge,
}

/// Metrics of tail, caches, segments and partitions.
#[derive(Clone)]
pub struct StorageMetrics {
    /// Of the WAL.
    pub wal: WalMetrics,
    /// Of log compaction.
    pub compaction: CompactionMetrics,
    /// Partitions open.
    pub partitions: IntGauge,
    /// Bytes appended and not yet uploaded (bound: `unuploaded_bytes_max`).
    pub unuploaded_bytes: IntGauge,
    /// Uploaded bytes kept for fetches near the end (bound: `tail_cache_bytes_max`).
    pub tail_cache_bytes: IntGauge,
    /// Bytes of segment pages and indexes in memory (bound: `block_cache_bytes_max`).
    pub block_cache_bytes: IntGauge,
    /// Page look-ups by result (`hit`, `miss`).
    pub block_cache_lookups: IntCounterVec,
    /// Appends refused because a bound was reached, by bound.
    pub held_back: IntCounterVec,
    /// Bytes appended.
    pub appended_bytes: IntCounter,
    /// Bytes read, by where from (`tail`, `segment`).
    pub read_bytes: IntCounterVec,
    /// Of merging, deletion and sweeps.
    pub upkeep: UpkeepMetrics,
    /// Mirror partitions halted.
    pub mirror_halted: IntGauge,
}

impl StorageMetrics {
    /// Registers all of them.
    pub fn register(registry: &Registry) -> Result<StorageMetrics, prometheus::Error> {
        let names = Names(registry);
        let wal = WalMetrics {
            queued_bytes: names.gauge("wal_queued_bytes", "Bytes queued for the WAL, not yet durable")?,
            groups: names.counter("wal_groups_total", "Groups made durable, one fdatasync each")?,
            records: names.counter("wal_records_total", "Records made durable")?,
            bytes: names.counter("wal_bytes_total", "Bytes made durable")?,
            sync_seconds: names.seconds("wal_sync_seconds", "Write and fdatasync of one group")?,
            files: names.gauge("wal_files", "WAL files that hold records")?,
            spare_files: names.gauge("wal_spare_files", "Trimmed WAL files kept for use again")?,
            failed_files: names.counter("wal_failed_files_total", "WAL files given up after an I/O error")?,
            abandoned_files: names.gauge("wal_abandoned_files", "Files of a WAL that was given up")?,
            held: names.gauge("wal_held", "1 while the WAL's disk is full or its store does not answer")?,
            slots_inflight: names.gauge("wal_slots_inflight", "Slots of the object WAL being put")?,
            slots: names.gauge("wal_slots", "Slots of the object WAL with records not yet uploaded")?,
            put_seconds: names.seconds("wal_put_seconds", "From a slot's first request until it is there")?,
            requests: names.counters("wal_requests_total", "Requests of the object WAL", &["kind"])?,
            fences: names.counter("wal_fences_total", "Fences put into the way of a predecessor")?,
            lease_proofs: names.counter("wal_lease_proofs_total", "Proofs that nobody had taken over")?,
            lease_waits: names.counter("wal_lease_waits_total", "Answers that waited for such a proof")?,
        };
        Ok(StorageMetrics {
            wal,
            compaction: names.compaction()?,
            partitions: names.gauge("partitions", "Partitions open")?,
            unuploaded_bytes: names.gauge("unuploaded_bytes", "Bytes appended and not yet uploaded")?,
            tail_cache_bytes: names.gauge("tail_cache_bytes", "Uploaded bytes kept in memory")?,
            block_cache_bytes: names.gauge("block_cache_bytes", "Segment pages and indexes in memory")?,
            block_cache_lookups: names.counters("block_cache_lookups_total", "Page look-ups", &["result"])?,
            held_back: names.counters("appends_held_back_total", "Appends refused at a bound", &["bound"])?,
            appended_bytes: names.counter("appended_bytes_total", "Bytes appended")?,
            read_bytes: names.counters("read_bytes_total", "Bytes read", &["from"])?,
            upkeep: UpkeepMetrics::register(&names)?,
            mirror_halted: names.gauge("mirror_partitions_halted", "Mirror partitions halted")?,
        })
    }
}

/// Makes metrics and registers them, all under one prefix.
pub(super) struct Names<'a>(pub(super) &'a Registry);

impl Names<'_> {
    fn compaction(&self) -> Result<CompactionMetrics, prometheus::Error> {
        let ratio = "towpath_broker_compaction_dirty_ratio_max";
        let dirty_ratio_max =
            Gauge::new(ratio, "Largest share of uncompacted bytes of a compacted partition")?;
        self.0.register(Box::new(dirty_ratio_max.clone()))?;
        Ok(CompactionMetrics {
            passes: self.counters("compaction_passes_total", "Passes of log compaction", &["result"])?,
            records: self.counters("compaction_records_total", "Records seen by compaction", &["result"])?,
            bytes: self.counters("compaction_bytes_total", "Bytes of batches in compaction", &["what"])?,
            seconds: self.seconds("compaction_seconds", "One pass over one partition")?,
            dirty_ratio_max,
            uncleanable: self
                .gauge("compaction_uncleanable_partitions", "Not compacted: damage, or too large")?,
            map_bytes: self.gauge("compaction_map_bytes", "Key map of the pass that runs")?,
            buffered_bytes: self.gauge("compaction_buffered_bytes", "Batches that wait for their object")?,
        })
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::new(format!("towpath_broker_{name}"), help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Opts::new(format!("towpath_broker_{name}"), help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let metric = Gauge::new(format!("towpath_broker_{name}"), help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn seconds_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 14)?;
        let options = HistogramOpts::new(format!("towpath_broker_{name}"), help).buckets(buckets);
        let metric = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::new(format!("towpath_broker_{name}"), help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Opts::new(format!("towpath_broker_{name}"), help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn seconds(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let buckets = prometheus::exponential_buckets(0.000_1, 2.0, 16)?;
        let options = HistogramOpts::new(format!("towpath_broker_{name}"), help).buckets(buckets);
        let metric = Histogram::with_opts(options)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
