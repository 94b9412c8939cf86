//! The states of a classic group and the one function that moves between them.

/// Where a group is in its rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No members. May hold offsets, and may wait for its first member.
    Empty,
    /// Members are asked to join the next generation. A held group with members stays here.
    PreparingRebalance,
    /// A generation exists; its leader is computing the assignment.
    CompletingRebalance,
    /// Every member has, or can ask for, its assignment.
    Stable,
    /// Deleted. Nothing leads out of here; the name may be used by a new group.
    Dead,
}

/// What happened to a group, as far as its state is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Members were added, changed or lost: a new generation is needed.
    RebalanceNeeded,
    /// The join phase ended with at least one member.
    JoinPhaseDone,
    /// The join phase ended, or was given up, without members.
    MembersGone,
    /// The leader's assignment arrived.
    AssignmentReceived,
    /// The route closed behind the members: all that were not waiting to join have been removed.
    Evicted,
    /// The group was deleted, or its last offset expired.
    Deleted,
}

impl State {
    /// All states, for tests and metrics.
    pub const ALL: [State; 5] =
        [State::Empty, State::PreparingRebalance, State::CompletingRebalance, State::Stable, State::Dead];

    /// The state as Kafka's tools print it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }

    /// The state after `event`, or `None` when the event can't happen in this state.
    ///
    /// ```text
    ///            RebalanceNeeded          JoinPhaseDone           AssignmentReceived
    ///   Empty ───────────────▶ Preparing ─────────────▶ Completing ────────────────▶ Stable
    ///     ▲                    Rebalance                Rebalance                      │
    ///     ├──── MembersGone ──────┘ ▲ ◀─── RebalanceNeeded ─┘                          │
    ///     │                         └───────────────── RebalanceNeeded ────────────────┤
    ///     └───────────────────────────────── Evicted ──────────────────────────────────┘
    ///
    ///   Empty               --RebalanceNeeded-->    PreparingRebalance    the first member arrives
    ///   Empty               --Evicted-->            Empty                 nobody was there
    ///   Empty               --Deleted-->            Dead
    ///   PreparingRebalance  --JoinPhaseDone-->      CompletingRebalance   all joined, or time is up
    ///   PreparingRebalance  --MembersGone-->        Empty                 all left or timed out
    ///   PreparingRebalance  --Evicted-->            PreparingRebalance    those waiting to join are held
    ///   CompletingRebalance --AssignmentReceived--> Stable                SyncGroup of the leader
    ///   CompletingRebalance --RebalanceNeeded-->    PreparingRebalance
    ///   CompletingRebalance --Evicted-->            Empty
    ///   Stable              --RebalanceNeeded-->    PreparingRebalance
    ///   Stable              --Evicted-->            Empty
    /// ```
    pub fn after(self, event: Event) -> Option<State> {
        match (self, event) {
            (State::Empty, Event::RebalanceNeeded) => Some(State::PreparingRebalance),
            (State::Empty, Event::Evicted) => Some(State::Empty),
            (State::Empty, Event::Deleted) => Some(State::Dead),
            (State::Empty, Event::JoinPhaseDone | Event::MembersGone | Event::AssignmentReceived) => None,
            (State::PreparingRebalance, Event::JoinPhaseDone) => Some(State::CompletingRebalance),
            (State::PreparingRebalance, Event::MembersGone) => Some(State::Empty),
            (State::PreparingRebalance, Event::Evicted) => Some(State::PreparingRebalance),
            (
                State::PreparingRebalance,
                Event::RebalanceNeeded | Event::AssignmentReceived | Event::Deleted,
            ) => None,
            (State::CompletingRebalance, Event::AssignmentReceived) => Some(State::Stable),
            (State::CompletingRebalance | State::Stable, Event::RebalanceNeeded) => {
                Some(State::PreparingRebalance)
            }
            (State::CompletingRebalance | State::Stable, Event::Evicted) => Some(State::Empty),
            (State::CompletingRebalance, Event::JoinPhaseDone | Event::MembersGone | Event::Deleted) => None,
            (
                State::Stable,
                Event::JoinPhaseDone | Event::MembersGone | Event::AssignmentReceived | Event::Deleted,
            ) => None,
            (
                State::Dead,
                Event::RebalanceNeeded
                | Event::JoinPhaseDone
                | Event::MembersGone
                | Event::AssignmentReceived
                | Event::Evicted
                | Event::Deleted,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 6] = [
        Event::RebalanceNeeded,
        Event::JoinPhaseDone,
        Event::MembersGone,
        Event::AssignmentReceived,
        Event::Evicted,
        Event::Deleted,
    ];

    fn diagram() -> Vec<(String, String, String)> {
        let lines = include_str!("state.rs").lines().filter_map(|line| line.trim().strip_prefix("///   "));
        lines
            .filter_map(|line| {
                let (from, rest) = line.split_once(" --")?;
                let (event, rest) = rest.split_once("--> ")?;
                let to = rest.split_whitespace().next()?;
                Some((from.trim().to_owned(), event.to_owned(), to.to_owned()))
            })
            .collect()
    }

    #[test]
    fn the_diagram_names_every_transition_and_no_other() {
        let mut real = Vec::new();
        for from in State::ALL {
            for event in EVENTS {
                if let Some(to) = from.after(event) {
                    real.push((from.name().to_owned(), format!("{event:?}"), to.name().to_owned()));
                }
            }
        }
        let mut drawn = diagram();
        real.sort();
        drawn.sort();
        assert_eq!(drawn, real);
    }

    #[test]
    fn nothing_leads_out_of_dead() {
        assert!(EVENTS.iter().all(|event| State::Dead.after(*event).is_none()));
    }
}
