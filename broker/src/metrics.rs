//! The broker's own metrics: what each bound of [`crate::config::Limits`] holds, and what each API costs.
//!
//! Every name begins with `towpath_broker_`. Other rooms register their own on the same registry.

use std::time::Duration;

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::config::Limits;

/// Seconds; from a tail read out of memory to a long poll.
const REQUEST_SECONDS_BUCKETS: [f64; 12] =
    [0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Metrics of the server and of the APIs' files.
#[derive(Clone)]
pub struct ServerMetrics {
    /// `connections`: open client connections.
    pub connections: IntGauge,
    /// `connections_total`: connections ever accepted.
    pub connections_total: IntCounter,
    /// `connections_closed_total{reason}`: why the broker or the client ended them.
    pub connections_closed: IntCounterVec,
    /// `requests_total{api}`.
    pub requests: IntCounterVec,
    /// `request_seconds{api}`: from the whole frame read to the response ready to be written, waits included.
    pub request_seconds: HistogramVec,
    /// `request_bytes_inflight`: request bytes received and not answered.
    pub request_bytes_inflight: IntGauge,
    /// `fetch_bytes_inflight`: fetch response bytes read and not written.
    pub fetch_bytes_inflight: IntGauge,
    /// `received_bytes_total`: request frames.
    pub received_bytes: IntCounter,
    /// `sent_bytes_total`: response frames.
    pub sent_bytes: IntCounter,
    /// `produce_errors_total{error}`: partitions refused, by Kafka error name.
    pub produce_errors: IntCounterVec,
    /// `fetch_sessions`: incremental fetch sessions kept.
    pub fetch_sessions: IntGauge,
    /// `fetch_session_partitions`: partitions in them.
    pub fetch_session_partitions: IntGauge,
    /// `fetch_sessions_evicted_total`.
    pub fetch_sessions_evicted: IntCounter,
    resident: Gauge,
    cpu_seconds: Gauge,
    open_files: Gauge,
}

impl ServerMetrics {
    /// Makes the metrics and registers them; `limits` are exported beside them as `limit{name}`.
    pub fn new(registry: &Registry, limits: &Limits) -> Result<ServerMetrics, prometheus::Error> {
        let make = Maker { registry };
        export_limits(&make, limits)?;
        Ok(ServerMetrics {
            connections: make.gauge("connections", "Open client connections")?,
            connections_total: make.counter("connections_total", "Connections accepted")?,
            connections_closed: make.counters(
                "connections_closed_total",
                "Connections ended, by reason",
                "reason",
            )?,
            requests: make.counters("requests_total", "Requests taken, by API", "api")?,
            request_seconds: make.seconds(
                "request_seconds",
                "Time to answer a request, waits included",
                "api",
            )?,
            request_bytes_inflight: make.gauge("request_bytes_inflight", "Request bytes not yet answered")?,
            fetch_bytes_inflight: make
                .gauge("fetch_bytes_inflight", "Fetch response bytes not yet written")?,
            received_bytes: make.counter("received_bytes_total", "Bytes of request frames")?,
            sent_bytes: make.counter("sent_bytes_total", "Bytes of response frames")?,
            produce_errors: make.counters(
                "produce_errors_total",
                "Partitions of produce requests refused, by Kafka error",
                "error",
            )?,
            fetch_sessions: make.gauge("fetch_sessions", "Incremental fetch sessions")?,
            fetch_session_partitions: make
                .gauge("fetch_session_partitions", "Partitions in incremental fetch sessions")?,
            fetch_sessions_evicted: make
                .counter("fetch_sessions_evicted_total", "Fetch sessions that made room for others")?,
            resident: make.float("resident_bytes", "Resident memory of the process")?,
            cpu_seconds: make.float("cpu_seconds", "User and system time of the process")?,
            open_files: make.float("open_files", "Open file descriptors of the process")?,
        })
    }

    /// Notes one answered request.
    pub fn answered(&self, api: &str, took: Duration) {
        self.requests.with_label_values(&[api]).inc();
        self.request_seconds.with_label_values(&[api]).observe(took.as_secs_f64());
    }

    /// Reads the process's own figures; called at each scrape. A system without `/proc` shows none.
    pub fn refresh_process(&self) {
        if let Ok(statm) = std::fs::read_to_string("/proc/self/statm") {
            let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
            self.resident.set(pages.unwrap_or(0.0) * PAGE_BYTES);
        }
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
            self.cpu_seconds.set(cpu_ticks(&stat).unwrap_or(0) as f64 / TICKS_PER_SECOND);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(files.count() as f64);
        }
    }
}

/// `statm` counts pages; Linux on the platforms we build for has pages of 4 KiB.
const PAGE_BYTES: f64 = 4096.0;
/// `stat` counts in USER_HZ, which Linux fixes at 100 for its interfaces.
const TICKS_PER_SECOND: f64 = 100.0;

/// utime and stime: fields 14 and 15, the second field being in brackets and possibly with blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn export_limits(make: &Maker<'_>, limits: &Limits) -> Result<(), prometheus::Error> {
    let gauges = IntGaugeVec::new(
        Opts::new("towpath_broker_limit", "Configured bounds (limits.* of the configuration)"),
        &["name"],
    )?;
    // The names come from the struct itself, so that a new bound can't be forgotten here.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(limits) {
        for (name, value) in fields {
            gauges.with_label_values(&[&name]).set(value.as_i64().unwrap_or(i64::MAX));
        }
    }
    make.registry.register(Box::new(gauges))
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let metric = Gauge::with_opts(opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::with_opts(opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(opts(name, help), &[label])?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn seconds(&self, name: &str, help: &str, label: &str) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(full_name(name), help).buckets(REQUEST_SECONDS_BUCKETS.to_vec());
        let metric = HistogramVec::new(options, &[label])?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(full_name(name), help)
}

fn full_name(name: &str) -> String {
    format!("towpath_broker_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_exported_by_its_configured_name() {
        let registry = Registry::new();
        let limits = Limits { connections_max: 77, ..Limits::default() };
        ServerMetrics::new(&registry, &limits).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("towpath_broker_limit{name=\"connections_max\"} 77"), "{text}");
        let bounds = serde_json::to_value(&limits).unwrap().as_object().unwrap().len();
        assert_eq!(text.matches("towpath_broker_limit{").count(), bounds);
    }

    #[test]
    fn a_process_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b c) S 1 2 3 4 5 6 7 8 9 10 1200 34 0 0";
        assert_eq!(cpu_ticks(stat), Some(1234));
    }
}
