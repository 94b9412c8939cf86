//! What survives a crash: one struct per group, written to the journal before each effect.

use serde::{Deserialize, Serialize};

use crate::{PlanHash, Side};

/// The two verbs that move a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// From source to target.
    Cutover,
    /// From target to source.
    Rollback,
}

impl Verb {
    /// The side that the group leaves.
    pub fn leaving(self) -> Side {
        match self {
            Self::Cutover => Side::Source,
            Self::Rollback => Side::Target,
        }
    }

    /// The state at rest on the side that the group leaves: where a failed move ends.
    pub fn origin_state(self) -> GroupState {
        match self {
            Self::Cutover => GroupState::OnSource,
            Self::Rollback => GroupState::OnTarget,
        }
    }

    /// The state at rest on the side that the group moves to.
    pub fn destination_state(self) -> GroupState {
        match self {
            Self::Cutover => GroupState::OnTarget,
            Self::Rollback => GroupState::OnSource,
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cutover => "cutover",
            Self::Rollback => "rollback",
        })
    }
}

/// Where a group stands. [`GroupMove::verb`] tells which way it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// At rest; the route is `source`.
    OnSource,
    /// Gates are evaluated. Nothing has changed yet.
    Preflight,
    /// The side that the group leaves is being fenced.
    Fencing,
    /// The fence stands; the mirror's end comes up to the high watermark of the fence moment.
    Draining,
    /// Committed offsets are read behind the fence and translated.
    FinalOffsets,
    /// The point of no return: intent and final offsets are in the journal, the switch is under way.
    Recorded,
    /// Rollback only: the positions stand at the source, committed by the fence member; now it leaves.
    Committed,
    /// The group may run on its new side; positions and first commits are checked.
    Verifying,
    /// At rest; the route is `target`, the fence at the source is held.
    OnTarget,
    /// A move failed before `Recorded`; offsets, route and fence are being put back.
    Undoing,
    /// The way back is being given up: the fence leaves.
    Completing,
    /// The group is an ordinary group of the target. No way back.
    Completed,
    /// The link gives the group up; it never left the source.
    Cancelling,
    /// The link no longer knows the group; it is on the source.
    Cancelled,
}

impl GroupState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 14] = [
        Self::OnSource,
        Self::Preflight,
        Self::Fencing,
        Self::Draining,
        Self::FinalOffsets,
        Self::Recorded,
        Self::Committed,
        Self::Verifying,
        Self::OnTarget,
        Self::Undoing,
        Self::Completing,
        Self::Completed,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// Whether nothing is under way: a verb may begin, or the group's story is over.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::OnSource | Self::OnTarget) || self.is_over()
    }

    /// Whether the group's story is over: no verb begins any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }

    /// Whether a move has begun and has not reached its point of no return.
    pub fn is_before_record(self) -> bool {
        matches!(self, Self::Preflight | Self::Fencing | Self::Draining | Self::FinalOffsets)
    }
}

/// As it stands behind "group NAME is".
impl std::fmt::Display for GroupState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OnSource => "on the source",
            Self::Preflight => "before its gates",
            Self::Fencing => "being fenced",
            Self::Draining => "fenced and draining",
            Self::FinalOffsets => "fenced, with its final offsets being read",
            Self::Recorded => "past the record step, being switched",
            Self::Committed => "committed at the source, with its fence leaving",
            Self::Verifying => "switched and being verified",
            Self::OnTarget => "on the target",
            Self::Undoing => "being put back",
            Self::Completing => "giving up its way back",
            Self::Completed => "on the target for good",
            Self::Cancelling => "leaving the link",
            Self::Cancelled => "on the source and no longer linked",
        })
    }
}

/// The route of a group at the target (DESIGN §2): where its members may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// On the source; members at the target are held.
    Source,
    /// On neither side.
    Draining,
    /// On the target.
    Target,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Draining => "draining",
            Self::Target => "target",
        })
    }
}

/// The fence member's membership at the source, enough to be re-adopted after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceHold {
    /// The member id that the coordinator gave.
    pub member_id: String,
    /// The static instance id of the link.
    pub instance_id: String,
    /// The generation that the fence member holds alone.
    pub generation: i32,
    /// When it was confirmed by SyncGroup and a heartbeat, ms since the epoch.
    pub since_ms: i64,
}

/// A committed offset on one side: the next record to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset, -1 where nothing was committed.
    pub offset: i64,
    /// The metadata committed with it.
    pub metadata: Option<String>,
}

/// Where a final position comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The group committed it.
    Committed,
    /// Never committed; the plan says `uncommitted: earliest`.
    Earliest,
    /// Never committed; the plan says `uncommitted: latest`.
    Latest,
}

/// A position that the group resumes at, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalPosition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Next record to read on the source.
    pub source_offset: i64,
    /// Next record to read on the target: the exact translation.
    pub target_offset: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// The metadata committed with it.
    pub metadata: Option<String>,
}

/// How the last verb ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which verb.
    pub verb: Verb,
    /// Which attempt.
    pub attempt: u64,
    /// How it ended.
    pub result: VerbResult,
    /// When, ms since the epoch.
    pub at_ms: i64,
}

/// The end of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerbResult {
    /// The group is on its new side.
    Moved {
        /// What verification found out of order; empty when all held.
        alarms: Vec<String>,
    },
    /// A gate refused; nothing had changed.
    Refused {
        /// Which gate and why.
        reason: String,
    },
    /// It failed before the record step and was put back.
    Undone {
        /// What failed.
        reason: String,
    },
}

/// One group of a family, as the journal holds it. Nothing else about a move survives a crash, and nothing else
/// is needed to end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMove {
    /// The signal family.
    pub family: String,
    /// The group's id.
    pub group: String,
    /// Where it stands.
    pub state: GroupState,
    /// Which way it is going; `None` at rest.
    pub verb: Option<Verb>,
    /// Number of the last attempt; each verb that begins takes the next. The target's coordinator refuses lower
    /// ones and answers a repeated one without effect.
    pub attempt: u64,
    /// When the state was entered, ms since the epoch.
    pub since_ms: i64,
    /// Why the state was entered, for people.
    pub because: String,
    /// The last failure in this state, where it is tried again; `None` when nothing has failed.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Who asked for the verb under way.
    pub actor: String,
    /// The plan that the verb was begun under.
    pub plan_hash: Option<PlanHash>,
    /// The fence at the source, while it is held.
    pub fence: Option<FenceHold>,
    /// Committed offsets of the side that is left, as preflight saw them. What undoing restores.
    pub before: Vec<Position>,
    /// The positions that the group resumes at, from `Recorded` on.
    pub finals: Vec<FinalPosition>,
    /// How the last verb ended.
    pub last: Option<Outcome>,
}

impl GroupMove {
    /// A group that has never moved.
    pub fn new(family: impl Into<String>, group: impl Into<String>, at_ms: i64) -> Self {
        Self {
            family: family.into(),
            group: group.into(),
            state: GroupState::OnSource,
            verb: None,
            attempt: 0,
            since_ms: at_ms,
            because: "linked".into(),
            trouble: None,
            actor: String::new(),
            plan_hash: None,
            fence: None,
            before: Vec::new(),
            finals: Vec::new(),
            last: None,
        }
    }

    /// The static instance id of the group's fence member. It follows from the family alone, so that a fence whose
    /// membership was not journaled yet can be found, taken over and released after a crash.
    pub fn fence_instance_id(&self) -> String {
        format!("towpath-fence-{}", self.family)
    }

    /// The route that the state stands for. While a move changes it, the one that holds until the change.
    pub fn route(&self) -> Route {
        match (self.state, self.verb) {
            (GroupState::OnSource | GroupState::Cancelling | GroupState::Cancelled, _) => Route::Source,
            (GroupState::OnTarget | GroupState::Completing | GroupState::Completed, _) => Route::Target,
            // A fence that waits for members lets them go on where they are.
            (GroupState::Preflight | GroupState::Fencing, Some(Verb::Rollback)) => Route::Target,
            (GroupState::Preflight | GroupState::Fencing, _) => Route::Source,
            (GroupState::Verifying, Some(Verb::Rollback)) => Route::Source,
            (GroupState::Verifying, _) => Route::Target,
            _ => Route::Draining,
        }
    }
}
