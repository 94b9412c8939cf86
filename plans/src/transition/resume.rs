//! What a linker does about a group when it comes up again: whatever the journal says last, one answer.

use super::effect::{Effect, effects_of};
use super::group::Next;
use super::record::{GroupMove, GroupState, Outcome, Verb, VerbResult};

/// The way that recovery takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Nothing was under way.
    AtRest,
    /// The move had not reached its record step: it goes back.
    Back,
    /// The move had been recorded (or was being undone): it goes on to its end.
    Forward,
}

const STOPPED: &str = "the linker stopped before the record step";

/// What to do after a crash at any instruction. The answer's record must be in the journal before its first
/// effect, as always; when it equals the given one, it is there already.
///
/// ```text
/// OnSource, Completed, Cancelled          at rest   []
/// OnTarget                                at rest   [AdoptFence]
/// Preflight                               back      where it began; rollback [AdoptFence]
/// Fencing, Draining, FinalOffsets         back      Undoing; rollback [AdoptFence first]
/// Undoing                                 forward   same effects; rollback [AdoptFence first]
/// Recorded                                forward   [AdoptFence], whose event leads to the switch
/// Committed                               forward   same effects: the positions stand, they are not set again
/// Verifying                               forward   same effects; cutover [AdoptFence first]
/// Completing, Cancelling                  forward   same effects
/// ```
pub fn resume(record: &GroupMove, at_ms: i64) -> (Resumption, Next) {
    use GroupState as S;
    let rollback = record.verb == Some(Verb::Rollback);
    let same = |first: Option<Effect>| {
        let effects = first.into_iter().chain(effects_of(record.state, record.verb)).collect();
        Next { record: record.clone(), effects }
    };
    match record.state {
        S::OnSource | S::Completed | S::Cancelled => (Resumption::AtRest, same(None)),
        S::OnTarget => (Resumption::AtRest, same(Some(Effect::AdoptFence))),
        S::Preflight => (Resumption::Back, not_begun(record, at_ms)),
        S::Fencing | S::Draining | S::FinalOffsets => {
            let mut next = record.clone();
            next.state = S::Undoing;
            next.since_ms = at_ms;
            next.because = STOPPED.into();
            let first = rollback.then_some(Effect::AdoptFence);
            let effects = first.into_iter().chain(effects_of(next.state, next.verb)).collect();
            (Resumption::Back, Next { record: next, effects })
        }
        S::Recorded => {
            (Resumption::Forward, Next { record: record.clone(), effects: vec![Effect::AdoptFence] })
        }
        S::Undoing => (Resumption::Forward, same(rollback.then_some(Effect::AdoptFence))),
        S::Verifying => (Resumption::Forward, same((!rollback).then_some(Effect::AdoptFence))),
        S::Committed | S::Completing | S::Cancelling => (Resumption::Forward, same(None)),
    }
}

/// Preflight changes nothing, so nothing has to be undone.
fn not_begun(record: &GroupMove, at_ms: i64) -> Next {
    let verb = record.verb.unwrap_or(Verb::Cutover);
    let mut next = record.clone();
    next.state = verb.origin_state();
    next.verb = None;
    next.since_ms = at_ms;
    next.because = format!("{verb} undone: {STOPPED}");
    next.last = Some(Outcome {
        verb,
        attempt: record.attempt,
        result: VerbResult::Undone { reason: STOPPED.into() },
        at_ms,
    });
    let effects = if verb == Verb::Rollback { vec![Effect::AdoptFence] } else { Vec::new() };
    Next { record: next, effects }
}
