//! Digests of records and of ranges.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Record, TimestampType};

/// BLAKE3 over everything a record says but its offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest(pub [u8; 32]);

/// BLAKE3 over a record's offset and content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordDigest(pub [u8; 32]);

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({})", hex::encode(&self.0[..8]))
    }
}

impl fmt::Debug for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordDigest({})", hex::encode(&self.0[..8]))
    }
}

/// Digests one record from borrowed parts, so that a reader need not copy it. The parts are given in this order:
/// [`RecordHasher::new`], key, value, header count, each header's name and value.
///
/// Every variable part has its length in front, null has a length of its own: no two records run together.
pub struct RecordHasher(blake3::Hasher);

impl RecordHasher {
    /// Begins with what has a fixed size.
    pub fn new(offset: i64, timestamp_ms: i64, timestamp_type: TimestampType) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&offset.to_le_bytes());
        let mut hasher = Self(hasher);
        hasher.times(timestamp_ms, timestamp_type);
        hasher
    }

    /// Begins without an offset: a digest of the content alone.
    fn without_offset(timestamp_ms: i64, timestamp_type: TimestampType) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.times(timestamp_ms, timestamp_type);
        hasher
    }

    fn times(&mut self, timestamp_ms: i64, timestamp_type: TimestampType) {
        let kind = match timestamp_type {
            TimestampType::None => 0u8,
            TimestampType::CreateTime => 1,
            TimestampType::LogAppendTime => 2,
        };
        self.0.update(&timestamp_ms.to_le_bytes()).update(&[kind]);
    }

    /// Takes the key, the value, or the name or value of a header.
    pub fn bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => {
                self.0.update(&u64::MAX.to_le_bytes());
            }
            Some(bytes) => {
                self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
            }
        }
        self
    }

    /// Takes how many headers follow.
    pub fn header_count(&mut self, headers: usize) -> &mut Self {
        self.0.update(&(headers as u64).to_le_bytes());
        self
    }

    /// The record's digest.
    pub fn finish(&self) -> RecordDigest {
        RecordDigest(*self.0.finalize().as_bytes())
    }
}

impl Record {
    /// Digest of key, value, headers, timestamp and timestamp type.
    pub fn content(&self) -> ContentDigest {
        let mut hasher = RecordHasher::without_offset(self.timestamp_ms, self.timestamp_type);
        self.hash_parts(&mut hasher);
        ContentDigest(hasher.finish().0)
    }

    /// Digest of the offset and the content.
    pub fn digest(&self) -> RecordDigest {
        let mut hasher = RecordHasher::new(self.offset, self.timestamp_ms, self.timestamp_type);
        self.hash_parts(&mut hasher);
        hasher.finish()
    }

    fn hash_parts(&self, hasher: &mut RecordHasher) {
        hasher.bytes(self.key.as_deref()).bytes(self.value.as_deref()).header_count(self.headers.len());
        for (name, value) in &self.headers {
            hasher.bytes(Some(name.as_bytes())).bytes(value.as_deref());
        }
    }

    /// Bytes of key, value and headers, for rate limits and progress.
    pub fn size_bytes(&self) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        (length(&self.key) + length(&self.value) + headers) as u64
    }
}

/// Count and digest of the records of one side within `[from, to)`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDigest {
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
    /// Records in it; offsets without a record do not count.
    pub records: u64,
    /// BLAKE3 over the records' digests in order; for a combined range over those of its parts.
    #[serde(with = "hex::serde")]
    pub digest: [u8; 32],
}

impl fmt::Debug for RangeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = hex::encode(&self.digest[..8]);
        write!(f, "[{}, {}) {} records {digest}", self.from, self.to, self.records)
    }
}

impl RangeDigest {
    /// One digest over adjacent ranges; `None` when there are none or they are not adjacent in order. Both sides
    /// have equal digests exactly when they were cut and combined in the same places, which is why
    /// [`RangeDigester`] cuts at fixed offsets.
    pub fn combine(parts: &[Self]) -> Option<Self> {
        let (first, last) = (parts.first()?, parts.last()?);
        let mut hasher = blake3::Hasher::new_derive_key("towpath range of ranges v1");
        let mut records = 0;
        for (index, part) in parts.iter().enumerate() {
            if parts.get(index + 1).is_some_and(|next| next.from != part.to) {
                return None;
            }
            hasher.update(&part.from.to_le_bytes()).update(&part.to.to_le_bytes());
            hasher.update(&part.records.to_le_bytes()).update(&part.digest);
            records += part.records;
        }
        Some(Self { from: first.from, to: last.to, records, digest: *hasher.finalize().as_bytes() })
    }

    /// The digest in hexadecimal, as evidence keeps it.
    pub fn hex(&self) -> String {
        hex::encode(self.digest)
    }
}

/// Digests a stream of records, in order, into ranges cut at multiples of `range_offsets`. A range is given out
/// as soon as a record, or [`RangeDigester::advance`], lies beyond it; memory does not grow with the stream.
pub struct RangeDigester {
    range_offsets: i64,
    from: i64,
    next: i64,
    records: u64,
    hasher: blake3::Hasher,
}

impl RangeDigester {
    /// Begins at offset `from`. `range_offsets` is at least 1.
    pub fn new(from: i64, range_offsets: u64) -> Self {
        let range_offsets = i64::try_from(range_offsets).unwrap_or(i64::MAX).max(1);
        Self { range_offsets, from, next: from, records: 0, hasher: fresh() }
    }

    /// The next offset that a record may have.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Takes the next record; answers the ranges that it completes (empty ones too). A record that does not come
    /// after the one before is a reader's bug: it is refused with the offset that was expected.
    pub fn push(&mut self, record: &Record) -> Result<Vec<RangeDigest>, super::Unsorted> {
        self.push_digest(record.offset, &record.digest())
    }

    /// [`RangeDigester::push`] of a record that a [`RecordHasher`] digested.
    ///
    /// # Errors
    /// As [`RangeDigester::push`].
    pub fn push_digest(
        &mut self,
        offset: i64,
        digest: &RecordDigest,
    ) -> Result<Vec<RangeDigest>, super::Unsorted> {
        if offset < self.next {
            return Err(super::Unsorted { offset, after: self.next - 1 });
        }
        let done = self.advance(offset);
        self.hasher.update(&digest.0);
        self.records += 1;
        self.next = offset + 1;
        Ok(done)
    }

    /// States that no record lies before `offset` any more; answers the ranges that this completes.
    pub fn advance(&mut self, offset: i64) -> Vec<RangeDigest> {
        let mut done = Vec::new();
        while offset >= self.cut() {
            let cut = self.cut();
            done.push(self.close(cut));
        }
        self.next = self.next.max(offset);
        done
    }

    /// Ends at `end` (exclusive): answers the ranges that this completes and the last one, shorter than the others.
    pub fn finish(mut self, end: i64) -> Vec<RangeDigest> {
        let mut done = self.advance(end);
        if end > self.from {
            done.push(self.close(end));
        }
        done
    }

    fn cut(&self) -> i64 {
        (self.from.div_euclid(self.range_offsets) + 1).saturating_mul(self.range_offsets)
    }

    fn close(&mut self, to: i64) -> RangeDigest {
        let hasher = std::mem::replace(&mut self.hasher, fresh());
        let range =
            RangeDigest { from: self.from, to, records: self.records, digest: *hasher.finalize().as_bytes() };
        self.from = to;
        self.records = 0;
        range
    }
}

fn fresh() -> blake3::Hasher {
    blake3::Hasher::new_derive_key("towpath range v1")
}
