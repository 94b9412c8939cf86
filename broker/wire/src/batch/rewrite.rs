//! Leaving records out of a batch, as a log cleaner does: what stays is copied as it is.
//!
//! A rewritten batch keeps base offset, last offset delta, leader epoch, producer fields, codec and timestamp type;
//! record count, highest timestamp, length and CRC are computed anew. The rules are Apache Kafka's
//! (`MemoryRecords.filterTo`, `DefaultRecordBatch.writeEmptyHeader`).

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{
    ATTRIBUTES, BASE_TIMESTAMP, Batch, CODEC_MASK, CRC, DELETE_HORIZON, HEADER_BYTES, LENGTH,
    LENGTH_OVERHEAD, MAX_TIMESTAMP, RECORD_COUNT, TimestampType,
};
use super::{BatchError, Codec, compress, decompress, varint};

/// A checked batch with its records decompressed, to be rewritten.
#[derive(Clone, Debug)]
pub struct OpenBatch {
    batch: Batch<Bytes>,
    codec: Codec,
    records: Bytes,
}

/// One record where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// As its producer set it (ms since the epoch), whatever the batch's timestamp type.
    pub timestamp_ms: i64,
    /// The key, `None` for null.
    pub key: Option<&'a [u8]>,
    /// Whether the value is null.
    pub is_tombstone: bool,
    /// The record with its length, as stored.
    whole: &'a [u8],
    attributes: u8,
    /// From the offset delta to the end.
    behind_timestamp: &'a [u8],
}

/// Iterator of [`OpenBatch::records`]. Ends after the first error.
#[derive(Clone, Debug)]
pub struct RawRecords<'a> {
    rest: &'a [u8],
    index: u32,
    count: u32,
    base_offset: i64,
    base_timestamp_ms: i64,
}

impl Batch<Bytes> {
    /// Checks the CRC and decompresses the records into at most `bytes_max` bytes.
    pub fn open(&self, bytes_max: usize) -> Result<OpenBatch, BatchError> {
        self.check_crc()?;
        let codec = self.codec()?;
        let records = match codec {
            Codec::None => self.bytes().slice(HEADER_BYTES..),
            _ if self.record_count() == 0 && self.size_bytes() == HEADER_BYTES => Bytes::new(),
            codec => decompress(codec, self.records_bytes(), bytes_max)?,
        };
        Ok(OpenBatch { batch: self.clone(), codec, records })
    }

    /// The batch without its records: what is left of it when it must still tell of its offsets and its producer.
    pub fn emptied(&self) -> Bytes {
        let mut out = BytesMut::from(&self.bytes()[..HEADER_BYTES]);
        let attributes = self.attributes() & !(CODEC_MASK | DELETE_HORIZON);
        let no_timestamp = -1_i64;
        out[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
        out[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&no_timestamp.to_be_bytes());
        out[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&0_i32.to_be_bytes());
        sealed(out, HEADER_BYTES - LENGTH_OVERHEAD)
    }
}

impl OpenBatch {
    /// The records in order.
    pub fn records(&self) -> RawRecords<'_> {
        RawRecords {
            rest: &self.records,
            index: 0,
            // A negative count is none, and then the bytes that follow are an error.
            count: u32::try_from(self.batch.record_count()).unwrap_or(0),
            base_offset: self.batch.base_offset(),
            base_timestamp_ms: self.batch.base_timestamp_ms(),
        }
    }

    /// The batch with those records only whose position `keep` says to keep; with a delete horizon, if one is given
    /// (KIP-534: the base timestamp holds it, and the records' own timestamps are told relative to that).
    ///
    /// `keep` is asked once for each record that [`OpenBatch::records`] gives.
    pub fn rebuild(&self, keep: &[bool], delete_horizon_ms: Option<i64>) -> Result<Bytes, BatchError> {
        let base_offset = self.batch.base_offset();
        let mut kept = BytesMut::new();
        let (mut count, mut max_timestamp_ms) = (0_i32, -1_i64);
        for (index, record) in self.records().enumerate() {
            let record = record?;
            if !keep.get(index).copied().unwrap_or(true) {
                continue;
            }
            count += 1;
            max_timestamp_ms = max_timestamp_ms.max(record.timestamp_ms);
            match delete_horizon_ms {
                Some(horizon_ms) => record.write_relative_to(horizon_ms, &mut kept),
                None => kept.put_slice(record.whole),
            }
        }
        let data = match self.codec {
            Codec::None => kept.freeze(),
            codec => Bytes::from(
                compress(codec, &kept)
                    .map_err(|error| BatchError::Decompress { codec, reason: error.to_string() })?,
            ),
        };
        let length = HEADER_BYTES - LENGTH_OVERHEAD + data.len();
        if i32::try_from(length).is_err() {
            return Err(BatchError::Header { base_offset, reason: "it exceeds 2 GiB" });
        }
        let mut out = BytesMut::with_capacity(HEADER_BYTES + data.len());
        out.put_slice(&self.batch.bytes()[..HEADER_BYTES]);
        out.put_slice(&data);
        if let Some(horizon_ms) = delete_horizon_ms {
            let attributes = self.batch.attributes() | DELETE_HORIZON;
            out[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
            out[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&horizon_ms.to_be_bytes());
        }
        // Under LogAppendTime this field is the time of every record.
        if self.batch.timestamp_type() == TimestampType::CreateTime {
            out[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
        }
        out[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
        Ok(sealed(out, length))
    }
}

/// Sets length and CRC.
fn sealed(mut out: BytesMut, length: usize) -> Bytes {
    out[LENGTH..LENGTH + 4].copy_from_slice(&(length as u32).to_be_bytes());
    let crc = crc32c::crc32c(&out[ATTRIBUTES..]);
    out[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

impl RawRecord<'_> {
    fn write_relative_to(&self, base_timestamp_ms: i64, out: &mut BytesMut) {
        let delta = self.timestamp_ms.wrapping_sub(base_timestamp_ms);
        let size = 1 + varint::size(delta) + self.behind_timestamp.len();
        varint::write(out, size as i64);
        out.put_u8(self.attributes);
        varint::write(out, delta);
        out.put_slice(self.behind_timestamp);
    }
}

impl<'a> RawRecords<'a> {
    fn decode(&mut self) -> Result<RawRecord<'a>, &'static str> {
        let start = self.rest;
        let size = length(&mut self.rest).ok_or("bad size")?.ok_or("negative size")?;
        let (mut body, rest) = self.rest.split_at_checked(size).ok_or("it is cut short")?;
        self.rest = rest;
        let whole = &start[..start.len() - rest.len()];
        let (attributes, behind) = body.split_first().ok_or("it is empty")?;
        body = behind;
        let timestamp_delta = number(&mut body).ok_or("bad timestamp")?;
        let behind_timestamp = body;
        let offset_delta = number(&mut body).ok_or("bad offset")?;
        if !(0..=i64::from(i32::MAX)).contains(&offset_delta) {
            return Err("its offset delta is out of range");
        }
        let key = blob(&mut body).ok_or("bad key")?;
        let is_tombstone = blob(&mut body).ok_or("bad value")?.is_none();
        for _ in 0..length(&mut body).flatten().ok_or("bad header count")? {
            blob(&mut body).flatten().ok_or("bad header name")?;
            blob(&mut body).ok_or("bad header value")?;
        }
        if !body.is_empty() {
            return Err("it has bytes left over");
        }
        Ok(RawRecord {
            offset: self.base_offset.checked_add(offset_delta).ok_or("its offset overflows")?,
            timestamp_ms: self.base_timestamp_ms.wrapping_add(timestamp_delta),
            key,
            is_tombstone,
            whole,
            attributes: *attributes,
            behind_timestamp,
        })
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let base_offset = self.base_offset;
        if self.index == self.count {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            let reason = "it has bytes behind its last record";
            return Some(Err(BatchError::Header { base_offset, reason }));
        }
        let index = self.index;
        self.index += 1;
        Some(self.decode().map_err(|reason| {
            (self.rest, self.index) = (&[], self.count);
            BatchError::Record { base_offset, index, reason }
        }))
    }
}

impl std::iter::FusedIterator for RawRecords<'_> {}

fn number(bytes: &mut &[u8]) -> Option<i64> {
    let (value, size) = varint::read(bytes)?;
    *bytes = &bytes[size..];
    Some(value)
}

/// A length: `None` when malformed, `Some(None)` when negative.
fn length(bytes: &mut &[u8]) -> Option<Option<usize>> {
    let value = i32::try_from(number(bytes)?).ok()?;
    Some(usize::try_from(value).ok())
}

fn blob<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match number(bytes)? {
        -1 => Some(None),
        length => {
            let (blob, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
            *bytes = rest;
            Some(Some(blob))
        }
    }
}

#[cfg(test)]
mod tests;
