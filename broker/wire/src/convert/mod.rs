//! Up-conversion of message formats v0 and v1 to record batches, once, at the door.
//!
//! Owns the old layout (Kafka's `LegacyRecord` and `AbstractLegacyRecordBatch`), its compressed wrappers with
//! absolute (v0) or relative (v1) offsets inside, and the wrong LZ4 header checksum of v0. Keys, values (null or
//! not), timestamps and their type, and the codec are kept; v0 has no timestamps, so its records get −1. Nothing
//! is ever converted down.

mod message;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

use self::message::{Message, read_message, unwrap_messages};
use crate::Fault;
use crate::batch::{Batch, BatchBuilder, BatchError, Codec, TimestampType, patch_base_offset, views};

/// Runs of plain messages are cut into batches of about this size, so that conversion makes no batch that
/// `max.message.bytes` (1 MB by default) refuses when no single message is that large.
const RUN_BYTES_MAX: usize = 256 * 1024;

/// What can be wrong with old messages. Positions count bytes from the start of the records field.
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
        /// Where the message starts; for one inside a compressed wrapper, where the wrapper starts.
        position: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A checksum does not match.
    #[error(
        "the message at byte {position} is corrupt: CRC {stored:#010x} stored, {computed:#010x} computed; fix: resend it"
    )]
    Crc {
        /// Where the message starts; for one inside a compressed wrapper, where the wrapper starts.
        position: usize,
        /// The checksum in the message.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
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
    records.get(message::MAGIC).is_some_and(|magic| *magic < 2)
}

/// Converts a message set in format v0 or v1 as a client produces it: one v2 batch per compressed wrapper or
/// run of plain messages, with offsets that count up from 0 throughout, whatever the client wrote.
///
/// `bytes_max` bounds what compressed wrappers may decompress to, together. v2 batches among the messages pass
/// with their base offset set.
pub fn up_convert(records: Bytes, bytes_max: usize) -> Result<BytesMut, ConvertError> {
    Conversion::new(Offsets::Assign, bytes_max).run(records)
}

/// Converts a message set in format v0 or v1 as it was read from a log: as [`up_convert`], keeping offsets.
///
/// Messages below `from` are left out (a compressed wrapper is read whole from wherever in it a fetch begins),
/// and so is a last message that is cut short, as fetch responses end.
pub fn up_convert_keeping_offsets(
    records: Bytes,
    from: i64,
    bytes_max: usize,
) -> Result<BytesMut, ConvertError> {
    Conversion { from, ..Conversion::new(Offsets::Keep, bytes_max) }.run(records)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offsets {
    Assign,
    Keep,
}

struct Conversion {
    offsets: Offsets,
    /// Messages below are left out.
    from: i64,
    next_offset: i64,
    bytes_left: usize,
    bytes_max: usize,
    out: BytesMut,
    run: Option<Run>,
}

/// A run of plain messages that go into one batch.
struct Run {
    builder: BatchBuilder,
    timestamp_type: TimestampType,
    /// One per batch under LogAppendTime.
    append_time_ms: i64,
}

impl Conversion {
    fn new(offsets: Offsets, bytes_max: usize) -> Conversion {
        let next_offset = 0;
        Conversion {
            offsets,
            from: 0,
            next_offset,
            bytes_left: bytes_max,
            bytes_max,
            out: BytesMut::new(),
            run: None,
        }
    }

    fn run(mut self, records: Bytes) -> Result<BytesMut, ConvertError> {
        let mut rest = records.clone();
        while !rest.is_empty() {
            let position = records.len() - rest.len();
            if rest.get(message::MAGIC) == Some(&2) {
                self.finish_run()?;
                if !self.pass_batch(&mut rest, position)? {
                    break;
                }
                continue;
            }
            let message = match read_message(&mut rest, position) {
                Err(ConvertError::Truncated { .. }) if self.offsets == Offsets::Keep => break,
                message => message?,
            };
            match message.codec {
                Codec::None => self.append(message, position)?,
                _ => self.convert_wrapper(message, position)?,
            }
        }
        self.finish_run()?;
        Ok(self.out)
    }

    /// Copies a v2 batch. `false` when it is cut short at the end of a fetch.
    fn pass_batch(&mut self, rest: &mut Bytes, position: usize) -> Result<bool, ConvertError> {
        let size = match views(rest).next().unwrap_or(Err(BatchError::Length { position, length: 0 })) {
            Ok(batch) => {
                let start = self.out.len();
                self.out.extend_from_slice(batch.bytes());
                if self.offsets == Offsets::Assign {
                    patch_base_offset(&mut self.out[start..], self.next_offset);
                    let span = i64::from(batch.last_offset_delta().max(0)) + 1;
                    self.next_offset = self.next_offset.saturating_add(span);
                } else {
                    self.next_offset = batch.next_offset();
                }
                batch.size_bytes()
            }
            Err(BatchError::Truncated { .. }) if self.offsets == Offsets::Keep => return Ok(false),
            Err(BatchError::Truncated { .. }) => return Err(ConvertError::Truncated { position }),
            Err(error) => return Err(error.into()),
        };
        drop(rest.split_to(size));
        Ok(true)
    }

    /// Adds a plain message to the current run, or to a new one if it does not fit there.
    fn append(&mut self, message: Message, position: usize) -> Result<(), ConvertError> {
        let offset = self.place(message.offset, position)?;
        if self.is_left_out(offset) {
            return Ok(());
        }
        let fits = self.run.as_ref().is_some_and(|run| {
            run.timestamp_type == message.timestamp_type
                && (run.timestamp_type == TimestampType::CreateTime
                    || run.append_time_ms == message.timestamp_ms)
                && run.builder.size_bytes() + message.size_bytes() <= RUN_BYTES_MAX
        });
        if !fits {
            self.finish_run()?;
        }
        let run = self.run.get_or_insert_with(|| Run::new(offset, &message, Codec::None));
        if !run.append(offset, &message) {
            self.finish_run()?;
            let mut run = Run::new(offset, &message, Codec::None);
            // Always fits: the run begins at this very offset.
            let _ = run.append(offset, &message);
            self.run = Some(run);
        }
        Ok(())
    }

    /// Converts a compressed wrapper into a batch of its own.
    fn convert_wrapper(&mut self, wrapper: Message, position: usize) -> Result<(), ConvertError> {
        self.finish_run()?;
        let (data, messages) =
            unwrap_messages(&wrapper, position, self.bytes_left).map_err(|error| match error {
                ConvertError::Batch(BatchError::Budget { .. }) => {
                    ConvertError::Batch(BatchError::Budget { bytes_max: self.bytes_max })
                }
                error => error,
            })?;
        self.bytes_left -= data.min(self.bytes_left);
        let invalid = |reason| ConvertError::Message { position, reason };
        let mut run = None;
        let mut left_out = false;
        for message in messages {
            let offset = self.place(message.offset, position)?;
            if self.is_left_out(offset) {
                left_out = true;
                continue;
            }
            let run = run.get_or_insert_with(|| Run::new(offset, &message, wrapper.codec));
            if !run.append(offset, &message) {
                return Err(invalid("its wrapper spans too many offsets"));
            }
        }
        if run.is_none() && !left_out {
            return Err(invalid("it is a compressed wrapper with nothing inside"));
        }
        self.run = run;
        self.finish_run()
    }

    fn is_left_out(&self, offset: i64) -> bool {
        self.offsets == Offsets::Keep && offset < self.from
    }

    /// The offset that a message gets.
    fn place(&mut self, offset: i64, position: usize) -> Result<i64, ConvertError> {
        let offset = match self.offsets {
            Offsets::Assign => self.next_offset,
            Offsets::Keep if offset >= self.next_offset => offset,
            Offsets::Keep => {
                return Err(ConvertError::Message {
                    position,
                    reason: "its offset is not behind the last one",
                });
            }
        };
        self.next_offset = offset
            .checked_add(1)
            .ok_or(ConvertError::Message { position, reason: "its offset is out of range" })?;
        Ok(offset)
    }

    fn finish_run(&mut self) -> Result<(), ConvertError> {
        if let Some(run) = self.run.take() {
            let batch = run.builder.timestamp_type(run.timestamp_type).build()?;
            debug_assert!(Batch::new(batch.as_ref()).is_ok());
            self.out.unsplit(batch);
        }
        Ok(())
    }
}

impl Run {
    fn new(base_offset: i64, first: &Message, codec: Codec) -> Run {
        Run {
            builder: BatchBuilder::new(base_offset).codec(codec),
            timestamp_type: first.timestamp_type,
            append_time_ms: first.timestamp_ms,
        }
    }

    fn append(&mut self, offset: i64, message: &Message) -> bool {
        let (key, value) = (message.key.as_deref(), message.value.as_deref());
        self.builder.append_at(offset, message.timestamp_ms, key, value)
    }
}
