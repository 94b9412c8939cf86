//! What makes batches durable and finds them again: WAL, segments, caches (DESIGN §5.1, §5.2, §5.4).
//!
//! Owns the formats on disk and in the store. Never interprets Kafka's rules: `partition` does, and is the only
//! caller.

mod config;
mod counting;
mod metrics;
mod segment;
mod upkeep;
mod wal;

pub use config::StorageConfig;
pub use counting::ObjectMetrics;
pub use metrics::{CompactionMetrics, StorageMetrics, WalMetrics};
pub use segment::{PageInfo, SegmentError, SegmentRead, SegmentStore};
pub use upkeep::UpkeepMetrics;
pub use wal::{
    AskNewest, DiskFileSystem, DiskWalSettings, FencedBy, FileSystem, KnownCrc, Lease, LeaseError,
    ObjectWalBounds, ObjectWalSettings, Owner, Registration, Replayed, StoreTrouble, Wal, WalError, WalFile,
    WalKind, WalOpenError, WalRecord, abandon_disk_wal, check_disk_wal, collect_object_wal, fence_object_wal,
};

pub(crate) use segment::{Cover, SegmentBuilder, cut, disagreement, place, stretches};
#[cfg(test)]
pub(crate) use wal::FaultyFileSystem;
