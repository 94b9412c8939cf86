//! The rules of a group's route (DESIGN §5.6), without effects.
//!
//! ```text
//!   (none) ──Declare──▶ source ──▶ draining ──▶ target
//!                         │  ◀───────┘ ▲          │
//!                         └────────────┼──────────┘ (draining → source ends a rollback)
//!                          source ──▶ target        target ──▶ draining
//! ```
//!
//! `target → source` in one step is refused: final offsets of the target are only final behind `draining`.

use towpath_wire::private::{GroupOp, LinkGroupError, Route, code};

use super::records::RouteRecord;

/// What an operation does to the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteChange {
    /// Nothing: it is a question, or has been done before.
    None,
    /// Offsets are replaced; the route stays.
    OffsetsOnly,
    /// The group gets this route.
    To(RouteRecord),
    /// The group becomes an ordinary one.
    Forget,
}

/// Decides what `op` of `link` does to a group with this route.
pub(super) fn decide(
    current: Option<&RouteRecord>,
    link: &str,
    op: &GroupOp,
    now_ms: i64,
) -> Result<RouteChange, LinkGroupError> {
    if let Some(other) = current.filter(|current| current.link != link)
        && *op != GroupOp::Describe
    {
        let message =
            format!("the group belongs to link {:?}; fix: move it with that link's plan", other.link);
        return Err(LinkGroupError { code: code::LINK_CONFLICT, message });
    }
    match (op, current) {
        (GroupOp::Describe, _) | (GroupOp::Declare, Some(_)) => Ok(RouteChange::None),
        (GroupOp::Declare, None) => {
            let link = link.to_owned();
            let record = RouteRecord { link, route: Route::Source, attempt: 0, since_ms: now_ms };
            Ok(RouteChange::To(record))
        }
        (GroupOp::Forget, None) => Ok(RouteChange::None),
        (GroupOp::Forget, Some(_)) => Ok(RouteChange::Forget),
        (_, None) => Err(conflict("the group has no route; fix: declare it first".to_owned())),
        (GroupOp::Sync { .. }, Some(current)) if current.route == Route::Target => {
            let message = "the group consumes on the target, its own commits count; fix: stop syncing it";
            Err(conflict(message.to_owned()))
        }
        (GroupOp::Sync { .. }, Some(_)) => Ok(RouteChange::OffsetsOnly),
        (GroupOp::Route { attempt, from, to, .. }, Some(current)) => {
            switch(current, (*attempt, *from, *to), now_ms)
        }
    }
}

fn switch(
    current: &RouteRecord,
    (attempt, from, to): (u64, Route, Route),
    now_ms: i64,
) -> Result<RouteChange, LinkGroupError> {
    if attempt == current.attempt && to == current.route {
        return Ok(RouteChange::None);
    }
    let at = format!("the route is {:?} by attempt {}", current.route, current.attempt);
    if attempt < current.attempt {
        return Err(conflict(format!(
            "{at}, attempt {attempt} is of the past; fix: read the state and go on from it"
        )));
    }
    if from != current.route {
        return Err(conflict(format!("{at}, not {from:?}; fix: read the state and go on from it")));
    }
    match (from, to) {
        (Route::Source, Route::Draining | Route::Target)
        | (Route::Draining, Route::Source | Route::Target)
        | (Route::Target, Route::Draining) => Ok(RouteChange::To(RouteRecord {
            link: current.link.clone(),
            route: to,
            attempt,
            since_ms: now_ms,
        })),
        (Route::Target, Route::Source) => {
            Err(conflict(format!("{at}; fix: go by draining, the final offsets are only final there")))
        }
        (Route::Source, Route::Source)
        | (Route::Draining, Route::Draining)
        | (Route::Target, Route::Target) => {
            Err(conflict(format!("{at}, and attempt {attempt} asks for no move")))
        }
    }
}

fn conflict(message: String) -> LinkGroupError {
    LinkGroupError { code: code::ROUTE_CONFLICT, message }
}

/// The route's name as configs and tools show it.
pub(super) fn name(route: Route) -> &'static str {
    match route {
        Route::Source => "source",
        Route::Draining => "draining",
        Route::Target => "target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(route: Route, attempt: u64) -> RouteRecord {
        RouteRecord { link: "l".to_owned(), route, attempt, since_ms: 1 }
    }

    fn go(attempt: u64, from: Route, to: Route) -> GroupOp {
        GroupOp::Route { attempt, from, to, offsets: Vec::new() }
    }

    fn code_of(result: Result<RouteChange, LinkGroupError>) -> i16 {
        result.unwrap_err().code
    }

    #[test]
    fn a_route_moves_only_from_where_it_is_and_only_forward_in_attempts() {
        use Route::*;
        let moves = [
            (Source, Draining),
            (Source, Target),
            (Draining, Source),
            (Draining, Target),
            (Target, Draining),
        ];
        for current in [Source, Draining, Target] {
            for from in [Source, Draining, Target] {
                for to in [Source, Draining, Target] {
                    for attempt in 4..=6 {
                        let result = decide(Some(&at(current, 5)), "l", &go(attempt, from, to), 9);
                        let repeated = attempt == 5 && to == current;
                        let allowed = attempt >= 5 && from == current && moves.contains(&(from, to));
                        match result {
                            Ok(RouteChange::None) => assert!(repeated),
                            Ok(RouteChange::To(record)) => {
                                assert!(allowed && !repeated);
                                assert_eq!((record.route, record.attempt, record.since_ms), (to, attempt, 9));
                            }
                            Ok(other) => panic!("{other:?}"),
                            Err(error) => {
                                assert!(!allowed && !repeated);
                                assert_eq!(error.code, code::ROUTE_CONFLICT);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn another_link_may_look_but_not_touch() {
        let current = at(Route::Source, 0);
        for op in [GroupOp::Declare, GroupOp::Forget, GroupOp::Sync { offsets: Vec::new() }] {
            assert_eq!(code_of(decide(Some(&current), "other", &op, 1)), code::LINK_CONFLICT);
        }
        assert_eq!(decide(Some(&current), "other", &GroupOp::Describe, 1), Ok(RouteChange::None));
    }

    #[test]
    fn positions_are_synced_until_the_group_consumes_here() {
        let sync = GroupOp::Sync { offsets: Vec::new() };
        assert_eq!(decide(Some(&at(Route::Draining, 1)), "l", &sync, 1), Ok(RouteChange::OffsetsOnly));
        assert_eq!(code_of(decide(Some(&at(Route::Target, 1)), "l", &sync, 1)), code::ROUTE_CONFLICT);
        assert_eq!(code_of(decide(None, "l", &sync, 1)), code::ROUTE_CONFLICT);
    }

    #[test]
    fn declaring_twice_is_the_same_as_once() {
        let first = decide(None, "l", &GroupOp::Declare, 7);
        let RouteChange::To(record) = first.unwrap() else { panic!("a route") };
        assert_eq!((record.route, record.attempt), (Route::Source, 0));
        assert_eq!(decide(Some(&record), "l", &GroupOp::Declare, 8), Ok(RouteChange::None));
    }
}
