//! A family's evidence, for auditors.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::body::EvidenceLines;
use super::families::unknown;
use super::problem::Refusal;

/// `GET /v1/families/{family}/evidence`: the chain as it stands.
pub async fn lines(
    State(shared): State<Shared>,
    Path(family): Path<String>,
) -> Result<Json<EvidenceLines>, Refusal> {
    let lines = shared.service.evidence_lines(&family).await.map_err(|error| unknown(&shared, &family, error))?;
    let lines = lines.iter().map(ToString::to_string).collect();
    Ok(Json(EvidenceLines { family, lines }))
}

/// `GET /v1/families/{family}/evidence/bundle`: one file for `towpath evidence verify`.
pub async fn bundle(State(shared): State<Shared>, Path(family): Path<String>) -> Result<Response, Refusal> {
    let bundle = bundle_of(&shared, &family).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], bundle).into_response())
}

async fn bundle_of(shared: &Shared, family: &str) -> Result<String, Refusal> {
    shared.service.evidence_bundle(family).await.map_err(|error| unknown(shared, family, error))
}
