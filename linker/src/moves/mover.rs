//! One group of one plan: its record, its background duties, its verbs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use towpath_plans::model::GroupPlan;
use towpath_plans::steps::Step;
use towpath_plans::transition::{GroupMove, Verb};

use crate::diff::Diff;
use crate::error::LinkerError;
use crate::link::Link;
use crate::operation::{Ending, Operation, Request};

/// Position of a group in one partition, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionSeen {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Committed at the source; `None`: nothing committed.
    pub source: Option<i64>,
    /// Committed at the target; `None`: nothing committed.
    pub target: Option<i64>,
    /// Records that the group has not read on the side of its route.
    pub lag_messages: Option<i64>,
}

/// One group as `towpath status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupStatus {
    /// What the journal says.
    pub record: GroupMove,
    /// Live members at the source (the fence member is none).
    pub source_members: u32,
    /// Live members at the target.
    pub target_members: u32,
    /// Members and `assign()` consumers held at the target.
    pub held_members: u32,
    /// Positions on both sides.
    pub positions: Vec<PositionSeen>,
    /// Until when, ms since the epoch, the source holds what the group has not read; `None`: no limit known.
    pub way_back_until_ms: Option<i64>,
    /// The partition that limits the way back.
    pub way_back_limited_by: Option<String>,
    /// What is out of order now: lapses, stragglers, movement behind the fence.
    pub alarms: Vec<String>,
    /// When this was observed, ms since the epoch.
    pub observed_ms: i64,
}

/// Moves one group. Shared as `Arc<Mover>`.
pub struct Mover {
    #[allow(dead_code)]
    link: Arc<Link>,
    #[allow(dead_code)]
    diff: Arc<Diff>,
    #[allow(dead_code)]
    group: GroupPlan,
}

impl Mover {
    /// The mover of `group`; its record comes from the journal.
    pub fn new(link: Arc<Link>, diff: Arc<Diff>, group: GroupPlan) -> Arc<Mover> {
        Arc::new(Mover { link, diff, group })
    }

    /// Declares the group at the target, ends what a crash left half done, then follows: syncs positions while the
    /// route is `source`, heartbeats the fence and commits back while it is `target`. Until `stop`.
    pub async fn run(self: Arc<Self>, _stop: CancellationToken) {
        unimplemented!("the movers' owner is at it")
    }

    /// The steps that a verb would take: what `--dry-run` prints, and what a run executes.
    pub fn steps(&self, _verb: Verb) -> Vec<Step> {
        unimplemented!("the movers' owner is at it")
    }

    /// Cuts over or rolls back, to the end. A dry run evaluates the gates and answers the steps.
    pub async fn execute(&self, _verb: Verb, _request: &Request, _operation: &Operation) -> Ending {
        unimplemented!("the movers' owner is at it")
    }

    /// Gives up the way back. `accept_no_stop`: the person accepts that nothing durable stops the group at the
    /// source.
    pub async fn complete(
        &self,
        _request: &Request,
        _accept_no_stop: bool,
        _operation: &Operation,
    ) -> Ending {
        unimplemented!("the movers' owner is at it")
    }

    /// Drops the route; only while the group is on the source.
    ///
    /// # Errors
    /// The group is not on the source, or the target refuses.
    pub async fn cancel(&self, _request: &Request) -> Result<(), LinkerError> {
        unimplemented!("the movers' owner is at it")
    }

    /// The journal's record.
    pub fn record(&self) -> GroupMove {
        unimplemented!("the movers' owner is at it")
    }

    /// The group as observed last; `None` before the first look.
    pub fn status(&self) -> Option<GroupStatus> {
        unimplemented!("the movers' owner is at it")
    }
}
