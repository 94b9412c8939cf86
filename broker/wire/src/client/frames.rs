//! Reading length-prefixed frames, until the crate's own frame module is there.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Memory set aside before any of a frame's bytes have come: a size field alone must not cost more.
const FIRST_BYTES: usize = 1 << 20;

/// One frame without its size; `None` when the stream ended between frames.
pub(super) async fn read_frame(
    io: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<BytesMut>> {
    let mut size = [0; 4];
    if io.read(&mut size[..1]).await? == 0 {
        return Ok(None);
    }
    io.read_exact(&mut size[1..]).await?;
    let size = u32::from_be_bytes(size) as usize;
    if size > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {size} bytes")));
    }
    let mut frame = BytesMut::with_capacity(size.min(FIRST_BYTES));
    while frame.len() < size {
        frame.reserve((size - frame.len()).min(FIRST_BYTES.max(frame.len())));
        let missing = (size - frame.len()) as u64;
        if (&mut *io).take(missing).read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame))
}
