//! The records inside a batch, read only.

use bytes::Bytes;

use super::header::{Batch, HEADER_BYTES, TimestampType};
use super::{BatchError, Codec, decompress, varint};

/// One record. Key, value and headers are slices of the batch (or of its decompressed data).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// Its offset.
    pub offset: i64,
    /// In ms since the epoch; −1 for none. The batch's max timestamp under LogAppendTime.
    pub timestamp_ms: i64,
    /// The key, `None` for null.
    pub key: Option<Bytes>,
    /// The value, `None` for null (a tombstone on a compacted topic).
    pub value: Option<Bytes>,
    /// Headers as they were sent: order and duplicates kept, names not checked to be UTF-8.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Iterator over the records of a batch. Ends after the first error, and complains when the number of records
/// is not what the header says.
#[derive(Clone, Debug)]
pub struct Records {
    rest: Bytes,
    index: u32,
    count: u32,
    base_offset: i64,
    base_timestamp_ms: i64,
    append_time_ms: Option<i64>,
}

/// No record is shorter than this: seven fields of at least one byte each.
const RECORD_BYTES_MIN: usize = 7;

impl Records {
    pub(super) fn new(batch: &Batch<Bytes>, bytes_max: usize) -> Result<Records, BatchError> {
        let rest = match batch.codec()? {
            Codec::None => batch.bytes().slice(HEADER_BYTES..),
            codec => decompress(codec, batch.records_bytes(), bytes_max)?,
        };
        let base_offset = batch.base_offset();
        let invalid = |reason| BatchError::Header { base_offset, reason };
        let count =
            u32::try_from(batch.record_count()).map_err(|_| invalid("its record count is negative"))?;
        if count as usize > rest.len() / RECORD_BYTES_MIN {
            return Err(invalid("it has fewer bytes than its record count needs"));
        }
        let append_time_ms =
            (batch.timestamp_type() == TimestampType::LogAppendTime).then(|| batch.max_timestamp_ms());
        let base_timestamp_ms = batch.base_timestamp_ms();
        Ok(Records { rest, index: 0, count, base_offset, base_timestamp_ms, append_time_ms })
    }

    /// How many records are still to come, if the rest is well-formed.
    pub fn remaining(&self) -> usize {
        (self.count - self.index) as usize
    }

    fn decode(&mut self) -> Result<RecordView, &'static str> {
        let size = read_length(&mut self.rest).ok_or("bad size")?.ok_or("negative size")?;
        if size > self.rest.len() {
            return Err("it is cut short");
        }
        let mut body = self.rest.split_to(size);
        if body.is_empty() {
            return Err("it is empty");
        }
        let _attributes = body.split_to(1);
        let timestamp_delta = read_varint(&mut body).ok_or("bad timestamp")?;
        let offset_delta = read_varint(&mut body).ok_or("bad offset")?;
        if !(0..=i64::from(i32::MAX)).contains(&offset_delta) {
            return Err("its offset delta is out of range");
        }
        let key = read_blob(&mut body).ok_or("bad key")?;
        let value = read_blob(&mut body).ok_or("bad value")?;
        let header_count = read_length(&mut body).flatten().ok_or("bad header count")?;
        // A header takes two bytes at least.
        if header_count > body.len() / 2 {
            return Err("it has fewer bytes than its header count needs");
        }
        let mut headers = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            let name = read_blob(&mut body).flatten().ok_or("bad header name")?;
            headers.push((name, read_blob(&mut body).ok_or("bad header value")?));
        }
        if !body.is_empty() {
            return Err("it has bytes left over");
        }
        Ok(RecordView {
            offset: self.base_offset.checked_add(offset_delta).ok_or("its offset overflows")?,
            timestamp_ms: match self.append_time_ms {
                Some(append_time_ms) => append_time_ms,
                None => self.base_timestamp_ms.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            if self.rest.is_empty() {
                return None;
            }
            self.rest.clear();
            let reason = "it has bytes behind its last record";
            return Some(Err(BatchError::Header { base_offset: self.base_offset, reason }));
        }
        let index = self.index;
        match self.decode() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.rest.clear();
                self.index = self.count;
                Some(Err(BatchError::Record { base_offset: self.base_offset, index, reason }))
            }
        }
    }
}

impl std::iter::FusedIterator for Records {}

fn read_varint(bytes: &mut Bytes) -> Option<i64> {
    let (value, size) = varint::read(bytes)?;
    let _ = bytes.split_to(size);
    Some(value)
}

/// A length: `None` when malformed, `Some(None)` when negative.
fn read_length(bytes: &mut Bytes) -> Option<Option<usize>> {
    let value = read_varint(bytes)?;
    if value > i64::from(i32::MAX) || value < i64::from(i32::MIN) {
        return None;
    }
    Some(usize::try_from(value).ok())
}

fn read_blob(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    match read_varint(bytes)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
            Some(Some(bytes.split_to(length)))
        }
    }
}

/// The key of the first of some uncompressed records, without allocating.
pub(super) fn first_key(records: &[u8]) -> Option<&[u8]> {
    let (size, taken) = varint::read(records)?;
    let body = records.get(taken..)?.get(..usize::try_from(size).ok()?)?;
    let mut rest = body.get(1..)?;
    for _ in ["timestamp delta", "offset delta"] {
        let (_, taken) = varint::read(rest)?;
        rest = &rest[taken..];
    }
    let (length, taken) = varint::read(rest)?;
    rest.get(taken..)?.get(..usize::try_from(length).ok()?)
}
