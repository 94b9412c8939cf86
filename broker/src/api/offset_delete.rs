//! OffsetDelete: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::server::{ClientContext, Shared};

/// Answers one OffsetDelete request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    // Filled in once the coordinator is wired.
    OffsetDeleteResponse::default()
}
