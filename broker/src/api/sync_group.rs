//! SyncGroup: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::server::{ClientContext, Shared};

/// Answers one SyncGroup request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: SyncGroupRequest,
) -> SyncGroupResponse {
    // Filled in once the coordinator is wired.
    SyncGroupResponse::default()
}
