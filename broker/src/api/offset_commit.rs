//! OffsetCommit: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::server::{ClientContext, Shared};

/// Answers one OffsetCommit request.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    // Filled in once the coordinator is wired.
    OffsetCommitResponse::default()
}
