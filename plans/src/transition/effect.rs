//! What a state asks the executor to do. Effects carry no data: what they need is in the [`super::GroupMove`]
//! that was journaled before them. Each is safe to repeat, because a crash can always be just behind it.

use serde::{Deserialize, Serialize};

use super::record::{GroupState, Route, Verb};

/// One thing to do. After all effects of a state are done, the executor reports that state's event;
/// `AdoptFence` alone reports [`super::Event::FenceAdopted`] or [`super::Event::FenceLapsed`] by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Observe and evaluate the gates; read the committed offsets of the side that is left.
    EvaluateGates,
    /// Wait for the source group to be empty, or evict its members, and join as the fence member; confirmed only
    /// after SyncGroup and a heartbeat. Fence the producers that the plan names.
    FenceSource,
    /// Wait for the target group to be empty, or not, by the plan's `fence`; the change of route that follows
    /// holds whoever is left.
    QuietTarget,
    /// Set the route at the target, with this attempt's number and without offsets. Done already when the route
    /// is `to`; a conflict when it is neither.
    SetRoute {
        /// The route it has.
        from: Route,
        /// The route it gets.
        to: Route,
    },
    /// Wait until the side that is entered holds all that the side that is left had at the fence moment, and the
    /// diff has compared it.
    AwaitDrain,
    /// Read committed offsets behind the fence (`require_stable`), translate them, add the uncommitted ones.
    ReadFinalOffsets,
    /// One conditional operation at the target's coordinator: final target offsets, route `draining` to `target`,
    /// this attempt's number.
    Switch,
    /// Commit the final source offsets as the fence member with its own generation. A fence member that is gone
    /// must not be replaced here: report [`super::Event::FenceLapsed`].
    CommitAtSource,
    /// The fence member leaves the source group. Done already when it is gone; it is never joined again for this.
    ReleaseFence,
    /// As the fence member, put back each committed offset of `before` that is gone from the source. One that is
    /// there is left alone, whatever it is: it is the group's own. Without the fence nothing is put back: the
    /// group may have moved on.
    RestoreSource,
    /// Compare positions with their translation, watch the first commits advance, look for readers left behind.
    Verify,
    /// Take the fence over, if the source still knows the **journaled** membership (member id and generation).
    /// Any other answer is a lapse, also a fence of our own with another generation: it was set just before a
    /// crash, and nobody has looked yet at what happened before it. Then fence again where needed, and compare
    /// the committed offsets with what Towpath itself committed there last; others mean that the group moved.
    AdoptFence,
    /// Drop the route at the target; the group becomes an ordinary one, its offsets stay.
    ForgetRoute,
    /// Tell people: the fence was down for a while. Evidence and metric, no change.
    AlarmLapse,
}

/// What the executor does about the fence, beside the effects, for as long as a state lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceDuty {
    /// There is no fence, or it is coming or going.
    None,
    /// Heartbeats, so that the session does not end.
    Heartbeat,
    /// Heartbeats, and every sync interval the translated target positions are committed at the source.
    CommitTargetPositions,
}

/// The fence duty of a state.
pub fn fence_duty(state: GroupState, verb: Option<Verb>) -> FenceDuty {
    use GroupState as S;
    match (state, verb) {
        (S::OnTarget, _) | (S::Verifying, Some(Verb::Cutover)) | (S::Preflight, Some(Verb::Rollback)) => {
            FenceDuty::CommitTargetPositions
        }
        (S::Draining | S::FinalOffsets | S::Recorded, Some(_)) => FenceDuty::Heartbeat,
        (S::Fencing | S::Undoing, Some(Verb::Rollback)) => FenceDuty::Heartbeat,
        _ => FenceDuty::None,
    }
}

/// The effects of entering a state, in order. Steps, transitions and recovery all take them from here.
pub fn effects_of(state: GroupState, verb: Option<Verb>) -> Vec<Effect> {
    use GroupState as S;
    let rollback = verb == Some(Verb::Rollback);
    match state {
        S::Preflight => vec![Effect::EvaluateGates],
        S::Fencing if rollback => {
            vec![Effect::QuietTarget, Effect::SetRoute { from: Route::Target, to: Route::Draining }]
        }
        S::Fencing => {
            vec![Effect::FenceSource, Effect::SetRoute { from: Route::Source, to: Route::Draining }]
        }
        S::Draining => vec![Effect::AwaitDrain],
        S::FinalOffsets => vec![Effect::ReadFinalOffsets],
        S::Recorded if rollback => vec![Effect::CommitAtSource],
        S::Recorded => vec![Effect::Switch],
        S::Committed => {
            vec![Effect::SetRoute { from: Route::Draining, to: Route::Source }, Effect::ReleaseFence]
        }
        S::Verifying => vec![Effect::Verify],
        S::Undoing if rollback => vec![Effect::SetRoute { from: Route::Draining, to: Route::Target }],
        S::Undoing => vec![
            Effect::RestoreSource,
            Effect::SetRoute { from: Route::Draining, to: Route::Source },
            Effect::ReleaseFence,
        ],
        S::Completing => vec![Effect::ReleaseFence, Effect::ForgetRoute],
        S::Cancelling => vec![Effect::ForgetRoute],
        S::OnSource | S::OnTarget | S::Completed | S::Cancelled => Vec::new(),
    }
}
