//! Messages of formats v0 and v1, plain or as compressed wrappers around others.
//!
//! Layout: offset i64, size i32 (of what follows), CRC-32 of what follows it u32, magic i8, attributes i8,
//! timestamp i64 (v1 only), key, value (each behind an INT32 length, −1 for null).

use bytes::{Buf, Bytes};

use super::ConvertError;
use crate::batch::{Codec, TimestampType, decompress};

/// Offset of the magic byte: the same place as in a v2 batch.
pub(super) const MAGIC: usize = 16;
/// Offset and size.
const OVERHEAD_BYTES: usize = 12;
/// CRC, magic, attributes and two lengths.
const SIZE_MIN: usize = 14;
const CODEC_MASK: u8 = 0x07;
const LOG_APPEND_TIME: u8 = 0x08;
/// v0 has no timestamps.
const NO_TIMESTAMP: i64 = -1;

/// One message; its key and value are slices of what it was read from.
pub(super) struct Message {
    pub magic: u8,
    pub offset: i64,
    pub codec: Codec,
    pub timestamp_type: TimestampType,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

impl Message {
    /// About what it takes in a batch.
    pub(super) fn size_bytes(&self) -> usize {
        let blob = |blob: &Option<Bytes>| blob.as_ref().map_or(0, Bytes::len);
        blob(&self.key) + blob(&self.value) + 2 * SIZE_MIN
    }
}

/// Cuts the first message off `rest` and checks its CRC.
pub(super) fn read_message(rest: &mut Bytes, position: usize) -> Result<Message, ConvertError> {
    let invalid = |reason| ConvertError::Message { position, reason };
    if rest.len() < OVERHEAD_BYTES {
        return Err(ConvertError::Truncated { position });
    }
    let mut head = rest.slice(..OVERHEAD_BYTES);
    let offset = head.get_i64();
    let size = usize::try_from(head.get_i32()).map_err(|_| invalid("its size is negative"))?;
    if size < SIZE_MIN {
        return Err(invalid("it is smaller than a message can be"));
    }
    if rest.len() - OVERHEAD_BYTES < size {
        return Err(ConvertError::Truncated { position });
    }
    let mut body = rest.split_to(OVERHEAD_BYTES + size).slice(OVERHEAD_BYTES..);
    let stored = body.get_u32();
    let computed = crc32fast::hash(&body);
    if stored != computed {
        return Err(ConvertError::Crc { position, stored, computed });
    }
    let (magic, attributes) = (body.get_u8(), body.get_u8());
    let codec = Codec::from_bits(attributes & CODEC_MASK).filter(|codec| *codec != Codec::Zstd);
    let codec = codec.ok_or_else(|| invalid("its compression codec is unknown or newer than its format"))?;
    let (timestamp_type, timestamp_ms) = match magic {
        0 => (TimestampType::CreateTime, NO_TIMESTAMP),
        1 if body.len() < 8 => return Err(invalid("it has no timestamp")),
        1 if attributes & LOG_APPEND_TIME != 0 => (TimestampType::LogAppendTime, body.get_i64()),
        1 => (TimestampType::CreateTime, body.get_i64()),
        _ => return Err(invalid("its format is neither v0 nor v1")),
    };
    let key = read_blob(&mut body).ok_or_else(|| invalid("bad key"))?;
    let value = read_blob(&mut body).ok_or_else(|| invalid("bad value"))?;
    if !body.is_empty() {
        return Err(invalid("it has bytes left over"));
    }
    Ok(Message { magic, offset, codec, timestamp_type, timestamp_ms, key, value })
}

/// Length −1 is null; `None` when the length is wrong.
fn read_blob(body: &mut Bytes) -> Option<Option<Bytes>> {
    if body.len() < 4 {
        return None;
    }
    match body.get_i32() {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
            Some(Some(body.split_to(length)))
        }
    }
}

/// The messages inside a compressed wrapper, with absolute offsets and the timestamps that readers see, and how
/// many bytes they decompressed to.
pub(super) fn unwrap_messages(
    wrapper: &Message,
    position: usize,
    bytes_max: usize,
) -> Result<(usize, Vec<Message>), ConvertError> {
    let invalid = |reason| ConvertError::Message { position, reason };
    let value =
        wrapper.value.as_ref().ok_or_else(|| invalid("it is a compressed wrapper with a null value"))?;
    let data = match (wrapper.codec, wrapper.magic) {
        (Codec::Lz4, 0) => decompress(Codec::Lz4, &with_right_checksum(value), bytes_max)?,
        (codec, _) => decompress(codec, value, bytes_max)?,
    };
    let data_bytes = data.len();
    let mut rest = data;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let mut message = read_message(&mut rest, position).map_err(|error| match error {
            ConvertError::Truncated { .. } => invalid("a message in its wrapper is cut short"),
            error => error,
        })?;
        if message.codec != Codec::None {
            return Err(invalid("a wrapper is inside another"));
        }
        if message.magic != wrapper.magic {
            return Err(invalid("its wrapper has another format"));
        }
        if wrapper.timestamp_type == TimestampType::LogAppendTime {
            message.timestamp_type = TimestampType::LogAppendTime;
            message.timestamp_ms = wrapper.timestamp_ms;
        }
        messages.push(message);
    }
    if wrapper.magic == 1 {
        make_absolute(wrapper.offset, &mut messages)
            .ok_or_else(|| invalid("its wrapper's offset is wrong"))?;
    }
    Ok((data_bytes, messages))
}

/// KIP-31: a v1 wrapper has the offset of its last message, and those inside count from the first. Some
/// librdkafka versions produce wrappers with offset 0; then the inner offsets count from 0.
fn make_absolute(wrapper_offset: i64, messages: &mut [Message]) -> Option<()> {
    let Some(last) = messages.last() else { return Some(()) };
    let base = match wrapper_offset {
        0 => 0,
        offset => offset.checked_sub(last.offset).filter(|base| *base >= 0)?,
    };
    for message in messages {
        message.offset = base.checked_add(message.offset)?;
    }
    Some(())
}

/// Clients of format v0 computed the checksum of the LZ4 frame header over its magic number too (KAFKA-3160), and
/// readers of v0 must not check it. Sets the right one, so that a strict decoder does not mind.
fn with_right_checksum(frame: &[u8]) -> Vec<u8> {
    const DESCRIPTOR: usize = 4;
    const CONTENT_SIZE: u8 = 0x08;
    const DICTIONARY_ID: u8 = 0x01;
    let mut frame = frame.to_vec();
    let flags = frame.get(DESCRIPTOR).copied().unwrap_or(0);
    let mut end = DESCRIPTOR + 2;
    if flags & CONTENT_SIZE != 0 {
        end += 8;
    }
    if flags & DICTIONARY_ID != 0 {
        end += 4;
    }
    if frame.len() > end {
        let hash = xxhash_rust::xxh32::xxh32(&frame[DESCRIPTOR..end], 0);
        frame[end] = (hash >> 8) as u8;
    }
    frame
}
