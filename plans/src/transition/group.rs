//! The transition function of a group's move.

use serde::{Deserialize, Serialize};

use super::effect::{Effect, effects_of};
use super::event::Event;
use crate::ErrorKind;

use super::record::{FenceHold, FinalPosition, GroupMove, GroupState, Outcome, Verb, VerbResult};

/// The state that follows, to be journaled first, and what to do then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What the journal gets.
    pub record: GroupMove,
    /// What to do once it is there, in order.
    pub effects: Vec<Effect>,
}

/// An event that cannot happen in this state. A person's request is refused with a fix; a report of the
/// executor that is refused is a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("group {group} is {state}: {event} is refused; fix: {fix}")]
pub struct Refused {
    /// The group.
    pub group: String,
    /// Where it stands.
    pub state: GroupState,
    /// What was asked or reported.
    pub event: String,
    /// What to do.
    pub fix: String,
}

impl Refused {
    /// Whoever asked, or the executor that reported what it was not asked to do.
    pub fn kind(&self) -> ErrorKind {
        if self.fix.starts_with("report this") { ErrorKind::Bug } else { ErrorKind::Caller }
    }
}

/// What follows when `event` happens to a group. Pure and exhaustive; `at_ms` is the time of the event in
/// milliseconds since the epoch. The record that it answers must be in the journal before the first effect.
///
/// `state --Event--> state [effects]`; a transition that holds for one verb only says so in front.
///
/// ```text
/// OnSource     --Begin(cutover)--> Preflight [EvaluateGates]
/// OnTarget     --Begin(rollback)--> Preflight [EvaluateGates]
/// Preflight    --GatesPassed--> Fencing
///     cutover  [FenceSource, SetRoute source→draining]
///     rollback [QuietTarget, SetRoute target→draining]
/// Preflight    --GatesRefused--> where it began
/// Fencing      --Fenced--> Draining [AwaitDrain]
/// Draining     --Drained--> FinalOffsets [ReadFinalOffsets]
/// FinalOffsets --FinalsRead--> Recorded          ═══ the point of no return ═══
///     cutover  [Switch]                          rollback [CommitAtSource]
/// cutover:  Recorded  --Switched--> Verifying [Verify]
/// rollback: Recorded  --PositionsCommitted--> Committed [SetRoute draining→source, ReleaseFence]
/// rollback: Committed --Released--> Verifying [Verify]
/// Verifying    --Verified--> OnTarget (cutover), OnSource (rollback)
///
/// Preflight    --StepFailed--> where it began     Preflight    --Abort--> where it began
/// Fencing      --StepFailed--> Undoing            Fencing      --Abort--> Undoing
/// Draining     --StepFailed--> Undoing            Draining     --Abort--> Undoing
/// FinalOffsets --StepFailed--> Undoing            FinalOffsets --Abort--> Undoing
///     cutover  [RestoreSource, SetRoute draining→source, ReleaseFence]
///     rollback [SetRoute draining→target]
/// Undoing      --Undone--> where it began
/// Undoing, Recorded, Committed, Verifying, Completing, Cancelling --StepFailed--> itself, same effects again
///
/// The fence at the source (FenceAdopted, FenceLapsed; `moved`: someone committed there meanwhile):
/// Recorded     --FenceAdopted--> Recorded, same effects again
/// Recorded     --FenceLapsed--> Recorded, same effects again [AlarmLapse first]
/// cutover:  Recorded --FenceLapsed(moved)--> Recorded with the positions of now [AlarmLapse, Switch]
/// rollback: Recorded --FenceLapsed(moved)--> Committed without a commit: the group has moved on, nobody sets
///           it back [AlarmLapse, SetRoute draining→source, ReleaseFence]
/// cutover:  Fencing, Draining, FinalOffsets --FenceLapsed--> Undoing
/// OnTarget, cutover: Verifying, rollback: Preflight, Fencing, Draining, FinalOffsets, Undoing
///              --FenceAdopted--> itself    --FenceLapsed--> itself [AlarmLapse]
///
/// OnTarget     --Complete--> Completing [ReleaseFence, ForgetRoute]
/// Completing   --Released--> Completed
/// OnSource     --Cancel--> Cancelling [ForgetRoute]
/// Cancelling   --Forgotten--> Cancelled
/// ```
pub fn transition(record: &GroupMove, event: &Event, at_ms: i64) -> Result<Next, Refused> {
    let step = Step { record, at_ms };
    match event {
        Event::Begin { .. } | Event::Abort { .. } | Event::Complete { .. } | Event::Cancel { .. } => {
            step.requested(event)
        }
        Event::FenceAdopted { hold } => step.fence_adopted(hold, event),
        Event::FenceLapsed { hold, moved } => step.fence_lapsed(hold, moved.as_deref(), event),
        Event::StepFailed { reason } => step.failed(reason, event),
        _ => step.reported(event),
    }
}

struct Step<'a> {
    record: &'a GroupMove,
    at_ms: i64,
}

impl Step<'_> {
    /// What people ask for.
    fn requested(&self, event: &Event) -> Result<Next, Refused> {
        use GroupState as S;
        let record = self.record;
        match (record.state, event) {
            (state, Event::Begin { verb, actor, reason, plan_hash }) if state == verb.origin_state() => {
                let mut next = self.to(S::Preflight, reason);
                next.verb = Some(*verb);
                next.attempt = record.attempt + 1;
                next.actor = actor.clone();
                next.plan_hash = Some(*plan_hash);
                next.before = Vec::new();
                next.finals = Vec::new();
                Ok(enter(next))
            }
            (S::Preflight, Event::Abort { reason }) => {
                Ok(self.back(VerbResult::Undone { reason: reason.clone() }))
            }
            (S::Fencing | S::Draining | S::FinalOffsets, Event::Abort { reason }) => {
                Ok(enter(self.to(S::Undoing, reason)))
            }
            (S::OnTarget, Event::Complete { actor, reason }) => {
                Ok(self.given_up(S::Completing, actor, reason))
            }
            (S::OnSource, Event::Cancel { actor, reason }) => Ok(self.given_up(S::Cancelling, actor, reason)),
            _ => Err(self.refused(event)),
        }
    }

    /// What the executor reports when the effects of a state are done.
    fn reported(&self, event: &Event) -> Result<Next, Refused> {
        use GroupState as S;
        let verb = self.record.verb;
        match (self.record.state, event) {
            (S::Preflight, Event::GatesPassed { before }) => {
                let mut next = self.to(S::Fencing, "every gate passed");
                next.before = before.clone();
                Ok(enter(next))
            }
            (S::Preflight, Event::GatesRefused { reason }) => {
                Ok(self.back(VerbResult::Refused { reason: reason.clone() }))
            }
            (S::Fencing, Event::Fenced { hold }) => {
                let mut next = self.to(S::Draining, "the fence stands");
                next.fence = hold.clone().or(next.fence);
                Ok(enter(next))
            }
            (S::Draining, Event::Drained) => Ok(enter(self.to(S::FinalOffsets, "nothing is left to mirror"))),
            (S::FinalOffsets, Event::FinalsRead { finals }) => {
                let mut next = self.to(S::Recorded, "final offsets are known");
                next.finals = finals.clone();
                Ok(enter(next))
            }
            (S::Recorded, Event::Switched) if verb == Some(Verb::Cutover) => {
                Ok(enter(self.to(S::Verifying, "the route is target")))
            }
            (S::Recorded, Event::PositionsCommitted) if verb == Some(Verb::Rollback) => {
                Ok(enter(self.to(S::Committed, "the positions stand at the source")))
            }
            (S::Committed, Event::Released) if verb == Some(Verb::Rollback) => {
                let mut next = self.to(S::Verifying, "the fence has left, the route is source");
                next.fence = None;
                Ok(enter(next))
            }
            (S::Verifying, Event::Verified { alarms }) => {
                Ok(self.ended(VerbResult::Moved { alarms: alarms.clone() }))
            }
            (S::Undoing, Event::Undone) => {
                Ok(self.back(VerbResult::Undone { reason: self.record.because.clone() }))
            }
            (S::Completing, Event::Released) => {
                let mut next = self.to(S::Completed, &self.record.because);
                next.fence = None;
                Ok(enter(next))
            }
            (S::Cancelling, Event::Forgotten) => Ok(enter(self.to(S::Cancelled, &self.record.because))),
            _ => Err(self.refused(event)),
        }
    }

    /// Before the record a failure goes back, after it the same effects are tried again.
    fn failed(&self, reason: &str, event: &Event) -> Result<Next, Refused> {
        use GroupState as S;
        match self.record.state {
            S::Preflight => Ok(self.back(VerbResult::Undone { reason: reason.to_string() })),
            S::Fencing | S::Draining | S::FinalOffsets => Ok(enter(self.to(S::Undoing, reason))),
            S::Undoing | S::Recorded | S::Committed | S::Verifying | S::Completing | S::Cancelling => {
                // `because` stays: it says why the state was entered, and Undoing's becomes the outcome.
                let trouble = Some(reason.to_string());
                Ok(enter(GroupMove { trouble, ..self.record.clone() }))
            }
            S::OnSource | S::OnTarget | S::Completed | S::Cancelled => Err(self.refused(event)),
        }
    }

    fn fence_adopted(&self, hold: &FenceHold, event: &Event) -> Result<Next, Refused> {
        if !self.expects_fence() {
            return Err(self.refused(event));
        }
        let next = GroupMove { fence: Some(hold.clone()), ..self.record.clone() };
        match next.state {
            GroupState::Recorded => Ok(enter(next)),
            _ => Ok(Next { record: next, effects: Vec::new() }),
        }
    }

    fn fence_lapsed(
        &self,
        hold: &FenceHold,
        moved: Option<&[FinalPosition]>,
        event: &Event,
    ) -> Result<Next, Refused> {
        use GroupState as S;
        let cutover = self.record.verb == Some(Verb::Cutover);
        if cutover && matches!(self.record.state, S::Fencing | S::Draining | S::FinalOffsets) {
            let mut next = self.to(S::Undoing, "the fence at the source lapsed");
            next.fence = Some(hold.clone());
            return Ok(enter(next));
        }
        if !self.expects_fence() {
            return Err(self.refused(event));
        }
        let mut next = GroupMove { fence: Some(hold.clone()), ..self.record.clone() };
        let mut effects = vec![Effect::AlarmLapse];
        if next.state == S::Recorded {
            match moved {
                Some(now) if cutover => next.finals = now.to_vec(),
                Some(_) => {
                    next.state = S::Committed;
                    next.since_ms = self.at_ms;
                    next.because = "the group moved on at the source while the fence was down".into();
                }
                None => {}
            }
            effects.extend(effects_of(next.state, next.verb));
        }
        Ok(Next { record: next, effects })
    }

    /// States that rest on the fence at the source and go on when it is adopted or set again.
    fn expects_fence(&self) -> bool {
        use GroupState as S;
        match self.record.state {
            S::OnTarget | S::Recorded => true,
            S::Verifying => self.record.verb == Some(Verb::Cutover),
            S::Preflight | S::Fencing | S::Draining | S::FinalOffsets | S::Undoing => {
                self.record.verb == Some(Verb::Rollback)
            }
            S::OnSource | S::Committed | S::Completing | S::Completed | S::Cancelling | S::Cancelled => false,
        }
    }

    fn to(&self, state: GroupState, because: &str) -> GroupMove {
        GroupMove {
            state,
            since_ms: self.at_ms,
            because: because.to_string(),
            trouble: None,
            ..self.record.clone()
        }
    }

    /// The end of a move that changed nothing, or whose changes are undone.
    fn back(&self, result: VerbResult) -> Next {
        // Only states of a move come here; a record that lost its verb is taken for the side it is surely on.
        let verb = self.record.verb.unwrap_or(Verb::Cutover);
        let mut next = self.rested(verb, verb.origin_state(), result);
        if verb == Verb::Cutover {
            next.fence = None;
        }
        next.finals = Vec::new();
        enter(next)
    }

    fn ended(&self, result: VerbResult) -> Next {
        let verb = self.record.verb.unwrap_or(Verb::Cutover);
        enter(self.rested(verb, verb.destination_state(), result))
    }

    fn rested(&self, verb: Verb, state: GroupState, result: VerbResult) -> GroupMove {
        let because = match &result {
            VerbResult::Moved { alarms } if alarms.is_empty() => format!("{verb} done"),
            VerbResult::Moved { alarms } => format!("{verb} done, with {} alarms", alarms.len()),
            VerbResult::Refused { reason } => format!("{verb} refused: {reason}"),
            VerbResult::Undone { reason } => format!("{verb} undone: {reason}"),
        };
        let mut next = self.to(state, &because);
        next.last = Some(Outcome { verb, attempt: next.attempt, result, at_ms: self.at_ms });
        next.verb = None;
        next
    }

    fn given_up(&self, state: GroupState, actor: &str, reason: &str) -> Next {
        let mut next = self.to(state, reason);
        next.actor = actor.to_string();
        enter(next)
    }

    fn refused(&self, event: &Event) -> Refused {
        Refused {
            group: self.record.group.clone(),
            state: self.record.state,
            event: event.name().to_string(),
            fix: self.fix(event).to_string(),
        }
    }

    fn fix(&self, event: &Event) -> &'static str {
        use GroupState as S;
        match (event, self.record.state) {
            (_, S::Completed) => "nothing, the way back was given up",
            (_, S::Cancelled) => "link the family again",
            (Event::Begin { .. }, S::OnSource) => "nothing, the group is on the source already",
            (Event::Begin { .. }, S::OnTarget) => "nothing, the group is on the target already",
            (Event::Begin { .. } | Event::Complete { .. } | Event::Cancel { .. }, state)
                if !state.is_at_rest() =>
            {
                "wait for the verb under way, or abort it while it is before the record step"
            }
            (Event::Abort { .. }, S::Undoing) => "nothing, it is being undone",
            (Event::Abort { .. }, state) if state.is_at_rest() => "nothing, no verb is under way",
            (Event::Abort { .. }, _) => "let it end, it is past the record step; then roll back",
            (Event::Complete { .. }, _) => "cut the group over first",
            (Event::Cancel { .. }, _) => "roll the group back first, its route is target",
            _ => "report this, the executor told of something that it was not asked to do",
        }
    }
}

/// A record with the effects of its state.
fn enter(record: GroupMove) -> Next {
    let effects = effects_of(record.state, record.verb);
    Next { record, effects }
}
