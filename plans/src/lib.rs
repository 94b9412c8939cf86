//! Plan model, validation, steps, transitions, gates, diff and evidence: the deciding half of Towpath. Pure: no
//! I/O, no clock, no randomness, and no other room. The linker observes and executes; what it may do next, and
//! whether it may, is decided here.
//!
//! | module         | owns                                                                                     |
//! | -------------- | ---------------------------------------------------------------------------------------- |
//! | [`model`]      | the plan file: [`Plan::from_yaml`], defaults with reasons, [`PlanHash`], [`check_estate`] |
//! | [`steps`]      | the list of steps a verb takes; a dry run prints it, a run executes it                    |
//! | [`transition`] | the states of a group's move and of a link, as exhaustive pure functions; crash recovery  |
//! | [`gates`]      | observations against limits: `pass`, `fail` or `inconclusive`, each with reason and fix   |
//! | [`diff`]       | record and range digests, comparison and classification, bisecting, compacted topics      |
//! | [`evidence`]   | hash-chained, signed entries; bundles and their offline verification; pseudonyms          |
//!
//! How the linker runs a verb on a group:
//!
//! 1. load the group's [`transition::GroupMove`] from the journal (or [`transition::GroupMove::new`]);
//! 2. after a start, ask [`transition::resume`] first, whatever the state says;
//! 3. feed an [`transition::Event`] to [`transition::transition`]; it answers the next `GroupMove` and the
//!    [`transition::Effect`]s to carry out; **write the `GroupMove` to the journal before the first effect**, and
//!    what [`evidence::Body::of_change`] says about the change to the evidence;
//! 4. carry out the effects in order (each is safe to repeat; [`gates::evaluate`] and
//!    [`transition::final_positions`] do the deciding in two of them), report the outcome as the next event.
#![forbid(unsafe_code)]

pub mod diff;
pub mod evidence;
pub mod gates;
pub mod model;
pub mod steps;
pub mod transition;

pub use model::{Plan, PlanError, PlanHash, check_estate};

use serde::{Deserialize, Serialize};

/// One of the two clusters of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The legacy cluster.
    Source,
    /// The cluster that the family moves to.
    Target,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Whose fault an error is (STYLE: one of caller, source, target, store, bug).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Whoever wrote the plan, the command or the call.
    Caller,
    /// The source cluster.
    Source,
    /// The target cluster.
    Target,
    /// The store of journal and evidence.
    Store,
    /// Towpath itself.
    Bug,
}
