//! Gates: conditions with a number, a limit, an age and a fix. Pure: the linker observes, this module judges.
//!
//! [`evaluate`] turns [`Observations`] into a [`GateReport`]. What was not observed, or too long ago, is
//! `inconclusive`, never a pass. The report's verdict is the worst of its gates; a gate that a person accepted
//! (`--accept-outage`) keeps its verdict and does not count.

mod evaluate;
mod mirror;
mod observe;
mod permissions;

pub use evaluate::{GateContext, evaluate};
pub use observe::{
    ClockSkewObserved, DiffObserved, LagObserved, MembersObserved, Observations, Observed, Permission,
    TransactionObserved, WayBackObserved,
};
pub use permissions::{Resource, Right, Stage, rights};

use serde::{Deserialize, Serialize};

use crate::evidence::GateRecord;

/// The verdict of a gate, or of all of them. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The limit is met.
    Pass,
    /// Not known: nothing observed, too old, or nothing to compare. CLI exit code 4.
    Inconclusive,
    /// The limit is not met. CLI exit code 3.
    Fail,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        })
    }
}

/// Which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateName {
    /// The mirror is this close behind, in ms and in messages.
    MirrorLag,
    /// Every topic that the group reads is compared and equal.
    Diff,
    /// The diff's uncompared tail, in records and ms.
    DiffTail,
    /// No transaction has been open for too long, none is pending on the group's offsets.
    OpenTransactions,
    /// What the members read is mirrored.
    Members,
    /// As many members are held at the target as are live on the source.
    MembersReady,
    /// Every right that the verb needs was granted.
    Permissions,
    /// The clocks agree.
    ClockSkew,
    /// Evidence can be written.
    EvidenceWritable,
    /// The way back reaches far enough.
    WayBack,
    /// Groups that must move first have moved.
    After,
    /// The group does not write to topics that move with it.
    Writes,
}

impl GateName {
    /// Its name in files, evidence and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MirrorLag => "mirror-lag",
            Self::Diff => "diff",
            Self::DiffTail => "diff-tail",
            Self::OpenTransactions => "open-transactions",
            Self::Members => "members",
            Self::MembersReady => "members-ready",
            Self::Permissions => "permissions",
            Self::ClockSkew => "clock-skew",
            Self::EvidenceWritable => "evidence-writable",
            Self::WayBack => "way-back",
            Self::After => "after",
            Self::Writes => "writes",
        }
    }
}

/// One gate, evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Which.
    pub name: GateName,
    /// The limit, with its unit.
    pub limit: String,
    /// What was observed, with its unit; `None` when nothing was.
    pub observed: Option<String>,
    /// How old the observation is, ms.
    pub age_ms: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// What to do; empty when it passes.
    pub fix: String,
    /// Whether a person accepted it whatever the verdict.
    pub accepted: bool,
    /// Whether it fails only because something still catches up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catching_up: bool,
}

/// Every gate of a verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// The worst verdict of those that were not accepted.
    pub verdict: Verdict,
    /// Each gate.
    pub gates: Vec<Gate>,
}

impl GateReport {
    /// From gates.
    pub fn new(gates: Vec<Gate>) -> Self {
        let counted = gates.iter().filter(|gate| !gate.accepted).map(|gate| gate.verdict);
        Self { verdict: counted.max().unwrap_or(Verdict::Inconclusive), gates }
    }

    /// The gates that stand in the way, worst first.
    pub fn refusing(&self) -> Vec<&Gate> {
        let mut refusing: Vec<&Gate> =
            self.gates.iter().filter(|gate| !gate.accepted && gate.verdict != Verdict::Pass).collect();
        refusing.sort_by_key(|gate| std::cmp::Reverse(gate.verdict));
        refusing
    }

    /// Whether everything that stands in the way may be out of it in a moment: not known yet, or still catching up.
    pub fn only_wants_time(&self) -> bool {
        let refusing = self.refusing();
        !refusing.is_empty()
            && refusing.iter().all(|gate| gate.verdict == Verdict::Inconclusive || gate.catching_up)
    }

    /// As evidence keeps them.
    pub fn records(&self) -> Vec<GateRecord> {
        self.gates
            .iter()
            .map(|gate| GateRecord {
                gate: gate.name.as_str().into(),
                limit: gate.limit.clone(),
                observed: gate.observed.clone(),
                age_ms: gate.age_ms,
                verdict: gate.verdict,
                accepted: gate.accepted,
                reason: gate.reason.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
