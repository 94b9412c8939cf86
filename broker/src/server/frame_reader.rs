//! Reads length-prefixed frames from one connection, within the bounds on their size, their pace and the bytes
//! in flight.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

use super::budget::{ByteBudget, Charge};

/// Small requests and a frame's head come in one read; a large body goes past this buffer.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A frame is charged to the budget in steps of this size as it arrives, so that a client that announces much
/// and sends nothing holds little.
const CHARGE_STEP_BYTES: usize = 256 * 1024;
/// Memory reserved on a frame's word alone; the rest once that much has arrived.
const RESERVED_UNSEEN_MAX: usize = 1024 * 1024;
/// Bytes of the length prefix.
const PREFIX_BYTES: usize = 4;

/// One request frame, without its length prefix, and its share of the budget.
pub struct Frame {
    /// Header and body.
    pub bytes: BytesMut,
    /// Held until the request is answered.
    pub charge: Charge,
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No request for the idle timeout.
    #[error("no request for {0:?}")]
    Idle(Duration),
    /// A frame began and stopped.
    #[error("a frame of {bytes} bytes stopped after {read} and made no progress for {waited:?}")]
    Stalled {
        /// Announced size.
        bytes: usize,
        /// What arrived of it.
        read: usize,
        /// The frame timeout.
        waited: Duration,
    },
    /// The size is negative or over the limit.
    #[error("a frame announces {announced} bytes; the limit is {bytes_max}")]
    Size {
        /// The length prefix.
        announced: i32,
        /// `limits.request_bytes_max`.
        bytes_max: usize,
    },
    /// The client went away in the middle of a frame.
    #[error("the client closed in the middle of a frame")]
    Truncated,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a reader must keep to.
#[derive(Clone)]
pub struct ReadLimits {
    /// Largest frame.
    pub bytes_max: usize,
    /// Longest silence between requests.
    pub idle_timeout: Duration,
    /// Longest silence within a frame.
    pub frame_timeout: Duration,
    /// Where the bytes are charged.
    pub budget: Arc<ByteBudget>,
}

/// The reading side of a connection.
pub struct FrameReader<R> {
    io: BufReader<R>,
    limits: ReadLimits,
    prefix: BytesMut,
    frame: Option<Partial>,
}

struct Partial {
    bytes: BytesMut,
    size: usize,
    charge: Charge,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader at the beginning of a connection.
    pub fn new(io: R, limits: ReadLimits) -> FrameReader<R> {
        let io = BufReader::with_capacity(READ_BUFFER_BYTES, io);
        FrameReader { io, limits, prefix: BytesMut::with_capacity(PREFIX_BYTES), frame: None }
    }

    /// The next frame; `None` when the client has closed between frames. Dropping the future loses nothing:
    /// what was read stays for the next call.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.frame.is_none() {
            let Some(size) = self.read_prefix().await? else { return Ok(None) };
            let bytes = BytesMut::with_capacity(size.min(RESERVED_UNSEEN_MAX));
            self.frame = Some(Partial { bytes, size, charge: self.limits.budget.charge() });
        }
        self.read_body().await?;
        Ok(self.frame.take().map(|partial| Frame { bytes: partial.bytes, charge: partial.charge }))
    }

    async fn read_prefix(&mut self) -> Result<Option<usize>, ReadError> {
        while self.prefix.len() < PREFIX_BYTES {
            let begun = !self.prefix.is_empty();
            let wait = if begun { self.limits.frame_timeout } else { self.limits.idle_timeout };
            let missing = PREFIX_BYTES - self.prefix.len();
            let mut room = (&mut self.prefix).limit(missing);
            match timeout(wait, self.io.read_buf(&mut room)).await {
                Ok(Ok(0)) if begun => return Err(ReadError::Truncated),
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(ReadError::Io(error)),
                Err(_) if begun => {
                    return Err(ReadError::Stalled { bytes: 0, read: self.prefix.len(), waited: wait });
                }
                Err(_) => return Err(ReadError::Idle(wait)),
            }
        }
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.prefix);
        self.prefix.clear();
        let announced = i32::from_be_bytes(prefix);
        match usize::try_from(announced) {
            Ok(size) if size <= self.limits.bytes_max => Ok(Some(size)),
            _ => Err(ReadError::Size { announced, bytes_max: self.limits.bytes_max }),
        }
    }

    async fn read_body(&mut self) -> Result<(), ReadError> {
        let Some(Partial { bytes, size, charge }) = &mut self.frame else { return Ok(()) };
        let waited = self.limits.frame_timeout;
        while bytes.len() < *size {
            if charge.bytes() <= bytes.len() {
                let step = (*size - bytes.len()).min(CHARGE_STEP_BYTES);
                charge.grow(step as u32).await;
            }
            if bytes.len() == bytes.capacity() {
                bytes.reserve(*size - bytes.len());
            }
            let charged = charge.bytes() - bytes.len();
            let mut room = (&mut *bytes).limit(charged);
            match timeout(waited, self.io.read_buf(&mut room)).await {
                Ok(Ok(0)) => return Err(ReadError::Truncated),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(ReadError::Io(error)),
                Err(_) => return Err(ReadError::Stalled { bytes: *size, read: bytes.len(), waited }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use prometheus::IntGauge;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn limits() -> ReadLimits {
        ReadLimits {
            bytes_max: 1024,
            idle_timeout: Duration::from_secs(600),
            frame_timeout: Duration::from_secs(30),
            budget: ByteBudget::new(4096, IntGauge::new("held", "held").unwrap()),
        }
    }

    #[tokio::test]
    async fn a_frame_cut_anywhere_is_read_whole_though_every_wait_is_dropped() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, limits());
        for byte in [0, 0, 0, 5, b'h', b'e', b'l', b'l'] {
            client.write_all(&[byte]).await.unwrap();
            assert!(reader.next().now_or_never().is_none());
        }
        client.write_all(b"o\0\0\0\0").await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().bytes, "hello");
        assert_eq!(reader.next().await.unwrap().unwrap().bytes, "");
        drop(client);
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_size_below_zero_or_over_the_limit_is_refused() {
        for prefix in [1025_i32, -1, i32::MAX] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(&prefix.to_be_bytes()).await.unwrap();
            let error = FrameReader::new(server, limits()).next().await.err().unwrap();
            assert!(matches!(error, ReadError::Size { announced, .. } if announced == prefix), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_gone_within_a_frame_is_told_from_one_that_closed() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"\0\0\0\x05he").await.unwrap();
        drop(client);
        let error = FrameReader::new(server, limits()).next().await.err().unwrap();
        assert!(matches!(error, ReadError::Truncated), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_a_stalled_frame_ends_it_sooner() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, limits());
        assert!(matches!(reader.next().await, Err(ReadError::Idle(_))));
        client.write_all(b"\0\0\0\x05he").await.unwrap();
        let error = reader.next().await.err().unwrap();
        assert!(matches!(error, ReadError::Stalled { bytes: 5, read: 2, .. }), "{error}");
    }

    #[tokio::test]
    async fn announcing_much_and_sending_nothing_holds_one_step_of_the_budget() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut limits = limits();
        limits.bytes_max = usize::MAX;
        limits.budget = ByteBudget::new(1 << 30, IntGauge::new("held", "held").unwrap());
        let mut reader = FrameReader::new(server, limits);
        client.write_all(&(64_i32 << 20).to_be_bytes()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert!(reader.next().now_or_never().is_none());
        assert_eq!(reader.frame.as_ref().unwrap().charge.bytes(), CHARGE_STEP_BYTES);
    }
}
