//! `/readyz` and `/metrics`.

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::TextEncoder;

use super::Shared;
use super::guard::Caller;

/// Whether it may act, every link runs, and it is not draining. Why not, only to those who may read status: the
/// reason names families and clusters.
pub async fn ready(State(shared): State<Shared>, caller: Option<Extension<Caller>>) -> Response {
    if shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match shared.service.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            let why = if caller.is_some() { why } else { "not ready".into() };
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
        }
    }
}

/// All metrics of the process.
pub async fn metrics(State(shared): State<Shared>) -> Response {
    match TextEncoder::new().encode_to_string(&shared.service.registry().gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
