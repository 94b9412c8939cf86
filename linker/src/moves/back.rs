//! What keeps the source fit for a way back while the group is on the target: the positions committed there, and an
//! eye on whoever moves behind the fence.

use towpath_plans::evidence::Body;
use towpath_plans::transition::{GroupMove, Position, Route};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::GroupMember;
use towpath_wire::private::LinkGroupState;

use super::adopt::changed;
use super::mover::Mover;
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::{committed, to_committed, to_positions};
use crate::groups::route::{from_wire, positions_of};

impl Mover {
    /// While the route is `target`: the translated target positions are committed at the source, so that a lapse
    /// repeats seconds, not days.
    pub(super) async fn commit_back(&self) -> Result<(), LinkerError> {
        let state = self.target.describe().await?;
        if state.route.map(from_wire) != Some(Route::Target) {
            return Ok(());
        }
        let record = self.record();
        let Some(hold) = &record.fence else {
            self.mend_fence().await;
            return Ok(());
        };
        let moved = self.watch(&record).await?;
        let positions = self.positions_for_source(&state)?;
        if !moved && self.source_positions()[0] == positions {
            return Ok(());
        }
        self.journal_source_positions(&positions).await?;
        if let Membership::Gone(_) = self.fence.commit(hold, &to_committed(&positions)).await? {
            self.mend_fence().await;
        }
        Ok(())
    }

    fn positions_for_source(&self, state: &LinkGroupState) -> Result<Vec<Position>, LinkerError> {
        let mut positions = positions_of(state);
        for at in &positions {
            // Leaving it out would look like a movement at the source later.
            if self.waits_for_carrier(&TopicPartition::new(at.topic.clone(), at.partition)) {
                return Err(self.not_carried(&at.topic));
            }
        }
        positions.retain_mut(|at| {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            let mirrored = self.placed(&id).is_some();
            let there = mirrored.then(|| self.translated(Side::Target, &id, at.offset)).flatten();
            at.offset = there.unwrap_or(-1);
            there.is_some()
        });
        positions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(positions)
    }

    /// Looks for whoever moves at the source behind the fence: true when a position is not the fence member's.
    async fn watch(&self, record: &GroupMove) -> Result<bool, LinkerError> {
        let now = to_positions(&committed(&self.link.source.client, &self.group.name, false).await?);
        let seen = self.fence.look().await?;
        let moved = changed(&self.expected_at_source(record), &now);
        if seen.live.is_empty() && moved.is_empty() {
            return Ok(false);
        }
        if !seen.live.is_empty() {
            let text = format!("members are on the source behind the fence{}", self.names(&seen.live));
            self.memory.lock().alarm("stragglers", text);
        }
        for told in self.tell_movement(&moved, &seen.live) {
            tracing::warn!(family = self.link.family(), group = self.group.name, "{told}");
        }
        Ok(!moved.is_empty())
    }

    /// Notes positions that somebody else committed at the source, each with its range: status and evidence. Answers
    /// what was not told before.
    pub(super) fn tell_movement(&self, moved: &[(Position, i64)], live: &[GroupMember]) -> Vec<String> {
        let members: Vec<_> = live.iter().map(|member| self.trace(member)).collect();
        let (mut texts, mut bodies) = (Vec::new(), Vec::new());
        for (at, expected) in moved {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            if !self.memory.lock().told.insert((id.clone(), at.offset)) {
                continue;
            }
            let (from, to) = (at.offset.min(*expected), at.offset.max(*expected));
            let text = format!(
                "{id}: somebody committed offset {} at the source behind the fence, {expected} was expected: offsets \
                 {from} to {to} may be processed on both sides, or on neither",
                at.offset
            );
            self.memory.lock().alarm(&format!("straggler {id}"), text.clone());
            texts.push(text);
            bodies.push(Body::Straggler {
                group: self.group.name.clone(),
                topic: at.topic.clone(),
                partition: at.partition,
                expected: *expected,
                seen: at.offset,
                members: members.clone(),
            });
        }
        self.memory.lock().keep_evidence(None, bodies);
        texts
    }
}
