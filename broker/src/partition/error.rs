//! What append, read and the administrative verbs of a partition refuse, as Kafka error codes.

use std::fmt;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use crate::storage::WalError;

/// Whose fault an error is (STYLE: errors tell whose fault it is and what to do).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client sent what it may not send.
    Caller,
    /// The mirror's source says something that contradicts what this broker holds.
    Source,
    /// This broker can't do it now.
    Target,
    /// The disk or the object store.
    Store,
    /// Towpath itself.
    Bug,
}

/// A partition as people and logs name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionName {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's index.
    pub index: i32,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Why an append (ordinary or mirrored) or DeleteRecords was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{partition}: {reason}")]
pub struct AppendError {
    /// Where.
    pub partition: PartitionName,
    /// What.
    pub reason: Refusal,
}

/// The reasons of an [`AppendError`]. Offsets are of the partition that the error names.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Bytes that are not record batches, or a CRC that does not match.
    #[error("{0}")]
    Corrupt(String),
    /// A batch in a format older than 2 (those are converted before they get here).
    #[error("batch of message format {magic}; fix: send message format 2")]
    OldFormat {
        /// The magic byte found.
        magic: i8,
    },
    /// A batch larger than the topic's `max.message.bytes`.
    #[error("batch of {size_bytes} bytes, the topic takes {bytes_max}; fix: raise max.message.bytes")]
    TooLarge {
        /// Size of the batch.
        size_bytes: usize,
        /// The topic's limit.
        bytes_max: usize,
    },
    /// A batch that no Kafka producer may send.
    #[error("invalid record batch: {0}")]
    Invalid(String),
    /// A timestamp outside of what the topic accepts.
    #[error("timestamp {timestamp_ms} is outside of what the topic accepts; fix: see message.timestamp.*")]
    Timestamp {
        /// The timestamp found.
        timestamp_ms: i64,
    },
    /// A hole or a step back in an idempotent producer's sequence numbers.
    #[error("producer {producer_id} sent sequence {found}, expected {expected}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: i64,
        /// The sequence number that must come next.
        expected: i32,
        /// The one that came.
        found: i32,
    },
    /// A producer epoch below the one known: a newer instance of that producer is at work.
    #[error("producer {producer_id} sent epoch {found}, {current} is current")]
    ProducerEpoch {
        /// Who.
        producer_id: i64,
        /// The epoch known.
        current: i16,
        /// The epoch that came.
        found: i16,
    },
    /// A transactional or control batch on an ordinary topic.
    #[error(
        "transactions that start on this broker are not supported yet; fix: produce without a transactional.id"
    )]
    Transactional,
    /// An ordinary produce or DeleteRecords on a mirror topic.
    #[error("mirror topic of link {link:?}, only that link may write it; fix: produce to the source")]
    Mirrored {
        /// The link that owns the topic.
        link: String,
    },
    /// A mirrored append to a topic that is no mirror, or another link's.
    #[error("not a mirror topic of link {link:?}; fix: check the plan's topics")]
    NotMirror {
        /// The link that asked.
        link: String,
    },
    /// The source is not the one this topic mirrors.
    #[error(
        "the source changed its identity: {0}; fix: the source topic was re-created or the link points at another cluster"
    )]
    IdentityChanged(String),
    /// A mirrored batch that lies below what this partition already covers, without being a replay of it.
    #[error("mirrored batch {base_offset}..={last_offset} goes back, the log ends at {log_end}")]
    OffsetBackward {
        /// First offset of the batch.
        base_offset: i64,
        /// Last offset of the batch.
        last_offset: i64,
        /// Our end.
        log_end: i64,
    },
    /// The batches begin behind our end, so that a stretch between never arrived, or one lies across it.
    #[error(
        "mirrored batches fetched from {from_offset} do not fit the log's end {log_end}; fix: fetch from there"
    )]
    Gap {
        /// Where the link fetched from.
        from_offset: i64,
        /// Our end.
        log_end: i64,
    },
    /// The source gave other content for offsets that this partition holds. The partition is halted.
    #[error(
        "at offset {offset}: the source now says something else than what was mirrored ({what}); fix: the source lost or rewrote records: compare with `towpath diff`, then re-create the mirror topic"
    )]
    Mismatch {
        /// First offset that differs.
        offset: i64,
        /// What differs.
        what: String,
    },
    /// An earlier mismatch halted this partition.
    #[error("halted since {since_ms} ms: {reason}")]
    Halted {
        /// UTC milliseconds of the halt.
        since_ms: i64,
        /// Why.
        reason: String,
    },
    /// A mirrored producer id in the range that this broker gives out itself (2^62 and above).
    #[error("mirrored producer id {producer_id} is reserved for the target")]
    ProducerIdReserved {
        /// The id.
        producer_id: i64,
    },
    /// The requested offset is outside of the log.
    #[error("offset {offset} is outside of {log_start}..={high_watermark}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: i64,
        /// First offset available.
        log_start: i64,
        /// The high watermark.
        high_watermark: i64,
    },
    /// Too many bytes wait for their upload into the object store, or for the WAL.
    #[error(
        "held back: {waiting_bytes} bytes wait for {what}, the limit is {limit_bytes}; fix: retry, and look at the store's latency"
    )]
    HeldBack {
        /// What they wait for.
        what: &'static str,
        /// How many.
        waiting_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// The WAL does not take records now.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The store or the metadata log could not be read or written.
    #[error("{0}")]
    Store(String),
    /// The topic was deleted meanwhile.
    #[error("the topic was deleted")]
    Deleted,
}

impl AppendError {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match &self.reason {
            Refusal::OffsetBackward { .. }
            | Refusal::Mismatch { .. }
            | Refusal::Halted { .. }
            | Refusal::IdentityChanged(_)
            | Refusal::ProducerIdReserved { .. } => Kind::Source,
            Refusal::HeldBack { .. } | Refusal::Deleted => Kind::Target,
            Refusal::Wal(_) | Refusal::Store(_) => Kind::Store,
            _ => Kind::Caller,
        }
    }

    /// The error code on the wire: Kafka's own, or one of `towpath_wire::private::code`.
    pub fn code(&self) -> i16 {
        use towpath_wire::private::code;
        match &self.reason {
            Refusal::Corrupt(_) => ResponseError::CorruptMessage.code(),
            Refusal::OldFormat { .. } => ResponseError::UnsupportedForMessageFormat.code(),
            Refusal::TooLarge { .. } => ResponseError::MessageTooLarge.code(),
            Refusal::Invalid(_) => ResponseError::InvalidRecord.code(),
            Refusal::Timestamp { .. } => ResponseError::InvalidTimestamp.code(),
            Refusal::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber.code(),
            Refusal::ProducerEpoch { .. } => ResponseError::InvalidProducerEpoch.code(),
            Refusal::Transactional => ResponseError::InvalidTxnState.code(),
            Refusal::Mirrored { .. } => ResponseError::PolicyViolation.code(),
            Refusal::NotMirror { .. } => code::NOT_MIRROR_TOPIC,
            Refusal::IdentityChanged(_) => code::MIRROR_IDENTITY_CHANGED,
            Refusal::Gap { .. } => code::MIRROR_GAP,
            Refusal::OffsetBackward { .. } => code::MIRROR_OFFSET_BACKWARD,
            Refusal::Mismatch { .. } => code::MIRROR_MISMATCH,
            Refusal::Halted { .. } => code::MIRROR_HALTED,
            Refusal::ProducerIdReserved { .. } => code::PRODUCER_ID_RESERVED,
            Refusal::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange.code(),
            // Retried by every client without looking for another leader first.
            Refusal::HeldBack { .. } => ResponseError::NotEnoughReplicas.code(),
            Refusal::Wal(_) | Refusal::Store(_) => ResponseError::KafkaStorageError.code(),
            Refusal::Deleted => ResponseError::UnknownTopicOrPartition.code(),
        }
    }
}

/// Why a read was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or above the high watermark.
    #[error(
        "{partition}: offset {offset} is outside of {log_start}..={high_watermark}; fix: the client's auto.offset.reset decides"
    )]
    OffsetOutOfRange {
        /// Where.
        partition: PartitionName,
        /// The offset asked for.
        offset: i64,
        /// First offset available.
        log_start: i64,
        /// The high watermark.
        high_watermark: i64,
    },
    /// A segment could not be read now.
    #[error("{partition} at offset {offset}: {reason}; fix: retry, and look at the object store")]
    Store {
        /// Where.
        partition: PartitionName,
        /// The offset asked for.
        offset: i64,
        /// What the store said.
        reason: String,
    },
    /// A segment does not hold what the metadata says it holds.
    #[error("{partition} at offset {offset}: {reason}; fix: restore object {object} from a backup")]
    Damaged {
        /// Where.
        partition: PartitionName,
        /// The offset asked for.
        offset: i64,
        /// The object.
        object: String,
        /// What does not hold.
        reason: String,
    },
}

impl ReadError {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            ReadError::OffsetOutOfRange { .. } => Kind::Caller,
            ReadError::Store { .. } | ReadError::Damaged { .. } => Kind::Store,
        }
    }

    /// Kafka's error code on the wire.
    pub fn code(&self) -> i16 {
        match self {
            ReadError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange.code(),
            ReadError::Store { .. } | ReadError::Damaged { .. } => ResponseError::KafkaStorageError.code(),
        }
    }
}
