//! Compact integers for entries that hold many: LEB128, zigzag for signed ones (as in protobuf).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Why bytes do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

const CUT: Unreadable = Unreadable("it ends in the middle");

pub(super) fn put_u64(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn put_i64(out: &mut BytesMut, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(super) fn put_uuid(out: &mut BytesMut, id: Uuid) {
    out.put_slice(id.as_bytes());
}

/// Takes values off the front of some bytes; never more than are there.
pub(super) struct Reader {
    left: Bytes,
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Reader {
        Reader { left: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Unreadable> {
        self.left.try_get_u8().map_err(|_| CUT)
    }

    pub(super) fn u32_le(&mut self) -> Result<u32, Unreadable> {
        self.left.try_get_u32_le().map_err(|_| CUT)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable("a number is too long"))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Unreadable> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Unreadable> {
        i32::try_from(self.i64()?).map_err(|_| Unreadable("a number is too large"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.u64()?).map_err(|_| Unreadable("a number is too large"))
    }

    /// A count of items of at least `item_bytes` each: no more than can be there.
    pub(super) fn count(&mut self, item_bytes: usize) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.u64()?).map_err(|_| CUT)?;
        if count > self.left.len() / item_bytes.max(1) {
            return Err(CUT);
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        let length = self.count(1)?;
        Ok(self.left.split_to(length))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, Unreadable> {
        let mut bytes = [0; 16];
        self.left.try_copy_to_slice(&mut bytes).map_err(|_| CUT)?;
        Ok(Uuid::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(unsigned: u64, signed: i64) {
            let mut out = BytesMut::new();
            put_u64(&mut out, unsigned);
            put_i64(&mut out, signed);
            let mut reader = Reader::new(out.freeze());
            prop_assert_eq!(reader.u64(), Ok(unsigned));
            prop_assert_eq!(reader.i64(), Ok(signed));
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn hostile_numbers_and_counts_are_refused() {
        assert!(Reader::new(Bytes::from_static(&[0xff; 11])).u64().is_err());
        assert!(Reader::new(Bytes::from_static(&[0x80])).u64().is_err());
        assert!(Reader::new(Bytes::from_static(&[0xff, 0xff, 0x7f, 0])).count(1).is_err());
    }
}
