//! How an entry (or a checkpoint) is written: a header that proves whose bytes these are and that they are whole.
//!
//! ```text
//! magic "TPLG" | format u8 = 1 | flags u8 = 0 | index u64 | nonce 16 bytes | length u32 | crc32c u32 | payload
//! ```
//! Integers are little-endian. The CRC covers everything but itself. `flags` is for later (compression).

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

const MAGIC: &[u8; 4] = b"TPLG";
const FORMAT: u8 = 1;
const CRC_AT: usize = 34;
const HEADER_BYTES: usize = 38;

/// An entry as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Tells one writer's attempt from every other: a put with an unknown outcome looks for its own.
    pub(crate) nonce: Uuid,
    pub(crate) payload: Bytes,
}

pub(crate) fn encode(index: u64, nonce: Uuid, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    bytes.put_slice(MAGIC);
    bytes.put_u8(FORMAT);
    bytes.put_u8(0);
    bytes.put_u64_le(index);
    bytes.put_slice(nonce.as_bytes());
    bytes.put_u32_le(payload.len() as u32); // bounded by LogOptions::entry_bytes_max
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.put_u32_le(crc);
    bytes.put_slice(payload);
    bytes.freeze()
}

/// Reads what [`encode`] wrote under `index`, or says what does not hold.
pub(crate) fn decode(index: u64, bytes: Bytes) -> Result<Stored, &'static str> {
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err("it is shorter than its header");
    };
    if &header[..4] != MAGIC {
        return Err("it is not an entry of a shared log");
    }
    if header[4] != FORMAT || header[5] != 0 {
        return Err("it is of a newer format");
    }
    if header[6..14] != index.to_le_bytes() {
        return Err("it was written under another index");
    }
    if header[30..34] != (payload.len() as u32).to_le_bytes() {
        return Err("it is cut or has bytes behind its end");
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), payload);
    if header[CRC_AT..] != crc.to_le_bytes() {
        return Err("its checksum differs");
    }
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&header[14..30]);
    Ok(Stored { nonce: Uuid::from_bytes(nonce), payload: bytes.slice(HEADER_BYTES..) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(index: u64, nonce: u128, payload: Vec<u8>) {
            let nonce = Uuid::from_u128(nonce);
            let stored = decode(index, encode(index, nonce, &payload)).unwrap();
            prop_assert_eq!(stored, Stored { nonce, payload: payload.into() });
        }

        #[test]
        fn any_changed_byte_cut_or_other_index_is_seen(
            payload in prop::collection::vec(any::<u8>(), 0..64), at: prop::sample::Index, flip in 1..=255u8,
        ) {
            let whole = encode(7, Uuid::from_u128(9), &payload);
            let mut changed = whole.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            prop_assert!(decode(7, changed.into()).is_err());
            prop_assert!(decode(7, whole.slice(..at)).is_err());
            prop_assert!(decode(8, whole).is_err());
        }
    }
}
