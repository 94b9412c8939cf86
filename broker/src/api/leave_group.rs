//! LeaveGroup: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::server::{ClientContext, Shared};

/// Answers one LeaveGroup request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    // Filled in once the coordinator is wired.
    LeaveGroupResponse::default()
}
