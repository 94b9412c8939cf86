//! Errors as the API tells them: a document with a fitting status.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::body::{ERROR_SCHEMA, ErrorDocument, Problem};
use crate::error::LinkerError;

/// An answer that is not a success.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    /// The caller's fault.
    pub fn caller(status: StatusCode, message: impl Into<String>, fix: impl Into<String>) -> Refusal {
        let problem = Problem { kind: "caller".into(), message: message.into(), fix: Some(fix.into()) };
        Refusal { status, problem }
    }

    /// Nothing of that name is here.
    pub fn unknown(what: &str, fix: &str) -> Refusal {
        Refusal::caller(StatusCode::NOT_FOUND, format!("{what} is not known here"), fix)
    }

    /// Not now; later it may be answered.
    pub fn busy(message: impl Into<String>) -> Refusal {
        Refusal::caller(StatusCode::SERVICE_UNAVAILABLE, message, "try again in a moment")
    }
}

impl From<LinkerError> for Refusal {
    fn from(error: LinkerError) -> Refusal {
        let status = match &error {
            LinkerError::Config { .. } | LinkerError::Plan(_) => StatusCode::UNPROCESSABLE_ENTITY,
            LinkerError::Refused { .. } => StatusCode::CONFLICT,
            LinkerError::Cluster { .. } | LinkerError::Answer { .. } => StatusCode::BAD_GATEWAY,
            LinkerError::Log(_)
            | LinkerError::Store(_)
            | LinkerError::Evidence(_)
            | LinkerError::Superseded { .. }
            | LinkerError::Cache { .. } => StatusCode::SERVICE_UNAVAILABLE,
            LinkerError::Bug(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let (message, fix) = error.told();
        Refusal { status, problem: Problem { kind: error.kind().as_str().into(), message, fix: Some(fix) } }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Refusal {
        Refusal::caller(rejection.status(), rejection.body_text(), "send the JSON body that the verb takes")
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Refusal {
        Refusal::caller(rejection.status(), rejection.body_text(), "name topic, partition and offset")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let document = ErrorDocument { schema: ERROR_SCHEMA.into(), error: self.problem };
        (self.status, Json(document)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fix_is_told_apart_and_the_status_says_whose_fault_it_is() {
        let refusal = Refusal::from(LinkerError::refused("a group is away", "roll it back"));
        assert_eq!(refusal.status, StatusCode::CONFLICT);
        assert_eq!(refusal.problem.message, "a group is away");
        assert_eq!(refusal.problem.fix.as_deref(), Some("roll it back"));
        assert_eq!(Refusal::from(LinkerError::Bug("x".into())).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
