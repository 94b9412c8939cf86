//! Requests to frames, frames to responses, through the `kafka-protocol` crate.
//!
//! An answer is checked by the guard before the crate decodes it (the crate trusts counts); its byte fields are
//! slices of the frame, not copies.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::error::ClientError;
use crate::guard::check_response;

/// Where the correlation id stands in a request: after key (2) and version (2).
const CORRELATION_AT: usize = 4;
/// Memory that one decoded answer may take, beside the frame whose slices it holds.
const DECODED_BYTES_MAX: usize = 512 << 20;

/// One request, ready to be written but for its correlation id.
pub(super) struct Frame {
    head: BytesMut,
    body: Vec<Bytes>,
}

impl Frame {
    /// Sets the correlation id and gives the parts to write, in order.
    pub(super) fn into_parts(mut self, correlation: i32) -> Vec<Bytes> {
        self.head[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        self.body.insert(0, self.head.freeze());
        self.body
    }
}

/// The API's name of a request type, for messages: `Metadata` for `MetadataRequest`.
pub(super) fn api_name<R: Request>() -> &'static str {
    let path = std::any::type_name::<R>();
    let name = path.rsplit("::").next().unwrap_or(path);
    name.strip_suffix("Request").unwrap_or(name)
}

/// Encodes a request of the crate's.
pub(super) fn encode<R: Request>(request: &R, version: i16, client_id: &str) -> Result<Frame, ClientError> {
    let wrong = |error: &dyn std::fmt::Display| ClientError::Encode {
        api: api_name::<R>(),
        version,
        reason: error.to_string(),
    };
    let header = request_header(R::KEY, version, client_id);
    let mut head = BytesMut::with_capacity(256);
    header.encode(&mut head, R::header_version(version)).map_err(|error| wrong(&error))?;
    request.encode(&mut head, version).map_err(|error| wrong(&error))?;
    Ok(Frame { head, body: Vec::new() })
}

/// Frames a body that is already encoded, behind a request header of version 1 (not flexible).
pub(super) fn frame_body(
    key: i16,
    version: i16,
    client_id: &str,
    body: Vec<Bytes>,
) -> Result<Frame, &'static str> {
    let mut head = BytesMut::with_capacity(64);
    // Header v1 of our own client id always fits.
    request_header(key, version, client_id).encode(&mut head, 1).map_err(|_| "header cannot be written")?;
    Ok(Frame { head, body })
}

fn request_header(key: i16, version: i16, client_id: &str) -> RequestHeader {
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())))
}

/// Decodes the answer to an `R` of `version`; `frame` starts after the correlation id.
///
/// # Errors
/// What is wrong with the answer.
pub(super) fn decode<R: Request>(version: i16, mut frame: Bytes) -> Result<R::Response, String> {
    if R::Response::header_version(version) >= 1 {
        skip_tagged_fields(&mut frame).ok_or("response header is cut off")?;
    }
    check_response(R::KEY, version, &frame, DECODED_BYTES_MAX).map_err(|error| error.to_string())?;
    R::Response::decode(&mut frame, version).map_err(|error| error.to_string())
}

/// Response header version 1 is the correlation id and tagged fields (KIP-482), of which none is defined yet.
fn skip_tagged_fields(frame: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(frame)? {
        unsigned_varint(frame)?;
        let size = unsigned_varint(frame)? as usize;
        if frame.len() < size {
            return None;
        }
        frame.advance(size);
    }
    Some(())
}

fn unsigned_varint(bytes: &mut Bytes) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = bytes.first().copied()?;
        bytes.advance(1);
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}
