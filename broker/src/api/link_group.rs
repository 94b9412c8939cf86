//! LinkGroup: a link's verbs on the groups that it moves (DESIGN §5.6). Towpath's own API.

use kafka_protocol::ResponseError;
use towpath_wire::private::{LinkGroupError, LinkGroupRequest, LinkGroupResponse};

use crate::server::{ClientContext, Shared};

/// Answers one LinkGroup request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: LinkGroupRequest,
) -> LinkGroupResponse {
    // Filled in once the coordinator is wired.
    let message = format!("group {:?}: the coordinator is not available yet; fix: retry", request.group);
    let code = ResponseError::CoordinatorNotAvailable.code();
    LinkGroupResponse { error: Some(LinkGroupError { code, message }), state: None }
}
