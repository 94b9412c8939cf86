//! SyncGroup: consumer groups, answered by [`crate::group`].

use bytes::Bytes;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use crate::group::classic::SyncInput;
use crate::server::{ClientContext, Shared};

/// Answers one SyncGroup request.
pub async fn handle(
    broker: &Shared,
    ctx: &ClientContext,
    _version: i16,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let owned = |text: &Option<StrBytes>| text.as_ref().map(|text| text.to_string());
    // Copied out of the frame: a group outlives its requests.
    let parts = request
        .assignments
        .iter()
        .map(|part| (part.member_id.to_string(), Bytes::copy_from_slice(&part.assignment)));
    let input = SyncInput {
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        generation: request.generation_id,
        protocol_type: owned(&request.protocol_type),
        protocol: owned(&request.protocol_name),
        assignments: parts.collect(),
    };
    let answer = broker.groups.sync(ctx, &request.group_id, input).await;
    SyncGroupResponse::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_protocol_type(answer.protocol_type.map(StrBytes::from_string))
        .with_protocol_name(answer.protocol.map(StrBytes::from_string))
        .with_assignment(answer.assignment)
}
