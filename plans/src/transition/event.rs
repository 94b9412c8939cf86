//! What can happen to a group: requests by people, reports by the executor.

use serde::{Deserialize, Serialize};

use super::record::{FenceHold, FinalPosition, Position, Verb};
use crate::PlanHash;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A person asks for a cutover or a rollback.
    Begin {
        /// Which.
        verb: Verb,
        /// Who.
        actor: String,
        /// Why (`--reason`).
        reason: String,
        /// The plan it is begun under.
        plan_hash: PlanHash,
    },
    /// Every gate passed or was explicitly accepted.
    GatesPassed {
        /// Committed offsets of the side that is left, now.
        before: Vec<Position>,
    },
    /// A gate failed or was inconclusive.
    GatesRefused {
        /// Which and why.
        reason: String,
    },
    /// The side that is left is fenced, confirmed, and the route is `draining`.
    Fenced {
        /// The fence member at the source; `None` for a rollback, whose fence at the source stands already.
        hold: Option<FenceHold>,
    },
    /// The mirror's end is at the high watermark of the fence moment and the diff has compared it.
    Drained,
    /// The final positions were read behind the fence and translated exactly.
    FinalsRead {
        /// One for every partition of every topic that the group reads.
        finals: Vec<FinalPosition>,
    },
    /// The target's coordinator holds positions, route and attempt (cutover).
    Switched,
    /// The fence member committed the positions at the source (rollback).
    PositionsCommitted,
    /// The fence member has left, and the route says so.
    Released,
    /// Verification is through.
    Verified {
        /// What it found out of order.
        alarms: Vec<String>,
    },
    /// An effect failed for good: its retries are used up, or the answer can not change.
    StepFailed {
        /// What failed and why.
        reason: String,
    },
    /// A person takes the verb back.
    Abort {
        /// Why.
        reason: String,
    },
    /// Offsets, route and fence are back as they were.
    Undone,
    /// The fence stands as the record says, or was taken over with the same membership.
    FenceAdopted {
        /// The membership now.
        hold: FenceHold,
    },
    /// The fence was gone for a while and has been set again.
    FenceLapsed {
        /// The new membership.
        hold: FenceHold,
        /// When someone committed at the source meanwhile: the positions there now, translated.
        moved: Option<Vec<FinalPosition>>,
    },
    /// A person gives up the way back; a durable stop at the source was proven or explicitly accepted.
    Complete {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// A person cancels the link.
    Cancel {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// The target's coordinator has dropped the route.
    Forgotten,
}

impl Event {
    /// The event's name, as the diagram writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begin { verb: Verb::Cutover, .. } => "Begin(cutover)",
            Self::Begin { verb: Verb::Rollback, .. } => "Begin(rollback)",
            Self::GatesPassed { .. } => "GatesPassed",
            Self::GatesRefused { .. } => "GatesRefused",
            Self::Fenced { .. } => "Fenced",
            Self::Drained => "Drained",
            Self::FinalsRead { .. } => "FinalsRead",
            Self::Switched => "Switched",
            Self::PositionsCommitted => "PositionsCommitted",
            Self::Released => "Released",
            Self::Verified { .. } => "Verified",
            Self::StepFailed { .. } => "StepFailed",
            Self::Abort { .. } => "Abort",
            Self::Undone => "Undone",
            Self::FenceAdopted { .. } => "FenceAdopted",
            Self::FenceLapsed { moved: None, .. } => "FenceLapsed",
            Self::FenceLapsed { moved: Some(_), .. } => "FenceLapsed(moved)",
            Self::Complete { .. } => "Complete",
            Self::Cancel { .. } => "Cancel",
            Self::Forgotten => "Forgotten",
        }
    }
}
