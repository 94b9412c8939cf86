//! What a mover remembers between rounds of duties; nothing of it is needed after a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_plans::evidence::{Actor, Body};
use towpath_plans::transition::Position;
use towpath_wire::client::TopicPartition;

use super::way_back::WayBack;

/// Evidence that waits for the store; beyond it the oldest is given up, the journal still has the decisions.
const EVIDENCE_KEPT_MAX: usize = 1_000;

/// What a mover remembers between rounds. Lost in a crash.
#[derive(Default)]
pub(super) struct Memory {
    /// When the fence was last confirmed, ms since the epoch.
    pub(super) heartbeat_ms: Option<i64>,
    /// What is out of order, by kind.
    pub(super) alarms: BTreeMap<String, String>,
    /// When the way back was last looked at, on the monotonic clock, and what it was.
    pub(super) way_back: Option<(Duration, WayBack)>,
    pub(super) evidence: Vec<(Option<Actor>, Body)>,
    pub(super) synced: BTreeMap<TopicPartition, (i64, Option<String>)>,
    /// Positions that the source acknowledged last, committed by the fence member that stands.
    pub(super) acknowledged: Option<Vec<Position>>,
    /// Positions that were journaled and sent, and may stand at the source or not.
    pub(super) sent: Option<Vec<Position>>,
    pub(super) untranslated: BTreeMap<TopicPartition, u32>,
    /// Somebody else's position at the source that was told last, by partition.
    told: BTreeMap<TopicPartition, i64>,
    /// Whether one was told since the fence was known to stand: it may be of a lapse that is found later.
    pub(super) moved: bool,
}

impl Memory {
    /// Notes what is out of order; the same kind is told once.
    pub(super) fn alarm(&mut self, kind: &str, text: String) {
        self.alarms.insert(kind.into(), text);
    }

    /// The fence was confirmed at this time: whoever moved before did so behind it.
    pub(super) fn fence_stands(&mut self, now_ms: i64) {
        self.heartbeat_ms = Some(now_ms);
        self.moved = false;
    }

    /// Somebody else committed `offset` at the source. `false`: it was told already.
    pub(super) fn tell(&mut self, id: &TopicPartition, offset: i64) -> bool {
        self.moved = true;
        self.told.insert(id.clone(), offset) != Some(offset)
    }

    pub(super) fn keep_evidence(&mut self, actor: Option<Actor>, bodies: Vec<Body>) {
        self.evidence.extend(bodies.into_iter().map(|body| (actor.clone(), body)));
        let over = self.evidence.len().saturating_sub(EVIDENCE_KEPT_MAX);
        self.evidence.drain(..over);
    }

    /// Another fence stands, or a verb begins: what was committed before says nothing.
    pub(super) fn forget_commits(&mut self) {
        self.acknowledged = None;
        self.sent = None;
    }

    /// A verb begins: what was said about the way before it is over.
    pub(super) fn forget(&mut self) {
        self.alarms.clear();
        self.synced.clear();
        self.forget_commits();
        self.untranslated.clear();
        self.told.clear();
        self.way_back = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_movement_is_told_once_and_counts_for_a_lapse_until_the_fence_is_known_to_stand() {
        let mut memory = Memory::default();
        let id = TopicPartition::new("views", 0);
        assert!(memory.tell(&id, 7));
        assert!(!memory.tell(&id, 7));
        assert!(memory.tell(&id, 8));
        assert!(memory.moved);
        memory.fence_stands(1_000);
        assert!(!memory.moved);
        // Told before, and still there: it moved behind a fence that stood in between.
        assert!(!memory.tell(&id, 8));
        assert_eq!(memory.told.len(), 1);
    }
}
