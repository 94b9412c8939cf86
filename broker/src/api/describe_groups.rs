//! DescribeGroups: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::server::{ClientContext, Shared};

/// Answers one DescribeGroups request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    // Filled in once the coordinator is wired.
    DescribeGroupsResponse::default()
}
