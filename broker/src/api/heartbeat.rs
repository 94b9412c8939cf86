//! Heartbeat: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::server::{ClientContext, Shared};

/// Answers one Heartbeat request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let instance_id = request.group_instance_id.as_deref();
    let beat = broker
        .groups
        .heartbeat(&request.group_id, &request.member_id, instance_id, request.generation_id)
        .await;
    HeartbeatResponse::default().with_error_code(beat.err().map_or(0, |error| error.code()))
}
