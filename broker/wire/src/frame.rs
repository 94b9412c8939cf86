//! Length-prefixed Kafka frames: an INT32 size, then that many bytes.
//!
//! Owns the outermost layer of the protocol: cutting frames out of a stream with a bound on their size, reading
//! the request header, and writing a response from many pieces without copying them together. It never looks
//! into a body. Called by the broker's server and by the raw client.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Fault, versions};

/// Memory reserved on a frame's word alone. A peer that announces 100 MB and sends nothing holds only this.
const RESERVED_UNSEEN_MAX: usize = 128 * 1024;

/// What can be wrong with a frame or a request header.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended inside a frame.
    #[error("the connection broke inside a frame: {0}; fix: reconnect")]
    Io(#[from] io::Error),
    /// The size is negative or over the limit. The stream cannot be trusted any more: close it.
    #[error(
        "a frame of {size} bytes is outside 0..={bytes_max}; fix: send smaller requests or raise the limit"
    )]
    Size {
        /// The announced size in bytes.
        size: i64,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The request header ends early or contradicts itself.
    #[error("a request header is malformed at byte {position}: {reason}; fix: speak the Kafka protocol here")]
    Header {
        /// Offset in the frame.
        position: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// No such API, so not even the header's version is known.
    #[error("API key {api_key} is unknown; fix: negotiate with ApiVersions first")]
    UnknownApi {
        /// The key that was sent.
        api_key: i16,
    },
}

impl FrameError {
    /// Whose fault it is: always the peer's.
    pub fn kind(&self) -> Fault {
        Fault::Caller
    }
}

/// Reads one frame's payload (without the size prefix).
///
/// `None` is a clean end: the peer closed between two frames. Memory grows with what has arrived, not with what
/// was announced. Give it a buffered reader, or each small frame costs two system calls. Not cancel safe: when
/// the future is dropped mid-frame, drop the connection too.
pub async fn read_frame(
    io: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> Result<Option<BytesMut>, FrameError> {
    let mut prefix = [0u8; 4];
    let got = io.read(&mut prefix).await?;
    if got == 0 {
        return Ok(None);
    }
    io.read_exact(&mut prefix[got..]).await?;
    let size = i32::from_be_bytes(prefix);
    let Some(size) = usize::try_from(size).ok().filter(|size| *size <= bytes_max) else {
        return Err(FrameError::Size { size: i64::from(size), bytes_max });
    };
    let mut frame = BytesMut::with_capacity(size.min(RESERVED_UNSEEN_MAX));
    while frame.len() < size {
        if frame.len() == frame.capacity() {
            frame.reserve(frame.len().min(size - frame.len()));
        }
        let missing = (size - frame.len()) as u64;
        if (&mut *io).take(missing).read_buf(&mut frame).await? == 0 {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(Some(frame))
}

/// Writes one frame whose payload is the concatenation of `parts`: size prefix first, vectored, nothing copied.
///
/// Does not flush. Fails with `InvalidInput` when the parts exceed what an INT32 can announce.
pub async fn write_frame(io: &mut (impl AsyncWrite + Unpin), parts: Vec<Bytes>) -> io::Result<()> {
    let size: usize = parts.iter().map(Bytes::len).sum();
    let size = i32::try_from(size)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame is limited to 2 GiB - 1"))?;
    let mut buf = Parts::new(Bytes::copy_from_slice(&size.to_be_bytes()), parts);
    io.write_all_buf(&mut buf).await
}

/// Several `Bytes` seen as one `Buf`, so that they go out in vectored writes.
struct Parts {
    parts: std::collections::VecDeque<Bytes>,
    remaining: usize,
}

impl Parts {
    fn new(head: Bytes, parts: Vec<Bytes>) -> Parts {
        let mut all = std::collections::VecDeque::from(parts);
        all.push_front(head);
        all.retain(|part| !part.is_empty());
        let remaining = all.iter().map(Bytes::len).sum();
        Parts { parts: all, remaining }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part.as_ref())
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "Buf::advance past the end is a caller's bug by its contract");
        self.remaining -= count;
        while let Some(front) = self.parts.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }
}

/// The header of a request, and where its body starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Which API.
    pub api_key: i16,
    /// Which version of it; not yet checked against what is supported.
    pub api_version: i16,
    /// Echoed in the response.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
    /// Offset of the body in the frame.
    pub body_start: usize,
}

/// The version of the request header that goes with an API and its version (Kafka's
/// `ApiMessageType.requestHeaderVersion`): 2 for flexible versions, else 1. `None` for unknown APIs.
pub fn request_header_version(api_key: i16, api_version: i16) -> Option<i16> {
    if versions::is_private(api_key) {
        return Some(1);
    }
    ApiKey::try_from(api_key).ok().map(|key| key.request_header_version(api_version))
}

/// The version of the response header that goes with an API and its version: 1 for flexible versions (but 0
/// for ApiVersions, whatever its version: KIP-511), else 0. `None` for unknown APIs.
pub fn response_header_version(api_key: i16, api_version: i16) -> Option<i16> {
    if versions::is_private(api_key) {
        return Some(0);
    }
    ApiKey::try_from(api_key).ok().map(|key| key.response_header_version(api_version))
}

/// Parses a request's header, v1 or v2 as its API key and version demand.
///
/// Versions that nobody supports still parse, so that ApiVersions can answer them with UNSUPPORTED_VERSION.
pub fn parse_request_head(frame: &[u8]) -> Result<RequestHead, FrameError> {
    let mut cursor = Cursor { bytes: frame, position: 0 };
    let api_key = cursor.i16("API key")?;
    let api_version = cursor.i16("API version")?;
    let correlation_id = cursor.i32("correlation id")?;
    let header_version =
        request_header_version(api_key, api_version).ok_or(FrameError::UnknownApi { api_key })?;
    let client_id = cursor.nullable_string("client id")?;
    if header_version >= 2 {
        cursor.skip_tagged_fields()?;
    }
    Ok(RequestHead { api_key, api_version, correlation_id, client_id, body_start: cursor.position })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let end = self.position.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.position..end)) {
            Some(taken) => {
                self.position += count;
                Ok(taken)
            }
            None => Err(FrameError::Header { position: self.position, reason: what }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, FrameError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, FrameError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    fn nullable_string(&mut self, what: &'static str) -> Result<Option<String>, FrameError> {
        let start = self.position;
        match self.i16(what)? {
            -1 => Ok(None),
            length => {
                let bad = FrameError::Header { position: start, reason: what };
                let Ok(length) = usize::try_from(length) else { return Err(bad) };
                let bytes = self.take(length, what)?;
                std::str::from_utf8(bytes).map(|s| Some(s.to_owned())).map_err(|_| bad)
            }
        }
    }

    fn varint(&mut self) -> Result<u32, FrameError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.array::<1>("tagged field")?[0];
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FrameError::Header { position: self.position, reason: "tagged field" })
    }

    fn skip_tagged_fields(&mut self) -> Result<(), FrameError> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()? as usize;
            self.take(size, "tagged field")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
