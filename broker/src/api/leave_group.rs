//! LeaveGroup: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::group::classic::LeaveInput;
use crate::server::{ClientContext, Shared};

/// From this version on a request names many members, each with its own result (KIP-345).
const BATCHED_SINCE: i16 = 3;

/// Answers one LeaveGroup request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let members = if version >= BATCHED_SINCE {
        request.members
    } else {
        vec![MemberIdentity::default().with_member_id(request.member_id).with_group_instance_id(None)]
    };
    let leaving: Vec<_> = members
        .iter()
        .map(|member| LeaveInput {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
        })
        .collect();
    let code =
        |result: &Result<(), kafka_protocol::ResponseError>| result.err().map_or(0, |error| error.code());
    let results = match broker.groups.leave(&request.group_id, &leaving).await {
        Ok(results) => results,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    if version < BATCHED_SINCE {
        return LeaveGroupResponse::default().with_error_code(results.first().map_or(0, code));
    }
    let members = members.into_iter().zip(&results).map(|(member, result)| {
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(result))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
