//! Gauges of bounds and groups, as of the moment of the scrape: what is gone is absent, and an alert on absence
//! fires when the service is dead.

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};
use towpath_plans::transition::Route;

use crate::config::Limits;
use crate::moves::GroupStatus;
use crate::service::Service;
use crate::status::FamilyStatus;

/// All of them.
///
/// # Errors
/// A name that is not one: the code rules it out.
pub fn gather(service: &Service) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    limits(&registry, &service.config().limits)?;
    let gauges = Groups::register(&registry)?;
    for running in service.families() {
        let status = FamilyStatus::of(&running);
        for group in &status.groups {
            gauges.set(&status, group);
        }
    }
    Ok(registry.gather())
}

fn limits(registry: &Registry, limits: &Limits) -> prometheus::Result<()> {
    let opts = Opts::new("towpath_linker_limit", "Bounds of the service's file, in the unit of their names");
    let gauge = GaugeVec::new(opts, &["limit"])?;
    let all = [
        ("mirror_in_flight_bytes_max", limits.mirror_in_flight_bytes_max as f64),
        ("fetch_bytes_max", limits.fetch_bytes_max as f64),
        ("fetch_partition_bytes_max", limits.fetch_partition_bytes_max as f64),
        ("fetch_wait_ms", limits.fetch_wait_ms as f64),
        ("topic_check_ms", limits.topic_check_ms as f64),
        ("http_requests_max", limits.http_requests_max as f64),
        ("operations_kept_max", limits.operations_kept_max as f64),
    ];
    for (name, value) in all {
        gauge.with_label_values(&[name]).set(value);
    }
    registry.register(Box::new(gauge))
}

/// Gauges of groups, each labelled with family and group.
struct Groups {
    on_target: GaugeVec,
    fence_held: GaugeVec,
    way_back_seconds: GaugeVec,
    members: GaugeVec,
    held_members: GaugeVec,
    unread: GaugeVec,
    alarms: GaugeVec,
}

impl Groups {
    fn register(registry: &Registry) -> prometheus::Result<Groups> {
        let gauge = |name: &str, help: &str, more: &[&str]| {
            let labels = [&["family", "group"], more].concat();
            let gauge = GaugeVec::new(Opts::new(format!("towpath_linker_group_{name}"), help), &labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Groups {
            on_target: gauge("on_target", "1 while the group's route is target", &[])?,
            fence_held: gauge("fence_held", "1 while the fence member is held; absent without one", &[])?,
            way_back_seconds: gauge(
                "way_back_seconds",
                "Until the source deletes what the group would need there",
                &[],
            )?,
            members: gauge("members", "Live members, without the fence member", &["side"])?,
            held_members: gauge("held_members", "Members held at the target", &[])?,
            unread: gauge("unread_records", "Offsets not read on the side of the route", &[])?,
            alarms: gauge("alarms", "What somebody must look at, see `towpath status`", &[])?,
        })
    }

    fn set(&self, status: &FamilyStatus, group: &GroupStatus) {
        let labels = [status.family.as_str(), group.record.group.as_str()];
        let set = |gauge: &GaugeVec, value: f64| gauge.with_label_values(&labels).set(value);
        set(&self.on_target, f64::from(u8::from(group.record.route() == Route::Target)));
        if group.record.fence.is_some() {
            set(&self.fence_held, 1.0);
        }
        if let Some(until_ms) = group.way_back_until_ms {
            set(&self.way_back_seconds, (until_ms - status.observed_ms) as f64 / 1_000.0);
        }
        for (side, count) in [("source", group.source_members), ("target", group.target_members)] {
            self.members.with_label_values(&[labels[0], labels[1], side]).set(f64::from(count));
        }
        set(&self.held_members, f64::from(group.held_members));
        let unread: Vec<i64> = group.positions.iter().filter_map(|position| position.lag_messages).collect();
        if !unread.is_empty() {
            set(&self.unread, unread.iter().sum::<i64>() as f64);
        }
        set(&self.alarms, group.alarms.len() as f64);
    }
}
