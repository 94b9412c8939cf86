//! Making new batches.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{self, ControlKind, HEADER_BYTES, TimestampType};
use super::{BatchError, Codec, compress, varint};

/// Version of control record keys and of end-transaction values.
const CONTROL_VERSION: i16 = 0;

/// Builds one v2 batch: for internal topics, control markers and conversion from old formats.
///
/// Offsets count up from the base offset unless [`BatchBuilder::append_at`] says otherwise. The bytes are
/// written as records come, so a builder holds its records once.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    attributes: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
    last_offset_delta: i32,
    record_count: i32,
    records: BytesMut,
}

/// A record's headers, by reference: name and value, `None` for null.
pub type Headers<'a> = &'a [(&'a [u8], Option<&'a [u8]>)];

impl BatchBuilder {
    /// An empty batch at `base_offset`: uncompressed, CreateTime, no producer, leader epoch −1.
    pub fn new(base_offset: i64) -> BatchBuilder {
        BatchBuilder {
            base_offset,
            leader_epoch: -1,
            attributes: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp_ms: None,
            max_timestamp_ms: -1,
            last_offset_delta: -1,
            record_count: 0,
            records: BytesMut::new(),
        }
    }

    /// A whole control batch with one end-transaction marker (Kafka's `EndTransactionMarker`).
    pub fn end_transaction(
        base_offset: i64,
        kind: ControlKind,
        producer: (i64, i16),
        coordinator_epoch: i32,
        timestamp_ms: i64,
    ) -> BatchBuilder {
        let kind = match kind {
            ControlKind::Abort => 0,
            ControlKind::Commit => 1,
            ControlKind::Other(kind) => kind,
        };
        let mut key = [0; 4];
        key[..2].copy_from_slice(&CONTROL_VERSION.to_be_bytes());
        key[2..].copy_from_slice(&kind.to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&CONTROL_VERSION.to_be_bytes());
        value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::new(base_offset).producer(producer.0, producer.1, -1).transactional();
        builder.attributes |= header::CONTROL;
        builder.append(timestamp_ms, Some(&key), Some(&value), &[]);
        builder
    }

    /// Sets the leader epoch.
    pub fn leader_epoch(mut self, leader_epoch: i32) -> BatchBuilder {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Sets the producer's id, its epoch, and the sequence number of the first record.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes the batch part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= header::TRANSACTIONAL;
        self
    }

    /// Compresses the records when the batch is built.
    pub fn codec(mut self, codec: Codec) -> BatchBuilder {
        self.attributes = (self.attributes & !header::CODEC_MASK) | codec as i16;
        self
    }

    /// Sets who set the timestamps. Under LogAppendTime, readers see the highest one for every record.
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> BatchBuilder {
        match timestamp_type {
            TimestampType::CreateTime => self.attributes &= !header::LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes |= header::LOG_APPEND_TIME,
        }
        self
    }

    /// Appends a record at the next offset.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers<'_>,
    ) {
        let delta = self.last_offset_delta.saturating_add(1);
        self.append_delta(delta, timestamp_ms, (key, value), headers);
    }

    /// Appends a record at an offset of its own, for batches with gaps.
    ///
    /// Answers `false`, and appends nothing, when the offset is not behind the last one or more than
    /// `i32::MAX` behind the base: begin another batch.
    #[must_use]
    pub fn append_at(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> bool {
        let delta = offset.checked_sub(self.base_offset).and_then(|delta| i32::try_from(delta).ok());
        match delta.filter(|delta| *delta > self.last_offset_delta) {
            Some(delta) => {
                self.append_delta(delta, timestamp_ms, (key, value), &[]);
                true
            }
            None => false,
        }
    }

    fn append_delta(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: Headers<'_>,
    ) {
        let base_timestamp_ms = *self.base_timestamp_ms.get_or_insert(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp_ms);
        let blob_size = |blob: Option<&[u8]>| match blob {
            Some(blob) => varint::size(blob.len() as i64) + blob.len(),
            None => varint::size(-1),
        };
        let headers_size: usize =
            headers.iter().map(|(name, value)| blob_size(Some(name)) + blob_size(*value)).sum();
        let size = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + blob_size(key)
            + blob_size(value)
            + varint::size(headers.len() as i64)
            + headers_size;
        let out = &mut self.records;
        out.reserve(size + varint::size(size as i64));
        varint::write(out, size as i64);
        out.put_i8(0);
        varint::write(out, timestamp_delta);
        varint::write(out, i64::from(offset_delta));
        write_blob(out, key);
        write_blob(out, value);
        varint::write(out, headers.len() as i64);
        for (name, value) in headers {
            write_blob(out, Some(name));
            write_blob(out, *value);
        }
        self.last_offset_delta = offset_delta;
        self.record_count += 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
    }

    /// Whether nothing has been appended yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes that the batch takes so far, before compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch, with its CRC. Fails only when the records cannot be compressed or exceed 2 GiB.
    pub fn build(self) -> Result<BytesMut, BatchError> {
        let codec = Codec::from_bits((self.attributes & header::CODEC_MASK) as u8).unwrap_or(Codec::None);
        let records = match codec {
            Codec::None => self.records.freeze(),
            codec => Bytes::from(
                compress(codec, &self.records)
                    .map_err(|error| BatchError::Decompress { codec, reason: error.to_string() })?,
            ),
        };
        let size = HEADER_BYTES + records.len();
        let length = i32::try_from(size - header::LENGTH_OVERHEAD)
            .map_err(|_| BatchError::Header { base_offset: self.base_offset, reason: "it exceeds 2 GiB" })?;
        let mut out = BytesMut::with_capacity(size);
        out.put_i64(self.base_offset);
        out.put_i32(length);
        out.put_i32(self.leader_epoch);
        out.put_i8(2);
        out.put_u32(0);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta.max(0));
        out.put_i64(self.base_timestamp_ms.unwrap_or(-1));
        out.put_i64(self.max_timestamp_ms);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
        out.put_slice(&records);
        let crc = crc32c::crc32c(&out[header::ATTRIBUTES..]);
        out[header::CRC..header::CRC + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(out)
    }
}

fn write_blob(out: &mut BytesMut, blob: Option<&[u8]>) {
    match blob {
        Some(blob) => {
            varint::write(out, blob.len() as i64);
            out.put_slice(blob);
        }
        None => varint::write(out, -1),
    }
}
