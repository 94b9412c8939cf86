//! SaslHandshake: this listener has no SASL mechanism.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

use crate::server::{ClientContext, Shared};

/// Answers one SaslHandshake request: no mechanism is enabled.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(ResponseError::UnsupportedSaslMechanism.code())
}
