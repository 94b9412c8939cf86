//! The disk WAL's format: file header and record frames. All integers little-endian.
//!
//! ```text
//! file    header (64)  frame  frame  …  (zeros, or what an earlier life of the file left)
//! header  magic 8 | file number 8 | WAL id 16 | first sequence 8 | crc 4 | zeros
//! frame   crc 4 | length 4 | magic 4 | head length 4 | file number 8 | sequence 8 | synced below 8
//!         | covered 4 | body crc 4 | head | body | zeros to a multiple of 8
//! ```
//!
//! `crc` covers the frame from `length` on, the head and the first `covered` bytes of the body; `body crc` the
//! rest of the body. A batch's own verified CRC serves as body crc, so that no byte is summed twice. Sums are
//! seeded with WAL id and file number: neither an earlier life of the file nor a client's payload can pass for
//! a frame.

use bytes::Bytes;
use uuid::Uuid;

use super::{KnownCrc, Replayed};

/// Size of the file header; the first frame follows.
pub(super) const HEADER_BYTES: usize = 64;
/// Size of a frame without head, body and padding.
pub(super) const FRAME_BYTES: usize = 48;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

const FILE_MAGIC: [u8; 8] = *b"TOWPWAL1";
const FRAME_MAGIC: u32 = 0x5450_5741;

/// The header of a WAL file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub number: u64,
    pub wal_id: Uuid,
    /// Every record below is on disk in earlier files; records of earlier files from here on are void.
    pub first_sequence: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(self.wal_id.as_bytes());
        out[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&out[..40]);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the start of `content`, if there is a whole one.
    pub(super) fn decode(content: &[u8]) -> Option<FileHeader> {
        let bytes = content.first_chunk::<HEADER_BYTES>()?;
        if bytes[..8] != FILE_MAGIC || crc32c::crc32c(&bytes[..40]) != u32_at(bytes, 40)? {
            return None;
        }
        Some(FileHeader {
            number: u64_at(bytes, 8)?,
            wal_id: Uuid::from_slice(&bytes[16..32]).ok()?,
            first_sequence: u64_at(bytes, 32)?,
        })
    }
}

/// The part of every sum that only this file's frames have.
pub(super) fn seed(wal_id: Uuid, file_number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(wal_id.as_bytes()), &file_number.to_le_bytes())
}

/// What a frame says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameInfo {
    pub file_number: u64,
    pub sequence: u64,
    /// Every record below was on disk when this one was written.
    pub synced_below: u64,
}

/// Bytes of a frame with padding.
pub(super) fn frame_bytes(head_bytes: usize, body_bytes: usize) -> usize {
    (FRAME_BYTES + head_bytes + body_bytes).next_multiple_of(ALIGN)
}

/// Appends frame header and head to `out`; the body and the padding are the caller's to write.
pub(super) fn encode_front(
    out: &mut Vec<u8>,
    seed: u32,
    info: FrameInfo,
    (head, body, known): (&[u8], &[u8], Option<KnownCrc>),
) {
    let known = known.filter(|known| known.from <= body.len());
    let KnownCrc { from, crc: body_crc } =
        known.unwrap_or_else(|| KnownCrc { from: 0, crc: crc32c::crc32c(body) });
    let start = out.len();
    let length = FRAME_BYTES + head.len() + body.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&info.file_number.to_le_bytes());
    out.extend_from_slice(&info.sequence.to_le_bytes());
    out.extend_from_slice(&info.synced_below.to_le_bytes());
    out.extend_from_slice(&(from as u32).to_le_bytes());
    out.extend_from_slice(&body_crc.to_le_bytes());
    out.extend_from_slice(head);
    let crc = crc32c::crc32c_append(seed, &out[start + 4..]);
    let crc = crc32c::crc32c_append(crc, &body[..from]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A frame found in a file.
pub(super) struct Frame<'a> {
    pub info: FrameInfo,
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at `position`, if it is whole and was written to this file.
    pub(super) fn decode(
        content: &'a [u8],
        position: usize,
        file_number: u64,
        seed: u32,
    ) -> Option<Frame<'a>> {
        let at = content.get(position..)?;
        if u64_at(at, 16)? != file_number || u32_at(at, 8)? != FRAME_MAGIC {
            return None;
        }
        let frame = at.get(..u32_at(at, 4)? as usize)?;
        let payload = frame.get(FRAME_BYTES..)?;
        let (head, body) = payload.split_at_checked(u32_at(at, 12)? as usize)?;
        let (covered, rest) = body.split_at_checked(u32_at(at, 40)? as usize)?;
        let crc = crc32c::crc32c_append(seed, &frame[4..FRAME_BYTES + head.len()]);
        let crc = crc32c::crc32c_append(crc, covered);
        if crc != u32_at(at, 0)? || crc32c::crc32c(rest) != u32_at(at, 44)? {
            return None;
        }
        let info = FrameInfo { file_number, sequence: u64_at(at, 24)?, synced_below: u64_at(at, 32)? };
        Some(Frame { info, head, body })
    }

    /// Bytes of the frame with padding.
    pub(super) fn size_bytes(&self) -> usize {
        frame_bytes(self.head.len(), self.body.len())
    }

    /// The record, copied out of the file's content (which is much larger than what stays alive of it).
    pub(super) fn replayed(&self) -> Replayed {
        Replayed {
            sequence: self.info.sequence,
            head: Bytes::copy_from_slice(self.head),
            body: Bytes::copy_from_slice(self.body),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
