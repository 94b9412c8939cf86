//! Entries that follow from what was decided, so that no caller writes them by hand.

use super::body::{Body, Translation};
use crate::transition::{GroupMove, GroupState};

impl Body {
    /// What evidence says about a journaled change of a group: the change itself, and with `Recorded` the final
    /// offsets. Nothing for a change that left the state as it was (a retry, an adopted fence).
    pub fn of_change(before: &GroupMove, after: &GroupMove) -> Vec<Self> {
        if before.state == after.state && before.finals == after.finals {
            return Vec::new();
        }
        let mut bodies = vec![Self::GroupChanged {
            group: after.group.clone(),
            attempt: after.attempt,
            verb: after.verb.or(before.verb),
            from: before.state,
            to: after.state,
            because: after.because.clone(),
            at_ms: after.since_ms,
        }];
        if let Some(verb) = after.verb
            && after.state == GroupState::Recorded
        {
            bodies.push(Self::FinalOffsets {
                group: after.group.clone(),
                attempt: after.attempt,
                verb,
                translations: after.finals.iter().map(Translation::from).collect(),
            });
        }
        bodies
    }
}
