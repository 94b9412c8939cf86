//! Up-conversion of message formats v0 and v1, once, at the door.

use bytes::{Bytes, BytesMut};

use crate::Fault;
use crate::batch::BatchError;

/// What can be wrong with old messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The bytes end inside a message.
    #[error("the message at byte {position} is cut short; fix: send it whole")]
    Truncated {
        /// Where the message starts.
        position: usize,
    },
    /// A message is malformed.
    #[error("the message at byte {position} is malformed: {reason}; fix: the producer or the log is corrupt")]
    Message {
        /// Where the message starts.
        position: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Compressed data or the new batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl ConvertError {
    /// Whose fault it is: whoever sent the bytes.
    pub fn kind(&self) -> Fault {
        Fault::Caller
    }
}

/// Whether a records field starts with message format v0 or v1.
pub fn needs_conversion(records: &[u8]) -> bool {
    records.get(16).is_some_and(|magic| *magic < 2)
}

/// Converts a message set in format v0 or v1 as a client produces it: one v2 batch per compressed wrapper or
/// run of plain messages, with offsets that count up from 0 throughout, whatever the client wrote.
///
/// `bytes_max` bounds what compressed wrappers may decompress to, together.
pub fn up_convert(records: Bytes, bytes_max: usize) -> Result<BytesMut, ConvertError> {
    let _ = (records, bytes_max);
    unimplemented!("message formats v0 and v1")
}

/// Converts a message set in format v0 or v1 as it was read from a log: as [`up_convert`], keeping offsets.
pub fn up_convert_keeping_offsets(records: Bytes, bytes_max: usize) -> Result<BytesMut, ConvertError> {
    let _ = (records, bytes_max);
    unimplemented!("message formats v0 and v1")
}
