//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::server::Shared;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The broker.
    pub shared: Arc<Shared>,
    /// All metrics of the process.
    pub registry: Registry,
}

/// Serves until the broker has stopped. While it drains, `/readyz` says so.
pub async fn serve(socket: TcpListener, pages: Pages) {
    let stopped = pages.shared.stopped.clone();
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    let served = axum::serve(socket, router).with_graceful_shutdown(stopped.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP pages ended");
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    match pages.shared.stopping.is_cancelled() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
        false => "ready\n".into_response(),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    pages.shared.metrics.refresh_process();
    pages.shared.objects.refresh(pages.shared.partitions.appended_bytes());
    match TextEncoder::new().encode_to_string(&pages.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
