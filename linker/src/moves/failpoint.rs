//! Points at which a test may kill the process: `TOWPATH_FAILPOINT=NAME` in the environment aborts it there.
//!
//! There is one before and one after each journal entry and each effect of a verb: `cutover:before:switch`,
//! `cutover:after:journal:recorded`. Unset, a point costs one load.

use std::sync::OnceLock;

use towpath_plans::transition::{Effect, GroupState, Route, Verb, effects_of};

/// The variable that names the point to abort at.
pub const VARIABLE: &str = "TOWPATH_FAILPOINT";

/// On which side of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Just before.
    Before,
    /// Just after.
    After,
}

/// What a point is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The journal entry that enters a state.
    Journal(GroupState),
    /// An effect.
    Effect(Effect),
}

/// Aborts the process when `TOWPATH_FAILPOINT` names this point.
pub(super) fn pass(verb: Option<Verb>, edge: Edge, point: Point) {
    static ARMED: OnceLock<Option<String>> = OnceLock::new();
    if let Some(armed) = ARMED.get_or_init(|| std::env::var(VARIABLE).ok())
        && *armed == name(verb, edge, point)
    {
        tracing::info!(point = armed, "aborting, as asked by {VARIABLE}");
        std::process::abort();
    }
}

/// Every point of a verb's way without trouble, in order, for tests that go through them all.
pub fn names(verb: Verb) -> Vec<String> {
    use GroupState as S;
    let way = match verb {
        Verb::Cutover => {
            vec![S::Preflight, S::Fencing, S::Draining, S::FinalOffsets, S::Recorded, S::Verifying]
        }
        Verb::Rollback => vec![
            S::Preflight,
            S::Fencing,
            S::Draining,
            S::FinalOffsets,
            S::Recorded,
            S::Committed,
            S::Verifying,
        ],
    };
    let mut names = Vec::new();
    let mut both = |point| {
        names.push(name(Some(verb), Edge::Before, point));
        names.push(name(Some(verb), Edge::After, point));
    };
    for state in way {
        both(Point::Journal(state));
        effects_of(state, Some(verb)).into_iter().map(Point::Effect).for_each(&mut both);
    }
    both(Point::Journal(verb.destination_state()));
    names
}

/// `VERB:EDGE:journal:STATE` or `VERB:EDGE:EFFECT`.
fn name(verb: Option<Verb>, edge: Edge, point: Point) -> String {
    let verb = verb.map_or("rest".to_owned(), |verb| verb.to_string());
    let edge = match edge {
        Edge::Before => "before",
        Edge::After => "after",
    };
    match point {
        Point::Journal(state) => format!("{verb}:{edge}:journal:{}", snake(state)),
        Point::Effect(Effect::SetRoute { to, .. }) => {
            let to = match to {
                Route::Source => "source",
                Route::Draining => "draining",
                Route::Target => "target",
            };
            format!("{verb}:{edge}:route_{to}")
        }
        Point::Effect(effect) => format!("{verb}:{edge}:{}", snake(effect)),
    }
}

/// The name that the value has in the journal.
fn snake(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_of_both_verbs_has_a_name_of_its_own() {
        let (cutover, rollback) = (names(Verb::Cutover), names(Verb::Rollback));
        for name in
            ["cutover:before:switch", "cutover:after:journal:recorded", "cutover:after:route_draining"]
        {
            assert!(cutover.iter().any(|known| known == name), "{cutover:?}");
        }
        for name in ["rollback:before:commit_at_source", "rollback:after:journal:on_source"] {
            assert!(rollback.iter().any(|known| known == name), "{rollback:?}");
        }
        let all: Vec<String> = cutover.into_iter().chain(rollback).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|name| !name.ends_with(':')));
    }
}
