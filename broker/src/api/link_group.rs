//! LinkGroup: a link's verbs on the groups that it moves (DESIGN §5.6). Towpath's own API.

use towpath_wire::private::{LinkGroupRequest, LinkGroupResponse};

use crate::server::{ClientContext, Shared};

/// Answers one LinkGroup request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: LinkGroupRequest,
) -> LinkGroupResponse {
    broker.groups.link_group(request).await
}
