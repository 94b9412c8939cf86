//! Bounds of the API: requests at once, bytes of a body, time for an answer, streams of events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{IntCounter, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Refusal;
use crate::error::LinkerError;

/// Bytes of a request's body: a plan of some thousand groups.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Time for an answer, the body's arrival included. What takes longer is an operation.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Counts what is under way.
pub struct Limiter {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    limit: usize,
    refused: IntCounter,
}

impl Limiter {
    /// So many requests at once, and as many streams of events besides.
    pub fn new(limit: usize, registry: &Registry) -> Result<Arc<Limiter>, LinkerError> {
        let broken = |error: prometheus::Error| LinkerError::Bug(format!("metrics of the API: {error}"));
        let refused = IntCounter::new(
            "towpath_linker_http_refused_total",
            "Requests that were refused because too many were under way",
        );
        let refused = refused.map_err(broken)?;
        registry.register(Box::new(refused.clone())).map_err(broken)?;
        let semaphore = || Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Ok(Arc::new(Limiter { requests: semaphore(), streams: semaphore(), limit, refused }))
    }

    /// Room for one more stream of events, as long as the permit lives.
    ///
    /// # Errors
    /// Too many are open.
    pub fn stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.streams.clone().try_acquire_owned().map_err(|_| self.full("streams of events are open"))
    }

    fn full(&self, what: &str) -> Refusal {
        self.refused.inc();
        Refusal::busy(format!("{} {what} (limits.http_requests_max)", self.limit))
    }
}

/// Middleware: over the bound a request is refused at once, never queued.
pub async fn in_turn(State(limiter): State<Arc<Limiter>>, request: Request, next: Next) -> Response {
    // Whoever asks whether the process lives must get an answer.
    if request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    match limiter.requests.clone().try_acquire_owned() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            let mut response = limiter.full("requests are under way").into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// Middleware: a request that is not answered in time ends; nothing of what it asked for is undone.
pub async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("not answered within {} s", ANSWER_MAX.as_secs());
            let fix = "see `towpath status` for what became of it; repeating a verb is safe";
            Refusal::caller(StatusCode::GATEWAY_TIMEOUT, message, fix).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::get;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;

    async fn status(router: &Router, path: &str) -> u16 {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn over_the_bound_a_request_is_refused_at_once_and_health_is_still_told() {
        let registry = Registry::new();
        let limiter = Limiter::new(1, &registry).unwrap();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (enter, left) = (entered.clone(), leave.clone());
        let slow = async move || {
            enter.notify_one();
            left.notified().await;
        };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/healthz", get(async || "ok"))
            .layer(from_fn_with_state(limiter.clone(), in_turn));
        let under_way = tokio::spawn({
            let router = router.clone();
            async move { status(&router, "/slow").await }
        });
        entered.notified().await;
        assert_eq!((status(&router, "/slow").await, status(&router, "/healthz").await), (503, 200));
        leave.notify_one();
        assert_eq!(under_way.await.unwrap(), 200);
        leave.notify_one();
        assert_eq!(status(&router, "/slow").await, 200);
        assert_eq!(limiter.refused.get(), 1);
    }

    #[tokio::test]
    async fn streams_of_events_are_bounded_and_free_their_place() {
        let limiter = Limiter::new(1, &Registry::new()).unwrap();
        let first = limiter.stream().unwrap();
        assert!(limiter.stream().is_err());
        drop(first);
        assert!(limiter.stream().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_ends_and_says_where_to_look() {
        let never = async || std::future::pending::<()>().await;
        let router = Router::new().route("/never", get(never)).layer(from_fn(in_time));
        assert_eq!(status(&router, "/never").await, 504);
    }
}
