//! What can be wrong with a batch.

use crate::Fault;

/// What can be wrong with a batch. Positions count bytes from the start of the records field; the caller, who
/// knows topic and partition, adds them to the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside a batch: normal at the end of a fetch response, wrong in a produce request.
    #[error("the batch at byte {position} needs {needed} bytes but {available} are left; fix: send it whole")]
    Truncated {
        /// Where the batch starts.
        position: usize,
        /// Bytes that it needs (61, the header, when not even its size is there).
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length field is negative or smaller than the header.
    #[error(
        "the batch at byte {position} claims a length of {length}; fix: the producer or the log is corrupt"
    )]
    Length {
        /// Where the batch starts.
        position: usize,
        /// The length field.
        length: i32,
    },
    /// Message format v0 or v1: see [`crate::convert`].
    #[error("the batch at byte {position} has the old message format v{magic}; fix: convert it first")]
    OldFormat {
        /// Where the batch starts.
        position: usize,
        /// 0 or 1.
        magic: i8,
    },
    /// A message format that does not exist.
    #[error(
        "the batch at byte {position} has the unknown message format {magic}; fix: the bytes are corrupt"
    )]
    Magic {
        /// Where the batch starts.
        position: usize,
        /// The magic byte.
        magic: i8,
    },
    /// The checksum does not match.
    #[error(
        "batch {base_offset} is corrupt: CRC {stored:#010x} stored, {computed:#010x} computed; fix: resend it"
    )]
    Crc {
        /// The batch's base offset.
        base_offset: i64,
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Compression codec 5, 6 or 7.
    #[error(
        "batch {base_offset} uses the unknown compression codec {codec}; fix: use gzip, snappy, lz4 or zstd"
    )]
    Codec {
        /// The batch's base offset.
        base_offset: i64,
        /// The three codec bits.
        codec: u8,
    },
    /// The compressed data does not decompress.
    #[error("{codec:?} data is malformed: {reason}; fix: the producer or the log is corrupt")]
    Decompress {
        /// The codec.
        codec: Codec,
        /// What the codec's library says.
        reason: String,
    },
    /// Decompressing would exceed the budget.
    #[error("decompressing takes more than {bytes_max} bytes; fix: smaller batches or a larger limit")]
    Budget {
        /// The budget in bytes.
        bytes_max: usize,
    },
    /// A record inside the batch is malformed.
    #[error(
        "record {index} of batch {base_offset} is malformed: {reason}; fix: the producer or the log is corrupt"
    )]
    Record {
        /// The batch's base offset.
        base_offset: i64,
        /// Position of the record in the batch.
        index: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// The header contradicts itself or the records.
    #[error("batch {base_offset} is invalid: {reason}; fix: the producer or the log is corrupt")]
    Header {
        /// The batch's base offset.
        base_offset: i64,
        /// What is wrong.
        reason: &'static str,
    },
}

use super::Codec;

impl BatchError {
    /// Whose fault it is: whoever sent the bytes.
    pub fn kind(&self) -> Fault {
        Fault::Caller
    }
}
