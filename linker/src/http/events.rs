//! `GET /v1/operations/{id}/events`: an operation's view whenever there is more to see, one JSON document per
//! line, until it has ended or the service drains.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::problem::Refusal;
use super::{Shared, operations};
use crate::operation::{Operation, OperationState, OperationView};

/// A blank line this often, so that a connection that is gone is noticed.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Views are not sent faster than a person can read: what changes meanwhile is in the next one.
const SEND_EVERY: Duration = Duration::from_millis(50);

/// Follows the operation.
pub async fn follow(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let operation = operations::find(&shared, &id)?;
    let permit = shared.limiter.stream()?;
    let events = Events {
        seen: operation.watch(),
        stop: shared.stop.clone(),
        ended: false,
        fresh: true,
        _operation: operation,
        _permit: permit,
    };
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines(events))).into_response())
}

struct Events {
    seen: watch::Receiver<OperationView>,
    stop: CancellationToken,
    ended: bool,
    fresh: bool,
    /// Its sender lives as long as this.
    _operation: Arc<Operation>,
    _permit: OwnedSemaphorePermit,
}

fn lines(events: Events) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures::stream::unfold(events, async |mut events| {
        let line = events.next().await?;
        Some((Ok(line), events))
    })
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.fresh {
            tokio::time::sleep(SEND_EVERY).await;
            tokio::select! {
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(ALIVE_EVERY) => return Some(Bytes::from_static(b"\n")),
                () = self.stop.cancelled() => return None,
            }
        }
        self.fresh = false;
        let view = self.seen.borrow_and_update().clone();
        self.ended = view.state == OperationState::Ended;
        let mut line = serde_json::to_vec(&view).ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}
