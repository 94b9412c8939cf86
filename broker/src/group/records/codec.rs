//! Kafka's primitive types, as far as the records of `__consumer_offsets` need them.
//!
//! What is read here was written by a coordinator, but maybe not by ours and maybe long ago: every length is
//! checked against the bytes that remain.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why a record can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ends too early, or a length points beyond its end.
    #[error("it ends in the middle of a field")]
    Truncated,
    /// Text that is none.
    #[error("a text field is not UTF-8")]
    Text,
    /// A value version from the future.
    #[error("value version {0} is newer than this broker knows")]
    Version(i16),
    /// A route that does not exist.
    #[error("route {0} does not exist")]
    Route(i16),
}

pub(super) struct Reader {
    rest: Bytes,
    flexible: bool,
}

impl Reader {
    /// A key or an inflexible value: its version, and the rest.
    pub fn new(bytes: &Bytes) -> Result<(i16, Reader), RecordError> {
        let mut reader = Reader { rest: bytes.clone(), flexible: false };
        Ok((reader.i16()?, reader))
    }

    /// A value whose versions are flexible from `flexible_since` on, which is also the last known one.
    pub fn value(bytes: &Bytes, flexible_since: i16) -> Result<(i16, Reader), RecordError> {
        let (version, mut reader) = Reader::new(bytes)?;
        if version > flexible_since || version < 0 {
            return Err(RecordError::Version(version));
        }
        reader.flexible = version == flexible_since;
        Ok((version, reader))
    }

    pub fn i16(&mut self) -> Result<i16, RecordError> {
        self.rest.try_get_i16().map_err(|_| RecordError::Truncated)
    }

    pub fn i32(&mut self) -> Result<i32, RecordError> {
        self.rest.try_get_i32().map_err(|_| RecordError::Truncated)
    }

    pub fn i64(&mut self) -> Result<i64, RecordError> {
        self.rest.try_get_i64().map_err(|_| RecordError::Truncated)
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8().map_err(|_| RecordError::Truncated)?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Truncated)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, RecordError> {
        if len > self.rest.len() {
            return Err(RecordError::Truncated);
        }
        // Copied: a slice would keep the whole batch in memory for as long as the group lives.
        let taken = Bytes::copy_from_slice(&self.rest[..len]);
        self.rest.advance(len);
        Ok(taken)
    }

    /// `None`: null.
    fn length(&mut self, is_bytes: bool) -> Result<Option<usize>, RecordError> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1).map(|len| len as usize));
        }
        let len = if is_bytes { self.i32()? } else { i32::from(self.i16()?) };
        Ok(usize::try_from(len).ok())
    }

    pub fn nullable_string(&mut self) -> Result<Option<String>, RecordError> {
        let Some(len) = self.length(false)? else { return Ok(None) };
        let bytes = self.take(len)?;
        String::from_utf8(bytes.into()).map(Some).map_err(|_| RecordError::Text)
    }

    pub fn string(&mut self) -> Result<String, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Truncated)
    }

    pub fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let len = self.length(true)?.ok_or(RecordError::Truncated)?;
        self.take(len)
    }

    /// The length of an array, believed only as far as the bytes that remain could hold it.
    pub fn array(&mut self) -> Result<usize, RecordError> {
        let len = self.length(true)?.ok_or(RecordError::Truncated)?;
        if len > self.rest.len() { Err(RecordError::Truncated) } else { Ok(len) }
    }

    /// Skips the tagged fields of a flexible version.
    pub fn tagged_fields(&mut self) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let _tag = self.varint()?;
            let len = self.varint()? as usize;
            self.take(len)?;
        }
        Ok(())
    }
}

pub(super) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub fn new(version: i16) -> Writer {
        let mut out = BytesMut::new();
        out.put_i16(version);
        Writer { out }
    }

    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// Text of at most 32,767 bytes: that is what a request could carry. Longer text is cut, which only a
    /// client's own name could ever be.
    pub fn string(&mut self, value: &str) {
        let mut end = value.len().min(i16::MAX as usize);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.out.put_i16(end as i16);
        self.out.put_slice(&value.as_bytes()[..end]);
    }

    pub fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.out.put_i16(-1),
        }
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.out.put_i32(value.len() as i32);
        self.out.put_slice(value);
    }

    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}
