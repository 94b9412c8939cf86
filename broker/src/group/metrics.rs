//! The coordinator's metrics.

use prometheus::{IntCounter, IntGauge, Opts, Registry};

/// What the coordinator counts.
#[derive(Clone)]
pub(super) struct GroupMetrics {
    /// `groups`: groups in memory.
    pub groups: IntGauge,
    /// `group_joins_parked`: JoinGroups that wait for their answer, held ones included.
    pub joins_parked: IntGauge,
    /// `group_fetches_parked`: OffsetFetches of held groups that wait for their answer.
    pub fetches_parked: IntGauge,
    /// `offset_commits_total`: positions committed by clients and links.
    pub commits: IntCounter,
    /// `offsets_expired_total`: positions removed by retention (KIP-211) or with their topic.
    pub expired: IntCounter,
}

impl GroupMetrics {
    pub fn new(registry: &Registry) -> Result<GroupMetrics, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(Opts::new(format!("towpath_broker_{name}"), help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::with_opts(Opts::new(format!("towpath_broker_{name}"), help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(GroupMetrics {
            groups: gauge("groups", "Consumer groups in memory")?,
            joins_parked: gauge("group_joins_parked", "JoinGroup requests waiting for their answer")?,
            fetches_parked: gauge("group_fetches_parked", "OffsetFetch requests held until the switch")?,
            commits: counter("offset_commits_total", "Positions committed by clients and links")?,
            expired: counter("offsets_expired_total", "Positions removed by retention or with their topic")?,
        })
    }
}
