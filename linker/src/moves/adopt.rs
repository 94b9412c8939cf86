//! Taking the fence over after a restart, and what a lapse of it led to.

use std::collections::BTreeMap;

use towpath_plans::evidence::Body;
use towpath_plans::model::{FenceMode, format_count};
use towpath_plans::transition::{
    Event, FinalPosition, GroupMove, GroupState, PartitionBounds, Position, Verb,
};
use towpath_wire::client::TopicPartition;

use super::effects::source_position;
use super::mover::Mover;
use super::run::{Lapse, Run};
use crate::error::{LinkerError, Side};
use crate::groups::fence::Membership;
use crate::groups::positions::{committed, to_positions};
use crate::groups::route::positions_of;

impl Mover {
    /// Takes over the journaled membership; any other is a lapse: the group is fenced again and what it committed
    /// is compared with what Towpath committed there last. A service that another one has replaced puts nobody out.
    pub(super) async fn adopt(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<Event, LinkerError> {
        let why = match &record.fence {
            Some(hold) => match self.fence.heartbeat(hold).await? {
                Membership::Stands => {
                    self.fence_stands();
                    return Ok(Event::FenceAdopted { hold: hold.clone() });
                }
                Membership::Gone(why) => why,
            },
            None => "the journal has none".to_owned(),
        };
        run.step(format!("the fence at the source lapsed: {why}"));
        self.memory.lock().forget_commits();
        self.prove_journal(record).await?;
        let known = run.evicted.len();
        // Whoever runs at the source while the group is not there is put out: exactly one side consumes.
        let hold = match self.fence(run, record, FenceMode::Evict).await? {
            Ok(hold) => hold,
            Err(interrupt) => return Ok(interrupt.event()),
        };
        if run.evicted.len() > known {
            let names = self.names(&run.evicted[known..]);
            run.alarms.push(format!("members consumed at the source while the fence was down{names}"));
        }
        let now = to_positions(&committed(&self.link.source.client, &self.group.name, true).await?);
        let movement = changed(&self.expected_at_source(record), &now);
        // Told before the fence was known to be gone: it need not be one by the positions of now.
        let told = self.memory.lock().moved;
        self.tell_movement(&movement, &run.evicted[known..]);
        let moved = self.moved(record, &now, !movement.is_empty())?;
        let from_ms = {
            let mut memory = self.memory.lock();
            let from_ms = memory.heartbeat_ms;
            memory.fence_stands(hold.since_ms);
            from_ms
        };
        run.lapse = Some(Lapse {
            from_ms: from_ms.or(record.fence.as_ref().map(|hold| hold.since_ms)).unwrap_or(record.since_ms),
            to_ms: hold.since_ms,
            moved: told || moved.is_some(),
            repeated_max: self.repeated_max(&now, &movement).await,
        });
        Ok(Event::FenceLapsed { hold, moved })
    }

    /// Where the group stands at the source now, when `somebody` else than Towpath committed there.
    fn moved(
        &self,
        record: &GroupMove,
        now: &[Position],
        somebody: bool,
    ) -> Result<Option<Vec<FinalPosition>>, LinkerError> {
        if !somebody {
            return Ok(None);
        }
        if (record.state, record.verb) != (GroupState::Recorded, Some(Verb::Cutover)) {
            // What stands at the target is what counts, or the group goes on from where it is.
            return Ok(Some(Vec::new()));
        }
        // The partitions of the record: what is not committed now keeps the position that the record has.
        let bounds: Vec<PartitionBounds> = record.finals.iter().map(bound).collect();
        let finals = self.finals(Verb::Cutover, &bounds, now).map_err(|problem| LinkerError::Answer {
            side: Side::Source,
            problem,
            fix: "wait until the mirror has caught up; it is tried again".into(),
        })?;
        Ok(Some(finals))
    }

    /// What Towpath knows to stand at the source, by partition: any of these offsets is no movement.
    pub(super) fn expected_at_source(&self, record: &GroupMove) -> BTreeMap<TopicPartition, Vec<i64>> {
        let mut expected: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
        let finals: Vec<Position> = record.finals.iter().map(source_position).collect();
        let [last, before] = self.source_positions();
        // Before the switch of a cutover nothing was committed there in this attempt.
        let cutting_over = (record.state, record.verb) == (GroupState::Recorded, Some(Verb::Cutover));
        let committed = [before, last].concat();
        let known = finals.iter().chain(committed.iter().filter(|_| !cutting_over));
        for at in known {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            expected.entry(id).or_default().push(at.offset);
        }
        expected
    }

    /// What the fence member committed at the source last, and before that.
    pub(super) fn source_positions(&self) -> [Vec<Position>; 2] {
        let (family, group) = (self.link.family(), self.group.name.as_str());
        let found = self.link.journal.with(|recorded| {
            recorded.families.get(family).and_then(|family| family.source_positions.get(group)).cloned()
        });
        found.unwrap_or_default()
    }

    /// Records that may have been delivered on both sides, at most: from what stood at the source when the fence did
    /// to the further one of both sides' positions.
    async fn repeated_max(&self, now: &[Position], movement: &[(Position, i64)]) -> u64 {
        let Ok(state) = self.target.describe().await else { return 0 };
        let mut repeated = 0;
        for at in positions_of(&state) {
            let id = TopicPartition::new(at.topic.clone(), at.partition);
            let Ok(reached) = self.translate(Side::Target, &id, at.offset) else { continue };
            let same = |p: &Position| p.topic == at.topic && p.partition == at.partition;
            let Some(there) = now.iter().find(|p| same(p)).map(|p| p.offset) else { continue };
            let stood = movement.iter().find(|(p, _)| same(p)).map_or(there, |(_, stood)| *stood);
            repeated += at_most_repeated(stood, there, reached);
        }
        repeated
    }

    /// Tells people about a lapse: evidence, status, and the operation under way.
    pub(super) fn alarm_lapse(&self, run: &mut Run<'_>) {
        let Some(lapse) = run.lapse.take() else { return };
        let down_ms = lapse.to_ms.saturating_sub(lapse.from_ms);
        let text = format!(
            "fence lapse: the fence at the source was down for up to {down_ms} ms, {}; at most {} repeated",
            if lapse.moved { "and somebody committed there" } else { "nobody committed there" },
            format_count(lapse.repeated_max, "record")
        );
        run.step(text.clone());
        let (family, group) = (self.link.family(), self.group.name.as_str());
        tracing::warn!(family, group, "{text}");
        self.memory.lock().alarm("fence-lapse", text);
        run.bodies.push(Body::FenceLapsed {
            group: self.group.name.clone(),
            from_ms: lapse.from_ms,
            to_ms: lapse.to_ms,
            moved: lapse.moved,
            repeated_max: lapse.repeated_max,
        });
    }
}

/// Of one partition: what stood at the source, what stands there now, and what the target has reached.
fn at_most_repeated(stood: i64, there: i64, reached: i64) -> u64 {
    there.max(reached).abs_diff(stood.min(there).min(reached))
}

/// A partition of the record; without a commit it stays where the record has it.
fn bound(at: &FinalPosition) -> PartitionBounds {
    PartitionBounds {
        topic: at.topic.clone(),
        partition: at.partition,
        log_start: at.source_offset,
        high_watermark: at.source_offset,
    }
}

/// Positions that are none of the expected ones.
pub(super) fn changed(
    expected: &BTreeMap<TopicPartition, Vec<i64>>,
    now: &[Position],
) -> Vec<(Position, i64)> {
    let mut changed = Vec::new();
    for at in now {
        let id = TopicPartition::new(at.topic.clone(), at.partition);
        // Partitions that never moved with the group are not Towpath's.
        let Some(known) = expected.get(&id) else { continue };
        if !known.contains(&at.offset) {
            changed.push((at.clone(), known.last().copied().unwrap_or(-1)));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(partition: i32, offset: i64) -> Position {
        Position { topic: "views".into(), partition, offset, metadata: None }
    }

    #[test]
    fn a_commit_that_is_none_of_ours_is_a_movement_and_others_are_not() {
        let at = |partition| TopicPartition::new("views", partition);
        let expected = BTreeMap::from([(at(0), vec![10, 20]), (at(1), vec![5])]);
        assert!(changed(&expected, &[position(0, 10), position(1, 5), position(7, 99)]).is_empty());
        assert!(changed(&expected, &[position(0, 20)]).is_empty());
        assert_eq!(changed(&expected, &[position(0, 21), position(1, 5)]), [(position(0, 21), 20)]);
    }

    #[test]
    fn sides_that_came_equally_far_have_both_delivered_what_lies_behind_the_last_known_position() {
        // Nobody moved at the source: what the target went on from there.
        assert_eq!(at_most_repeated(10, 10, 25), 15);
        assert_eq!(at_most_repeated(10, 25, 25), 15);
        assert_eq!(at_most_repeated(10, 30, 25), 20);
        // Somebody set the group back.
        assert_eq!(at_most_repeated(10, 3, 12), 9);
    }
}
