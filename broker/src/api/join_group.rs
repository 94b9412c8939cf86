//! JoinGroup: consumer groups, answered by [`crate::group`].

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use crate::group::classic::{JoinAnswer, JoinInput, JoinedMember, Protocol};
use crate::server::{ClientContext, Shared};

/// The first version in which a member may have no protocol name to report as null.
const NULLABLE_PROTOCOL_SINCE: i16 = 7;

/// Answers one JoinGroup request.
pub async fn handle(
    broker: &Shared,
    ctx: &ClientContext,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let group = request.group_id.to_string();
    let answer = broker.groups.join(ctx, &group, input(ctx, version, request)).await;
    response(version, answer)
}

fn input(ctx: &ClientContext, version: i16, request: JoinGroupRequest) -> JoinInput {
    // Copied out of the frame: a group outlives its requests.
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.to_string(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinInput {
        version,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
        client_id: ctx.client_id.to_string(),
        client_host: ctx.client_host.to_string(),
        connection_id: ctx.connection_id,
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version >= 1 {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        new_member_id: String::new(),
    }
}

fn response(version: i16, answer: JoinAnswer) -> JoinGroupResponse {
    let text = |text: Option<String>| text.map(StrBytes::from_string);
    let protocol = text(answer.protocol);
    let protocol =
        if version >= NULLABLE_PROTOCOL_SINCE { protocol } else { Some(protocol.unwrap_or_default()) };
    JoinGroupResponse::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_generation_id(answer.generation)
        .with_protocol_type(text(answer.protocol_type))
        .with_protocol_name(protocol)
        .with_leader(StrBytes::from_string(answer.leader))
        .with_skip_assignment(answer.skip_assignment)
        .with_member_id(StrBytes::from_string(answer.member_id))
        .with_members(answer.members.into_iter().map(member).collect())
}

fn member(member: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember::default()
        .with_member_id(StrBytes::from_string(member.member_id))
        .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
        .with_metadata(member.metadata)
}
