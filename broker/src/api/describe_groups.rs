//! DescribeGroups: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::topics::OPERATIONS_NOT_ASKED;
use crate::group;
use crate::server::{ClientContext, Shared};

/// Bits of the operations that a client may do on a group (READ, DELETE, DESCRIBE), since there are no ACLs.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
/// What Kafka calls a group that does not exist, before version 6.
const DEAD: &str = "Dead";

/// Answers one DescribeGroups request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations =
        if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let groups =
        request.groups.into_iter().map(|id| describe(broker, id).with_authorized_operations(operations));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe(broker: &Shared, id: GroupId) -> DescribedGroup {
    let found = broker.groups.describe(&id);
    let response = DescribedGroup::default().with_group_id(id);
    match found {
        Err(error) => response.with_error_code(error.code()),
        Ok(None) => response.with_group_state(StrBytes::from_static_str(DEAD)),
        Ok(Some(group)) => response
            .with_group_state(StrBytes::from_static_str(group.state))
            .with_protocol_type(StrBytes::from_string(group.protocol_type))
            .with_protocol_data(StrBytes::from_string(group.protocol))
            .with_members(group.members.into_iter().map(member).collect()),
    }
}

fn member(member: group::DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(StrBytes::from_string(member.member_id))
        .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
        .with_client_id(StrBytes::from_string(member.client_id))
        .with_client_host(StrBytes::from_string(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
