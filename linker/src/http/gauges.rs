//! The bounds of the service as gauges, beside what is used of them.

use prometheus::{IntGauge, Registry};

use crate::config::Limits;
use crate::error::LinkerError;

/// Registers one gauge per bound, named `towpath_linker_limit_` and the key in the service's file.
///
/// # Errors
/// They are registered already.
pub fn register(registry: &Registry, limits: &Limits) -> Result<(), LinkerError> {
    let broken = |error: prometheus::Error| LinkerError::Bug(format!("metrics of bounds: {error}"));
    let all = [
        ("limit_mirror_in_flight_bytes_max", limits.mirror_in_flight_bytes_max as i64),
        ("limit_fetch_bytes_max", limits.fetch_bytes_max as i64),
        ("limit_fetch_partition_bytes_max", limits.fetch_partition_bytes_max as i64),
        ("limit_fetch_wait_ms", limits.fetch_wait_ms as i64),
        ("limit_topic_check_ms", limits.topic_check_ms as i64),
        ("limit_http_requests_max", limits.http_requests_max as i64),
        ("limit_http_connections_max", limits.http_connections_max as i64),
        ("limit_http_head_ms", limits.http_head_ms as i64),
        ("limit_operations_kept_max", limits.operations_kept_max as i64),
    ];
    for (name, value) in all {
        let help = "A bound of the service's file, in the unit of its name";
        let gauge = IntGauge::new(format!("towpath_linker_{name}"), help).map_err(broken)?;
        gauge.set(value);
        registry.register(Box::new(gauge)).map_err(broken)?;
    }
    Ok(())
}
