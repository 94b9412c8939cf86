//! The guard that every message passes before `kafka_protocol` may decode it.
//!
//! That crate trusts array counts: a 40-byte request can ask for a 200 GB allocation and abort the process. So a
//! small walker goes over the bytes first, along a table of all messages that may be decoded. It checks each
//! count against the bytes that remain and each array against a budget of decoded memory, and refuses null
//! where it is not allowed, strings that are not UTF-8, tagged fields that are not as long as they say, and
//! bytes behind the message. It allocates nothing.
//!
//! What passes decodes, wholly, within the budget; whatever the crate encodes passes (both tested, over all
//! messages and versions). The guard says nothing about what a message means.

mod messages;
pub mod sample;
mod schema;
mod walk;

use schema::{Api, Message};
use walk::Stop;

use crate::{Fault, versions};

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

/// Checks a request's body (without its header) before it is decoded.
///
/// `budget_bytes` bounds the memory of the decoded structures; strings and blobs are slices of the frame and do
/// not count. Private APIs pass: their decoders check themselves.
pub fn check_request(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    budget_bytes: usize,
) -> Result<(), GuardError> {
    if versions::is_private(api_key) {
        return Ok(());
    }
    let message = find(api_key).map(|api| &api.request);
    check(message, (api_key, api_version), body, budget_bytes)
}

/// Checks a response's body (without its header) before it is decoded, as [`check_request`].
pub fn check_response(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    budget_bytes: usize,
) -> Result<(), GuardError> {
    if versions::is_private(api_key) {
        return Ok(());
    }
    let message = find(api_key).map(|api| &api.response);
    check(message, (api_key, api_version), body, budget_bytes)
}

/// The keys of all APIs that the guard knows, in order.
pub fn api_keys() -> impl Iterator<Item = i16> {
    messages::APIS.iter().map(|api| api.key)
}

/// The versions of an API's response, lowest and highest, that may be decoded. Requests have the same, but for
/// Produce, whose requests go down to 0.
pub fn response_versions(api_key: i16) -> Option<(i16, i16)> {
    find(api_key).map(|api| (*api.response.versions.start(), *api.response.versions.end()))
}

/// The versions of an API's request, lowest and highest, that may be decoded.
pub fn request_versions(api_key: i16) -> Option<(i16, i16)> {
    find(api_key).map(|api| (*api.request.versions.start(), *api.request.versions.end()))
}

fn find(api_key: i16) -> Option<&'static Api> {
    let index = messages::APIS.binary_search_by_key(&api_key, |api| api.key).ok()?;
    messages::APIS.get(index).copied()
}

fn check(
    message: Option<&Message>,
    (api_key, api_version): (i16, i16),
    body: &[u8],
    budget_bytes: usize,
) -> Result<(), GuardError> {
    let Some(message) = message.filter(|message| message.versions.contains(&api_version)) else {
        return Err(GuardError::Unsupported { api_key, api_version });
    };
    walk::walk(message, api_version, body, budget_bytes).map_err(|stop| match stop {
        Stop::Malformed(position, field, reason) => {
            GuardError::Malformed { api_key, api_version, position, field, reason }
        }
        Stop::Budget => GuardError::Budget { api_key, api_version, budget_bytes },
    })
}
