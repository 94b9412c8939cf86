//! Mirror topics: batches appended at their source's offsets (DESIGN §5.5).
//!
//! Owns the rules of what a link may append. Called through [`crate::partition::Partition::append_mirrored`].

use bytes::Bytes;
use uuid::Uuid;

use crate::partition::Durable;

/// Who the link is and what it reads; compared with the topic's `towpath.mirror.*` configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorIdentity {
    /// The link's name.
    pub link: String,
    /// The source's cluster id.
    pub source_cluster_id: String,
    /// The topic's id on the source.
    pub source_topic_id: Uuid,
}

/// Batches of one partition as the source's leader gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorBatches {
    /// The offset that was fetched from. It must not lie behind the mirror's end, or a stretch before this one is
    /// missing (`MIRROR_GAP`, nothing is appended); except that it may equal `source_log_start`: then the source
    /// deleted everything before it was mirrored, and the mirror is emptied and starts there. −1 with no records:
    /// append nothing, only answer the state.
    pub from_offset: i64,
    /// The source leader's epoch.
    pub source_leader_epoch: i32,
    /// The source's log start offset.
    pub source_log_start: i64,
    /// The source's high watermark.
    pub source_high_watermark: i64,
    /// The end moves here after the batches; -1: to the end of the last batch.
    pub log_end: i64,
    /// Whole batches at their source offsets.
    pub records: Bytes,
}

/// What a mirrored append left behind.
#[derive(Debug)]
pub struct Mirrored {
    /// First offset available.
    pub log_start: i64,
    /// Where the next mirrored batch is expected; the link resumes here.
    pub log_end: i64,
    /// Everything below is durable (at the time of the call).
    pub high_watermark: i64,
    /// Resolves once all of it is durable.
    pub durable: Durable,
}

/// What a mirror partition is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// The source's high watermark when it was last heard of; -1: never.
    pub source_high_watermark: i64,
    /// Why it takes no more batches, if so.
    pub halted: Option<Halt>,
}

/// A halted mirror partition: the source contradicted what was mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// UTC milliseconds.
    pub since_ms: i64,
    /// The first offset that differs.
    pub offset: i64,
    /// What differs.
    pub reason: String,
}

/// Error codes of the mirror API beyond Kafka's own.
pub mod code {
    /// The topic is no mirror, or another link's.
    pub const NOT_MIRROR_TOPIC: i16 = 1001;
    /// Cluster or topic id differ from the ones mirrored so far.
    pub const MIRROR_IDENTITY_CHANGED: i16 = 1002;
    /// A batch went back.
    pub const MIRROR_OFFSET_BACKWARD: i16 = 1003;
    /// A replay with other content; the partition is halted.
    pub const MIRROR_MISMATCH: i16 = 1004;
    /// The partition was halted before.
    pub const MIRROR_HALTED: i16 = 1005;
    /// A producer id in the target's own range.
    pub const PRODUCER_ID_RESERVED: i16 = 1008;
    /// A stretch before this one never arrived (see `MirrorBatches::from_offset`).
    pub const MIRROR_GAP: i16 = 1009;
}
