//! What the broker writes into the WAL: one kind of record per change of a partition.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::mirror::Halt;

const BATCH: u8 = 1;
const ADVANCE: u8 = 2;
const HALT: u8 = 3;
const HALT_LIFTED: u8 = 4;

/// One WAL record's meaning. The batch itself, and a halt's reason, are the record's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WalEntry {
    /// The body is a batch at its final offset.
    Batch,
    /// Log start and log end moved (mirror topics).
    Advance { log_start: i64, log_end: i64 },
    /// The partition takes no more mirrored batches; the body is the reason.
    Halt { since_ms: i64, offset: i64 },
    /// A person accepted the halt at this offset.
    HaltLifted { since_ms: i64, offset: i64 },
}

impl WalEntry {
    /// The record's head.
    pub fn encode(&self, topic_id: Uuid, index: i32) -> Bytes {
        let mut out = BytesMut::with_capacity(40);
        let (kind, fields) = match self {
            WalEntry::Batch => (BATCH, None),
            WalEntry::Advance { log_start, log_end } => (ADVANCE, Some((*log_start, *log_end))),
            WalEntry::Halt { since_ms, offset } => (HALT, Some((*since_ms, *offset))),
            WalEntry::HaltLifted { since_ms, offset } => (HALT_LIFTED, Some((*since_ms, *offset))),
        };
        out.put_u8(kind);
        out.put_slice(topic_id.as_bytes());
        out.put_i32(index);
        if let Some((first, second)) = fields {
            out.put_i64(first);
            out.put_i64(second);
        }
        out.freeze()
    }

    /// Partition and meaning of a record's head; `None` when a newer version wrote it.
    pub fn decode(mut head: &[u8]) -> Option<((Uuid, i32), WalEntry)> {
        let kind = head.try_get_u8().ok()?;
        let topic_id = Uuid::from_u128(head.try_get_u128().ok()?);
        let index = head.try_get_i32().ok()?;
        let mut field = || head.try_get_i64().ok();
        let entry = match kind {
            BATCH => WalEntry::Batch,
            ADVANCE => WalEntry::Advance { log_start: field()?, log_end: field()? },
            HALT => WalEntry::Halt { since_ms: field()?, offset: field()? },
            HALT_LIFTED => WalEntry::HaltLifted { since_ms: field()?, offset: field()? },
            _ => return None,
        };
        Some(((topic_id, index), entry))
    }
}

impl Halt {
    /// The halt that a WAL record tells of.
    pub(crate) fn of_wal(since_ms: i64, offset: i64, reason: &[u8]) -> Halt {
        Halt { since_ms, offset, reason: String::from_utf8_lossy(reason).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_reads_back_as_it_was_written() {
        let id = Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        for entry in [
            WalEntry::Batch,
            WalEntry::Advance { log_start: 3, log_end: i64::MAX },
            WalEntry::Halt { since_ms: 1, offset: 2 },
            WalEntry::HaltLifted { since_ms: 3, offset: 4 },
        ] {
            let head = entry.encode(id, 7);
            assert_eq!(WalEntry::decode(&head), Some(((id, 7), entry)));
            assert_eq!(WalEntry::decode(&head[..head.len() - 1]), None);
        }
    }
}
