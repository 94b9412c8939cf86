//! What a mover remembers between rounds of duties; nothing of it is needed after a crash.

use std::collections::{BTreeMap, BTreeSet};
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
    pub(super) told: BTreeSet<(TopicPartition, i64)>,
}

impl Memory {
    /// Notes what is out of order; the same kind is told once.
    pub(super) fn alarm(&mut self, kind: &str, text: String) {
        self.alarms.insert(kind.into(), text);
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
