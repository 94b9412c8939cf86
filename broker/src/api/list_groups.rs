//! ListGroups: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::server::{ClientContext, Shared};

/// Answers one ListGroups request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let owned = |names: &[StrBytes]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    match broker.groups.list(&owned(&request.states_filter), &owned(&request.types_filter)) {
        Err(error) => ListGroupsResponse::default().with_error_code(error.code()),
        Ok(groups) => {
            let groups = groups.into_iter().map(|group| {
                ListedGroup::default()
                    .with_group_id(GroupId(StrBytes::from_string(group.group)))
                    .with_protocol_type(StrBytes::from_string(group.protocol_type))
                    .with_group_state(StrBytes::from_static_str(group.state))
                    .with_group_type(StrBytes::from_static_str(group.group_type))
            });
            ListGroupsResponse::default().with_groups(groups.collect())
        }
    }
}
