//! Writing the target: what a fetcher read becomes durable there, in order, at the source's offsets.

pub mod mirror;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::link::replicator::{Replicator, Stretch};

/// One stretch of one partition with its bytes, on the way to the target.
pub struct Chunk {
    /// Whose it is.
    pub replicator: Arc<Replicator>,
    /// Which offsets it covers, gaps included.
    pub stretch: Stretch,
    /// Whole record batches as the source sent them; empty when only log start or log end move.
    pub records: Bytes,
    /// Largest record timestamp, ms; −1: none.
    pub timestamp_ms: i64,
    /// The source's leader epoch.
    pub leader_epoch: i32,
    /// First offset the source still holds.
    pub source_log_start: i64,
    /// The source's high watermark.
    pub source_high_watermark: i64,
    /// Its share of the bytes in flight, given back when it is dropped.
    pub permit: OwnedSemaphorePermit,
}
