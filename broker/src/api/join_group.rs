//! JoinGroup: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::server::{ClientContext, Shared};

/// Answers one JoinGroup request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: JoinGroupRequest,
) -> JoinGroupResponse {
    // Filled in once the coordinator is wired.
    JoinGroupResponse::default()
}
