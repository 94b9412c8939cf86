//! A family's evidence, for auditors.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use towpath_plans::evidence::{ChainError, verify};

use super::Shared;
use super::body::EvidenceLines;
use super::families::unknown;
use super::problem::Refusal;
use crate::error::LinkerError;

/// `GET /v1/families/{family}/evidence`: the chain as it stands.
pub async fn lines(
    State(shared): State<Shared>,
    Path(family): Path<String>,
) -> Result<Json<EvidenceLines>, Refusal> {
    let lines =
        shared.service.evidence_lines(&family).await.map_err(|error| unknown(&shared, &family, error))?;
    let lines = lines.iter().map(ToString::to_string).collect();
    Ok(Json(EvidenceLines { family, lines }))
}

/// `GET /v1/families/{family}/evidence/bundle`: one file for `towpath evidence verify`.
pub async fn bundle(State(shared): State<Shared>, Path(family): Path<String>) -> Result<Response, Refusal> {
    let bundle = bundle_of(&shared, &family).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        // A family's name has no character that would need quoting here.
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{family}.evidence\"")),
    ];
    Ok((headers, bundle).into_response())
}

/// `GET /v1/families/{family}/evidence/report`: the bundle as a page that needs nothing else. Nobody has pinned a key
/// for it: that is what `towpath evidence report --trust` is for.
pub async fn report(State(shared): State<Shared>, Path(family): Path<String>) -> Result<Response, Refusal> {
    let bundle = bundle_of(&shared, &family).await?;
    let verified = verify(&bundle, None).map_err(|broken| {
        let sequence = broken.entry.unwrap_or_default();
        LinkerError::from(ChainError { family, sequence, why: broken.why })
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, (shared.report)(&bundle, &verified)).into_response())
}

async fn bundle_of(shared: &Shared, family: &str) -> Result<String, Refusal> {
    shared.service.evidence_bundle(family).await.map_err(|error| unknown(shared, family, error))
}
