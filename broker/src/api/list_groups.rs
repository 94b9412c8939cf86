//! ListGroups: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::server::{ClientContext, Shared};

/// Answers one ListGroups request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: ListGroupsRequest,
) -> ListGroupsResponse {
    // Filled in once the coordinator is wired.
    ListGroupsResponse::default()
}
