//! OffsetFetch: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use crate::server::{ClientContext, Shared};

/// Answers one OffsetFetch request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    // Filled in once the coordinator is wired.
    OffsetFetchResponse::default()
}
