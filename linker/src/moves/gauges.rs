//! What Prometheus sees of a family's groups: route, fence, way back, lag, alarms.

use prometheus::{IntGaugeVec, Opts, Registry};
use towpath_plans::transition::{GroupState, Route};

use super::GroupStatus;

/// Gauges of one family's groups. Those of the fence exist only while there should be one, so that an alert can tell
/// their absence; all stand still when the service is dead, which is for the alert on absence of the service.
#[derive(Clone, Debug)]
pub struct GroupGauges {
    route: IntGaugeVec,
    fence_confirmed: IntGaugeVec,
    way_back_until: IntGaugeVec,
    lag_messages: IntGaugeVec,
    held_members: IntGaugeVec,
    alarms: IntGaugeVec,
}

impl GroupGauges {
    /// The gauges of `family`, registered once per process and family.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry, family: &str) -> prometheus::Result<GroupGauges> {
        let gauge = |name: &str, help: &str| {
            let opts = Opts::new(format!("towpath_linker_{name}"), help).const_label("family", family);
            let gauge = IntGaugeVec::new(opts, &["group"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(GroupGauges {
            route: gauge(
                "group_route",
                "Where the group may run: 0 source, 1 neither (moving), 2 target, 3 target for good",
            )?,
            fence_confirmed: gauge(
                "fence_confirmed_timestamp_seconds",
                "When the fence at the source was last confirmed; absent where none is held",
            )?,
            way_back_until: gauge(
                "way_back_until_timestamp_seconds",
                "Until when the source holds what the group has not read; absent where no limit is known",
            )?,
            lag_messages: gauge(
                "group_lag_messages",
                "Records the group has not read on the side of its route",
            )?,
            held_members: gauge("group_held_members", "Members and assign() consumers held at the target")?,
            alarms: gauge("group_alarms", "What is out of order with the group now")?,
        })
    }

    /// Shows what was observed last.
    pub fn observe(&self, status: &GroupStatus) {
        let group = [status.record.group.as_str()];
        let route = match (status.record.state, status.record.route()) {
            (GroupState::Completed, _) => 3,
            (_, Route::Source) => 0,
            (_, Route::Draining) => 1,
            (_, Route::Target) => 2,
        };
        self.route.with_label_values(&group).set(route);
        let lag: i64 = status.positions.iter().filter_map(|position| position.lag_messages).sum();
        self.lag_messages.with_label_values(&group).set(lag);
        self.held_members.with_label_values(&group).set(i64::from(status.held_members));
        self.alarms.with_label_values(&group).set(status.alarms.len() as i64);
        show(&self.way_back_until, &group, status.way_back_until_ms);
        if status.record.fence.is_none() {
            show(&self.fence_confirmed, &group, None);
        }
    }

    /// The fence was confirmed at this time, ms since the epoch.
    pub fn fence_confirmed(&self, group: &str, at_ms: i64) {
        show(&self.fence_confirmed, &[group], Some(at_ms));
    }
}

/// A moment in seconds, or nothing at all.
fn show(gauge: &IntGaugeVec, group: &[&str], at_ms: Option<i64>) {
    match at_ms {
        Some(at_ms) => gauge.with_label_values(group).set(at_ms / 1_000),
        // It may never have been there.
        None => drop(gauge.remove_label_values(group)),
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use towpath_plans::transition::{FenceHold, GroupMove};

    use super::*;

    fn status(state: GroupState, fenced: bool) -> GroupStatus {
        let (member_id, instance_id) = ("m".into(), "i".into());
        let hold = FenceHold { member_id, instance_id, generation: 1, since_ms: 0 };
        let fence = fenced.then_some(hold);
        GroupStatus {
            record: GroupMove { state, fence, ..GroupMove::new("views", "ranker", 0) },
            source_members: 0,
            target_members: 0,
            held_members: 2,
            positions: Vec::new(),
            way_back_until_ms: Some(90_000),
            way_back_limited_by: None,
            alarms: Vec::new(),
            observed_ms: 0,
        }
    }

    #[test]
    fn the_fence_is_shown_while_it_is_held_and_absent_when_not() {
        let registry = Registry::new();
        let gauges = GroupGauges::register(&registry, "views").unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let labels = "{family=\"views\",group=\"ranker\"}";
        gauges.fence_confirmed("ranker", 61_500);
        gauges.observe(&status(GroupState::OnTarget, true));
        let fence = format!("towpath_linker_fence_confirmed_timestamp_seconds{labels} 61");
        assert!(text().contains(&fence), "{}", text());
        assert!(text().contains(&format!("towpath_linker_group_route{labels} 2")));
        gauges.observe(&status(GroupState::OnSource, false));
        assert!(!text().contains("towpath_linker_fence_confirmed"), "{}", text());
        assert!(text().contains(&format!("towpath_linker_group_route{labels} 0")));
    }
}
