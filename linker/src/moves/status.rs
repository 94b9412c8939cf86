//! A group as `towpath status` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_plans::transition::Route;
use towpath_wire::client::TopicPartition;
use towpath_wire::private::LinkGroupState;

use super::mover::{GroupStatus, Mover, PositionSeen};
use super::way_back::WayBack;
use crate::error::{LinkerError, Side};
use crate::groups::positions::{Committed, committed};
use crate::groups::route::{held, positions_of};

/// The way back changes slowly, and looking costs a fetch from each partition.
const WAY_BACK_EVERY: Duration = Duration::from_secs(30);

impl Mover {
    /// Looks at both sides; what cannot be seen leaves the last look in place.
    pub(super) async fn look_around(&self) {
        match self.observed().await {
            Ok(status) => {
                self.link.mirror.metrics.groups.observe(&status);
                *self.status.write() = Some(status);
            }
            Err(error) => {
                tracing::info!(
                    group = self.group.name,
                    error = error.one_line(),
                    "the group is not seen whole"
                );
            }
        }
    }

    async fn observed(&self) -> Result<GroupStatus, LinkerError> {
        let client = &self.link.source.client;
        let (seen, at_source, state) = tokio::join!(
            self.fence.look(),
            committed(client, &self.group.name, false),
            self.target.describe()
        );
        let (seen, at_source, state) = (seen?, at_source?, state?);
        let record = self.record();
        let on_target = record.route() == Route::Target;
        let positions = self.seen_positions(&at_source, &state, on_target);
        let way_back = self.way_back_now(&positions).await;
        let held_members = held(&state);
        let live = state.members.iter().filter(|member| !member.held).count() as u32;
        let alarms = self.memory.lock().alarms.values().cloned().collect();
        Ok(GroupStatus {
            record,
            source_members: seen.live.len() as u32,
            target_members: live,
            held_members,
            positions,
            way_back_until_ms: way_back.until_ms,
            way_back_limited_by: way_back.limited_by,
            alarms,
            observed_ms: self.link.env.now_ms(),
        })
    }

    fn seen_positions(
        &self,
        at_source: &Committed,
        state: &LinkGroupState,
        on_target: bool,
    ) -> Vec<PositionSeen> {
        let mut both: BTreeMap<TopicPartition, (Option<i64>, Option<i64>)> = BTreeMap::new();
        for (id, at) in at_source {
            both.entry(id.clone()).or_default().0 = Some(at.offset);
        }
        for at in positions_of(state) {
            both.entry(TopicPartition::new(at.topic, at.partition)).or_default().1 = Some(at.offset);
        }
        let seen = both.into_iter().map(|(id, (source, target))| {
            let ends = self.placed(&id).map(|placed| placed.replicator.positions());
            let lag_messages = ends.and_then(|ends| match on_target {
                true => target.map(|target| (ends.target_log_end - target).max(0)),
                false => source.map(|source| (ends.source_high_watermark - source).max(0)),
            });
            PositionSeen { topic: id.topic, partition: id.partition, source, target, lag_messages }
        });
        seen.collect()
    }

    async fn way_back_now(&self, positions: &[PositionSeen]) -> WayBack {
        let now = self.link.env.elapsed();
        let last = self.memory.lock().way_back.clone();
        if let Some((at, way_back)) = last
            && now < at + WAY_BACK_EVERY
        {
            return way_back;
        }
        let unread: BTreeMap<TopicPartition, i64> = positions
            .iter()
            .filter_map(|at| {
                let id = TopicPartition::new(at.topic.clone(), at.partition);
                self.placed(&id)?;
                let target = at.target.and_then(|offset| self.translate(Side::Target, &id, offset).ok());
                Some((id, target.or(at.source)?))
            })
            .collect();
        match self.way_back(&unread).await {
            Ok(way_back) => {
                self.memory.lock().way_back = Some((now, way_back.clone()));
                way_back
            }
            Err(error) => {
                tracing::info!(group = self.group.name, error = error.one_line(), "the way back is not seen");
                WayBack::default()
            }
        }
    }
}
