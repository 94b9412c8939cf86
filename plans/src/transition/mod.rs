//! What may follow what: the states of a group's move and of a link, as pure, exhaustive functions. No other
//! code changes a state.
//!
//! [`transition`] and [`resume`] decide for a group ([`GroupMove`] is what survives a crash, and all of it);
//! [`link_transition`] decides for a link. See [`transition`] for the diagram.

mod effect;
mod event;
mod finals;
mod group;
mod link;
mod record;
mod resume;

pub use effect::{Effect, FenceDuty, effects_of, fence_duty};
pub use event::Event;
pub use finals::{PartitionBounds, Untranslated, final_positions};
pub use group::{Next, Refused, transition};
pub use link::{Halt, LinkEvent, LinkRecord, LinkRefused, LinkState, link_transition};
pub use record::{
    FenceHold, FinalPosition, GroupMove, GroupState, Origin, Outcome, Position, Route, Verb, VerbResult,
};
pub use resume::{Resumption, resume};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
