//! Compression of record data, with a bound on what comes out.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};

use super::BatchError;

/// How the records of a batch are compressed. The discriminants are the attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy, raw or in xerial's framing (what Java clients write).
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl Codec {
    /// From the three lowest attribute bits.
    pub fn from_bits(bits: u8) -> Option<Codec> {
        Some(match bits {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }
}

/// xerial's snappy framing: this magic, two version numbers, then blocks of (INT32 size, raw snappy).
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
/// Block size of xerial's `SnappyOutputStream`, before compression.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element yields more than 64 bytes, and none is shorter than a byte.
const SNAPPY_RATIO_MAX: usize = 64;

/// Decompresses into at most `bytes_max` bytes.
pub(crate) fn decompress(codec: Codec, data: &[u8], bytes_max: usize) -> Result<Bytes, BatchError> {
    match codec {
        Codec::None => Ok(Bytes::copy_from_slice(data)),
        Codec::Gzip => drain(codec, flate2::read::MultiGzDecoder::new(data), data.len(), bytes_max),
        Codec::Snappy => decompress_snappy(data, bytes_max),
        Codec::Lz4 => {
            let decoder = lz4::Decoder::new(data).map_err(|error| malformed(codec, error))?;
            drain(codec, decoder, data.len(), bytes_max)
        }
        Codec::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(data).map_err(|error| malformed(codec, error))?;
            drain(codec, decoder, data.len(), bytes_max)
        }
    }
}

fn malformed(codec: Codec, reason: impl ToString) -> BatchError {
    BatchError::Decompress { codec, reason: reason.to_string() }
}

fn drain(codec: Codec, from: impl Read, size: usize, bytes_max: usize) -> Result<Bytes, BatchError> {
    let mut out = Vec::with_capacity(size.saturating_mul(3).min(bytes_max));
    let limit = (bytes_max as u64).saturating_add(1);
    from.take(limit).read_to_end(&mut out).map_err(|error| malformed(codec, error))?;
    if out.len() > bytes_max {
        return Err(BatchError::Budget { bytes_max });
    }
    Ok(Bytes::from(out))
}

fn decompress_snappy(data: &[u8], bytes_max: usize) -> Result<Bytes, BatchError> {
    let mut out = BytesMut::new();
    if !data.starts_with(XERIAL_MAGIC) {
        snappy_block(data, &mut out, bytes_max)?;
        return Ok(out.freeze());
    }
    let mut rest = data.get(XERIAL_HEADER_BYTES..).ok_or_else(|| malformed(Codec::Snappy, "no header"))?;
    while let Some((size, behind)) = rest.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some((block, behind)) = behind.split_at_checked(size) else {
            return Err(malformed(Codec::Snappy, "a block is cut short"));
        };
        snappy_block(block, &mut out, bytes_max)?;
        rest = behind;
    }
    match rest {
        [] => Ok(out.freeze()),
        _ => Err(malformed(Codec::Snappy, "a block is cut short")),
    }
}

fn snappy_block(block: &[u8], out: &mut BytesMut, bytes_max: usize) -> Result<(), BatchError> {
    let size = snap::raw::decompress_len(block).map_err(|error| malformed(Codec::Snappy, error))?;
    if size > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(malformed(Codec::Snappy, "it claims to be longer than it can be"));
    }
    let start = out.len();
    if size > bytes_max - start.min(bytes_max) {
        return Err(BatchError::Budget { bytes_max });
    }
    out.resize(start + size, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|error| malformed(Codec::Snappy, error))?;
    Ok(())
}

/// Compresses as the Java client would by default: gzip 6, xerial snappy, independent lz4 blocks, zstd 3.
pub(crate) fn compress(codec: Codec, data: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(data.to_vec()),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(data)?;
            encoder.finish()
        }
        Codec::Snappy => {
            let mut out = Vec::with_capacity(XERIAL_HEADER_BYTES + data.len() / 2);
            out.extend_from_slice(XERIAL_MAGIC);
            out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            let mut encoder = snap::raw::Encoder::new();
            for block in data.chunks(XERIAL_BLOCK_BYTES) {
                let block = encoder.compress_vec(block).map_err(io::Error::other)?;
                out.extend_from_slice(&(block.len() as u32).to_be_bytes());
                out.extend_from_slice(&block);
            }
            Ok(out)
        }
        Codec::Lz4 => {
            // Kafka's Java reader refuses dependent blocks.
            let mut encoder = lz4::EncoderBuilder::new()
                .block_mode(lz4::BlockMode::Independent)
                .block_size(lz4::BlockSize::Max64KB)
                .checksum(lz4::ContentChecksum::NoChecksum)
                .build(Vec::new())?;
            encoder.write_all(data)?;
            let (out, result) = encoder.finish();
            result.map(|()| out)
        }
        Codec::Zstd => zstd::bulk::compress(data, 3),
    }
}
