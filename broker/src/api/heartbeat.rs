//! Heartbeat: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::server::{ClientContext, Shared};

/// Answers one Heartbeat request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: HeartbeatRequest,
) -> HeartbeatResponse {
    // Filled in once the coordinator is wired.
    HeartbeatResponse::default()
}
