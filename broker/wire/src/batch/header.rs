//! The 61-byte header of a batch.

use bytes::Bytes;

use super::{BatchError, Codec, Records, records, varint};

/// Size of a v2 batch header in bytes.
pub const HEADER_BYTES: usize = 61;
/// Where the part of a batch begins that its own CRC covers: at the attributes.
pub const CRC_COVERS_FROM: usize = ATTRIBUTES;

pub(super) const BASE_OFFSET: usize = 0;
pub(super) const LENGTH: usize = 8;
pub(super) const LEADER_EPOCH: usize = 12;
pub(super) const MAGIC: usize = 16;
pub(super) const CRC: usize = 17;
pub(super) const ATTRIBUTES: usize = 21;
pub(super) const LAST_OFFSET_DELTA: usize = 23;
pub(super) const BASE_TIMESTAMP: usize = 27;
pub(super) const MAX_TIMESTAMP: usize = 35;
pub(super) const PRODUCER_ID: usize = 43;
pub(super) const PRODUCER_EPOCH: usize = 51;
pub(super) const BASE_SEQUENCE: usize = 53;
pub(super) const RECORD_COUNT: usize = 57;

/// The length field counts from behind itself.
pub(super) const LENGTH_OVERHEAD: usize = LEADER_EPOCH;

pub(super) const CODEC_MASK: i16 = 0x07;
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
/// KIP-534: the base timestamp field holds the delete horizon of tombstones.
pub(super) const DELETE_HORIZON: i16 = 0x40;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer, record by record.
    CreateTime,
    /// The broker, one for the whole batch: its max timestamp.
    LogAppendTime,
}

/// What a control batch says (Kafka's `ControlRecordType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The producer's transaction aborted.
    Abort,
    /// The producer's transaction committed.
    Commit,
    /// Any other control record (leader change, snapshot header, …) by its number.
    Other(i16),
}

/// One v2 batch, header and records, over borrowed or shared bytes.
///
/// Comes from [`super::split`], [`super::views`] or [`Batch::new`], so that its bytes are exactly one batch:
/// the header is there, the length is right, the magic is 2. Nothing else is checked yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Batch<B = Bytes> {
    bytes: B,
}

/// A batch that borrows its bytes.
pub type BatchView<'a> = Batch<&'a [u8]>;

/// Reads a batch's size at the start of `bytes`, checking length and magic.
pub(super) fn size_at_start(bytes: &[u8], position: usize) -> Result<usize, BatchError> {
    // Magic sits at the same place in every format, and old messages are shorter than 61 bytes.
    let Some(prefix) = bytes.first_chunk::<17>() else {
        return Err(BatchError::Truncated { position, needed: HEADER_BYTES, available: bytes.len() });
    };
    let length = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
    match prefix[MAGIC] as i8 {
        2 => {}
        magic @ (0 | 1) => return Err(BatchError::OldFormat { position, magic }),
        magic => return Err(BatchError::Magic { position, magic }),
    }
    let size = usize::try_from(length).ok().map(|length| length + LENGTH_OVERHEAD);
    let Some(size) = size.filter(|size| *size >= HEADER_BYTES) else {
        return Err(BatchError::Length { position, length });
    };
    if bytes.len() < size {
        return Err(BatchError::Truncated { position, needed: size, available: bytes.len() });
    }
    Ok(size)
}

impl<B: AsRef<[u8]>> Batch<B> {
    /// Takes bytes that are exactly one batch.
    pub fn new(bytes: B) -> Result<Batch<B>, BatchError> {
        let size = size_at_start(bytes.as_ref(), 0)?;
        if size != bytes.as_ref().len() {
            return Err(BatchError::Length { position: 0, length: (size - LENGTH_OVERHEAD) as i32 });
        }
        Ok(Batch { bytes })
    }

    pub(super) fn trusted(bytes: B) -> Batch<B> {
        debug_assert_eq!(size_at_start(bytes.as_ref(), 0), Ok(bytes.as_ref().len()));
        Batch { bytes }
    }

    /// The bytes of the batch, header included.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> B {
        self.bytes
    }

    /// The same batch, borrowed.
    pub fn view(&self) -> BatchView<'_> {
        Batch { bytes: self.bytes.as_ref() }
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        // In range: every `at + N` is at most 61, and the constructors check that a whole header is there.
        out.copy_from_slice(&self.bytes.as_ref()[at..at + N]);
        out
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_be_bytes(self.field(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_be_bytes(self.field(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_be_bytes(self.field(at))
    }

    /// Offset of the first record that the batch had when it was written. Compaction may have removed it.
    pub fn base_offset(&self) -> i64 {
        self.i64(BASE_OFFSET)
    }

    /// Offset of the last record that the batch had when it was written. Saturates on hostile headers.
    pub fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The offset after [`Batch::last_offset`]. Saturates on hostile headers.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Size of the whole batch in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// The leader's epoch when the batch was appended. Outside the CRC.
    pub fn leader_epoch(&self) -> i32 {
        self.i32(LEADER_EPOCH)
    }

    /// Always 2.
    pub fn magic(&self) -> i8 {
        self.bytes.as_ref()[MAGIC] as i8
    }

    /// The stored CRC-32C.
    pub fn crc(&self) -> u32 {
        self.i32(CRC) as u32
    }

    /// The CRC-32C of the bytes that it covers: from the attributes to the end.
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes.as_ref()[ATTRIBUTES..])
    }

    /// Compares stored and computed CRC.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), self.computed_crc());
        if stored == computed {
            return Ok(());
        }
        Err(BatchError::Crc { base_offset: self.base_offset(), stored, computed })
    }

    /// All attribute bits.
    pub fn attributes(&self) -> i16 {
        self.i16(ATTRIBUTES)
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let codec = (self.attributes() & CODEC_MASK) as u8;
        Codec::from_bits(codec).ok_or(BatchError::Codec { base_offset: self.base_offset(), codec })
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Part of a transaction (records or its end marker).
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Holds a control record, not data.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Whether the base timestamp field is a delete horizon (KIP-534, set by the source's log cleaner).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON != 0
    }

    /// Last offset minus base offset.
    pub fn last_offset_delta(&self) -> i32 {
        self.i32(LAST_OFFSET_DELTA)
    }

    /// The timestamp that record timestamps are relative to, in ms since the epoch; −1 for none.
    pub fn base_timestamp_ms(&self) -> i64 {
        self.i64(BASE_TIMESTAMP)
    }

    /// The highest timestamp in the batch, in ms since the epoch; the append time for LogAppendTime.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.i64(MAX_TIMESTAMP)
    }

    /// The idempotent producer's id, −1 for none.
    pub fn producer_id(&self) -> i64 {
        self.i64(PRODUCER_ID)
    }

    /// The producer's epoch, −1 for none.
    pub fn producer_epoch(&self) -> i16 {
        self.i16(PRODUCER_EPOCH)
    }

    /// Sequence number of the first record, −1 for none.
    pub fn base_sequence(&self) -> i32 {
        self.i32(BASE_SEQUENCE)
    }

    /// Sequence number of the last record; wraps from `i32::MAX` to 0 as the producer's does. −1 for none.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            base if base < 0 => -1,
            base => ((i64::from(base) + i64::from(self.last_offset_delta())) & i64::from(i32::MAX)) as i32,
        }
    }

    /// How many records are in the batch; fewer than the offsets it spans once compacted.
    pub fn record_count(&self) -> i32 {
        self.i32(RECORD_COUNT)
    }

    /// The records as they are on the wire: compressed if the codec says so.
    pub fn records_bytes(&self) -> &[u8] {
        &self.bytes.as_ref()[HEADER_BYTES..]
    }

    /// What a control batch says; `None` when the batch is not a control batch or its record is malformed.
    pub fn control_kind(&self) -> Option<ControlKind> {
        if !self.is_control() || self.codec().ok()? != Codec::None {
            return None;
        }
        let key = records::first_key(self.records_bytes())?;
        let (_version, rest) = varint::take::<2>(key)?;
        let (kind, _) = varint::take::<2>(rest)?;
        Some(match i16::from_be_bytes(kind) {
            0 => ControlKind::Abort,
            1 => ControlKind::Commit,
            other => ControlKind::Other(other),
        })
    }

    /// The rules of a batch that a client may produce, as Kafka's `LogValidator` applies them to the header:
    /// no control batches, dense offsets, a known codec, producer fields that go together.
    pub fn check_produced(&self) -> Result<(), BatchError> {
        let (count, delta) = (self.record_count(), self.last_offset_delta());
        let idempotent = self.producer_id() >= 0;
        let reason = if count <= 0 {
            "it has no records"
        } else if delta < 0 || i64::from(delta) + 1 != i64::from(count) {
            "its last offset delta does not match its record count"
        } else if self.is_control() {
            "clients may not write control batches"
        } else if self.is_transactional() && !idempotent {
            "it is transactional but has no producer id"
        } else if idempotent && (self.producer_epoch() < 0 || self.base_sequence() < 0) {
            "it has a producer id but no epoch or sequence"
        } else {
            return self.codec().map(|_| ());
        };
        Err(BatchError::Header { base_offset: self.base_offset(), reason })
    }
}

impl Batch<Bytes> {
    /// The records, decompressed into at most `bytes_max` bytes. Uncompressed records are slices of the batch.
    pub fn records(&self, bytes_max: usize) -> Result<Records, BatchError> {
        Records::new(self, bytes_max)
    }
}

impl<B: AsRef<[u8]>> std::fmt::Debug for Batch<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("base_offset", &self.base_offset())
            .field("last_offset", &self.last_offset())
            .field("leader_epoch", &self.leader_epoch())
            .field("attributes", &self.attributes())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("record_count", &self.record_count())
            .field("size_bytes", &self.size_bytes())
            .finish()
    }
}
