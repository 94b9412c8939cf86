//! The HTTP API of the linking service: who may call it, what it answers, and its bounds.
//!
//! Verbs answer `202 Accepted` with an operation; `GET /v1/operations/{id}/events` follows it. Everything that is
//! not a success is a document `{schema, error: {kind, message, fix}}`.

pub mod body;
mod connections;
mod events;
mod evidence;
mod families;
mod gauges;
pub mod guard;
mod limits;
mod operations;
mod pages;
mod problem;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use towpath_plans::evidence::Verified;

use crate::config::ServiceConfig;
use crate::error::LinkerError;
use crate::service::Service;
use connections::Connections;
use guard::{Guard, Right};
use limits::Limiter;
use problem::Refusal;

/// Makes the page that a person can read of a bundle that was verified. What it looks like is not this room's.
pub type ReportPage = fn(bundle: &str, verified: &Verified) -> String;

/// What handlers share.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    /// Streams of events end when the service drains.
    stop: CancellationToken,
    limiter: Arc<Limiter>,
    report: ReportPage,
}

/// The API, ready to serve: whatever is wrong with its part of the service's file has been found.
pub struct Api {
    guard: Arc<Guard>,
    limiter: Arc<Limiter>,
    connections: Connections,
    report: ReportPage,
}

impl Api {
    /// Reads the tokens and registers the metrics. Opens nothing.
    ///
    /// # Errors
    /// A token of the service's file cannot be read or is not safe.
    pub fn new(config: &ServiceConfig, registry: &Registry, report: ReportPage) -> Result<Api, LinkerError> {
        gauges::register(registry, &config.limits)?;
        Ok(Api {
            guard: Arc::new(Guard::new(&config.tokens)?),
            limiter: Limiter::new(config.limits.http_requests_max, registry)?,
            connections: Connections::new(&config.limits, registry)?,
            report,
        })
    }

    /// Serves `service` on `socket` until `stop`; requests under way are answered, streams of events end.
    pub async fn serve(self, service: Arc<Service>, socket: TcpListener, stop: CancellationToken) {
        let Api { guard, limiter, connections, report } = self;
        let shared = Shared { service, stop: stop.clone(), limiter, report };
        connections.serve(socket, router(shared, guard), stop).await;
    }
}

/// Middleware: a service that another one has taken over from knows nothing that counts any more. Operations are
/// shown to their end: they are its own.
async fn superseded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let about_now = path.starts_with("/v1/") && !path.starts_with("/v1/operations");
    match shared.service.journal().check_mine() {
        Err(error) if about_now => Refusal::from(error).into_response(),
        _ => next.run(request).await,
    }
}

fn router(shared: Shared, guard: Arc<Guard>) -> Router {
    let limiter = shared.limiter.clone();
    let needs =
        |router: Router<Shared>, right: Right| router.route_layer(from_fn_with_state(right, guard::require));
    let family = |path: &str| format!("/v1/families/{{family}}/{path}");
    let read = Router::new()
        .route("/metrics", get(pages::metrics))
        .route("/v1/status", get(families::all))
        .route(&family("status"), get(families::status))
        .route(&family("translate"), get(families::translate))
        .route(&family("fences"), get(families::fences))
        .route("/v1/operations", get(operations::list))
        .route("/v1/operations/{id}", get(operations::one))
        .route("/v1/operations/{id}/events", get(events::follow));
    let audit = Router::new()
        .route(&family("evidence"), get(evidence::lines))
        .route(&family("evidence/bundle"), get(evidence::bundle))
        .route(&family("evidence/report"), get(evidence::report));
    let operate = Router::new()
        .route("/v1/plans/check", post(families::check))
        .route("/v1/links", post(families::link))
        .route(&family("cutover"), post(families::cutover))
        .route(&family("rollback"), post(families::rollback))
        .route(&family("pause"), post(families::pause))
        .route(&family("resume"), post(families::resume))
        .route(&family("cancel"), post(families::cancel))
        .route(&family("diff"), post(families::diff))
        .route(&family("fences/release"), post(families::release_fence))
        .route("/v1/operations/{id}/abort", post(operations::abort));
    let approve = Router::new().route(&family("complete"), post(families::complete));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(pages::ready))
        .merge(needs(read, Right::Read))
        .merge(needs(audit, Right::Audit))
        .merge(needs(operate, Right::Operate))
        .merge(needs(approve, Right::Approve))
        .fallback(async || Refusal::unknown("this address", "see docs/operating.md for the API's"))
        .method_not_allowed_fallback(async || {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Refusal::caller(status, "this address does not take this method", "GET reads, POST changes")
        })
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(from_fn(limits::in_time))
        .layer(from_fn_with_state(shared.clone(), superseded))
        .layer(from_fn_with_state(guard, guard::admit))
        .layer(from_fn_with_state(limiter, limits::in_turn))
        .with_state(shared)
}
