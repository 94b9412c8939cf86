//! A response on its way out: its head encoded here, record bytes borrowed from where they are kept.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::budget::Charge;

/// Bytes of the length prefix.
const PREFIX_BYTES: usize = 4;
/// A response's head before its body: length prefix, correlation id, empty tagged fields.
const HEAD_BYTES_MAX: usize = 9;

/// One encoded response frame, as a list of byte strings that are written without being joined.
#[derive(Default)]
pub struct Response {
    parts: VecDeque<Bytes>,
    remaining: usize,
    charges: Vec<Charge>,
}

/// A message could not be encoded: a field is set that its version does not have. Always a bug.
#[derive(Debug, thiserror::Error)]
#[error("bug: {api} v{version} response can't be encoded: {cause}")]
pub struct EncodeError {
    /// Name of the API.
    pub api: &'static str,
    /// Version of the response.
    pub version: i16,
    /// What the encoder said.
    pub cause: String,
}

impl Response {
    /// Encodes `body` behind a response header of version `header_version`.
    pub fn encode<M: Encodable>(
        correlation_id: i32,
        header_version: i16,
        version: i16,
        body: &M,
    ) -> Result<Response, EncodeError> {
        let failed = |cause| EncodeError { api: std::any::type_name::<M>(), version, cause };
        let size = body.compute_size(version).map_err(|error| failed(error.to_string()))?;
        let mut head = head(correlation_id, header_version, size);
        body.encode(&mut head, version).map_err(|error| failed(error.to_string()))?;
        Ok(Response::frame(head, Vec::new()))
    }

    /// A frame of `head` (as [`head`] began it) and then `rest`, which is not copied.
    pub fn frame(mut head: BytesMut, rest: Vec<Bytes>) -> Response {
        let size = head.len() - PREFIX_BYTES + rest.iter().map(Bytes::len).sum::<usize>();
        head[..PREFIX_BYTES].copy_from_slice(&(size as u32).to_be_bytes());
        let mut parts = VecDeque::with_capacity(1 + rest.len());
        parts.push_back(head.freeze());
        parts.extend(rest.into_iter().filter(|part| !part.is_empty()));
        Response { remaining: size + PREFIX_BYTES, parts, charges: Vec::new() }
    }

    /// Keeps `charge` until the response is written or dropped.
    pub fn holding(mut self, charge: Charge) -> Response {
        self.charges.push(charge);
        self
    }

    /// Bytes of the frame that are not yet written, its prefix included.
    pub fn bytes(&self) -> usize {
        self.remaining
    }

    /// Writes the frame. The client must take something every `progress_timeout`.
    pub async fn write<W: AsyncWrite + Unpin>(
        mut self,
        io: &mut W,
        progress_timeout: Duration,
    ) -> std::io::Result<()> {
        while self.has_remaining() {
            match timeout(progress_timeout, io.write_buf(&mut self)).await {
                Ok(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// Puts `other` behind this response, so that both go out in one write.
    pub fn append(&mut self, other: Response) {
        self.remaining += other.remaining;
        self.parts.extend(other.parts);
        self.charges.extend(other.charges);
    }
}

/// Begins a frame: room for the length prefix, then the response header. `body_bytes` is room to reserve.
pub fn head(correlation_id: i32, header_version: i16, body_bytes: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(HEAD_BYTES_MAX + body_bytes);
    head.put_u32(0);
    head.put_i32(correlation_id);
    if header_version >= 1 {
        head.put_u8(0);
    }
    head
}

impl Buf for Response {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut bytes: usize) {
        self.remaining -= bytes;
        while bytes > 0 {
            let Some(part) = self.parts.front_mut() else { return };
            let step = bytes.min(part.len());
            part.advance(step);
            bytes -= step;
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn response(correlation_id: i32, parts: &[&'static str]) -> Response {
        Response::frame(
            head(correlation_id, 0, 0),
            parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect(),
        )
    }

    #[tokio::test]
    async fn parts_go_out_as_one_frame_through_a_socket_that_takes_little_at_a_time() {
        let (mut client, mut server) = tokio::io::duplex(3);
        let mut first = response(7, &["ab", "", "cdefgh"]);
        first.append(response(8, &["x"]));
        let write = tokio::spawn(async move { first.write(&mut server, Duration::from_secs(5)).await });
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        write.await.unwrap().unwrap();
        assert_eq!(all, b"\0\0\0\x0c\0\0\0\x07abcdefgh\0\0\0\x05\0\0\0\x08x");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_ends_the_write() {
        let (_client, mut server) = tokio::io::duplex(3);
        let error = response(1, &["abcdef"]).write(&mut server, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
