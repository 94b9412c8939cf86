//! Mirror topics: batches appended at their source's offsets (DESIGN §5.5).
//!
//! Owns the rules of what a link may append. Called through [`crate::partition::Partition::append_mirrored`].
//!
//! ```text
//! batch   wholly behind our end  ─▶ appended (a gap before it is fine)
//!         wholly before our end  ─▶ replay: the same is ignored, anything else halts the partition
//!         across our end         ─▶ appended if we hold nothing of it and skipped none of its records
//! fetched behind our end         ─▶ refused: a stretch is missing; unless the source deleted it first
//! ```

mod append;
mod rules;
#[cfg(test)]
mod tests;

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
    /// The topic's id on the source; nil when the source has no topic ids.
    pub source_topic_id: Uuid,
}

/// Batches of one partition as the source's leader gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorBatches {
    /// The offset that the link fetched from; -1 without records: only the state is asked for.
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
    /// The source's high watermark when it was last heard of; -1: not since the broker started.
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
