//! ListTransactions: none, until transactions can start on this broker.

use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::server::{ClientContext, Shared};

/// The states that Kafka's transaction coordinator knows.
const STATES: [&str; 7] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
];

/// Answers one ListTransactions request with an empty list.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let unknown: Vec<StrBytes> =
        request.state_filters.into_iter().filter(|state| !STATES.contains(&state.as_str())).collect();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown)
}
