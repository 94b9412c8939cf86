//! Operations: which there are, how each stands, asking one to stop.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::Shared;
use super::body::{AbortBody, Operations};
use super::guard::Caller;
use super::problem::Refusal;
use crate::operation::{Operation, OperationState, OperationView};

/// `GET /v1/operations`: oldest first.
pub async fn list(State(shared): State<Shared>) -> Json<Operations> {
    Json(Operations { operations: shared.service.operations().views() })
}

/// `GET /v1/operations/{id}`.
pub async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<OperationView>, Refusal> {
    Ok(Json(find(&shared, &id)?.view()))
}

/// `POST /v1/operations/{id}/abort`.
pub async fn abort(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Json<AbortBody>, JsonRejection>,
) -> Result<Json<OperationView>, Refusal> {
    let Json(body) = body?;
    let operation = find(&shared, &id)?;
    let view = operation.view();
    if view.state == OperationState::Ended {
        return Err(Refusal::caller(
            axum::http::StatusCode::CONFLICT,
            format!("{id} has ended"),
            format!("see how: `towpath watch {id}`"),
        ));
    }
    let request = caller.sign(&body.request);
    let reason = match request.reason.as_str() {
        "" => format!("aborted by {}", request.actor.name),
        reason => format!("aborted by {}: {reason}", request.actor.name),
    };
    operation.abort(reason);
    Ok(Json(operation.view()))
}

/// The operation of this id.
pub fn find(shared: &Shared, id: &str) -> Result<Arc<Operation>, Refusal> {
    shared.service.operations().get(id).ok_or_else(|| {
        let fix =
            "operations are forgotten when the service restarts: see `towpath status` for where things stand";
        Refusal::unknown(&format!("operation {id}"), fix)
    })
}
