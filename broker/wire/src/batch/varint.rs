//! Variable-length integers of records (protobuf's zigzag), and cutting fixed sizes off a slice.

/// Cuts `N` bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().map(|(head, rest)| (*head, rest))
}

/// Reads a zigzag varint of at most ten bytes: the value and how many bytes it took.
pub(crate) fn read(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).wrapping_shl(7 * index as u32);
        if byte & 0x80 == 0 {
            return Some((((value >> 1) as i64) ^ -((value & 1) as i64), index + 1));
        }
    }
    None
}

/// Appends a zigzag varint.
pub(crate) fn write(out: &mut impl bytes::BufMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

/// How many bytes [`write`] takes for a value.
pub(crate) fn size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}
