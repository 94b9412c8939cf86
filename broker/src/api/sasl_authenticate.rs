//! SaslAuthenticate: refused, since no handshake can have succeeded on this listener.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_protocol::protocol::StrBytes;

use crate::server::{ClientContext, Shared};

/// Answers one SaslAuthenticate request as Kafka does on a listener without SASL.
pub async fn handle(
    _broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    _request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_error_code(ResponseError::IllegalSaslState.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "SaslAuthenticate came without a successful SaslHandshake: this listener has no SASL; \
             fix: set security.protocol to PLAINTEXT",
        )))
}
