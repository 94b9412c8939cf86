//! DeleteGroups: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::server::{ClientContext, Shared};

/// Answers one DeleteGroups request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    // Filled in once the coordinator is wired.
    DeleteGroupsResponse::default()
}
