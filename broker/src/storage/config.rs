//! Where the storage lives and every bound it keeps (DESIGN §5.7). Each bound has a metric of the same subject.

use std::path::PathBuf;
use std::time::Duration;

use super::wal::WalKind;

const MIB: usize = 1024 * 1024;

/// Configuration of WAL, tail, caches and segments of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// This broker's id: whose WAL it is.
    pub node_id: i32,
    /// Which WAL makes an acknowledgement durable.
    pub wal: WalKind,
    /// Directory of the disk WAL.
    pub wal_directory: PathBuf,
    /// Size of one WAL file. Files are filled with zeros once and then used over and over.
    pub wal_file_bytes: usize,
    /// Trimmed files kept for use again; beyond it they are removed.
    pub wal_spare_files_max: usize,
    /// Most bytes that one group (one write, one `fdatasync`) takes.
    pub wal_group_bytes_max: usize,
    /// Bytes queued for the WAL and not yet durable; beyond it appends get a retriable error.
    pub wal_queue_bytes_max: usize,
    /// Slots of the object WAL that may be in flight.
    pub wal_puts_inflight_max: usize,
    /// While slots are in flight, the next is put no sooner after the one before, unless a group is full. The floor
    /// under what the object WAL costs in requests.
    pub wal_flush_interval: Duration,
    /// One request of the object WAL takes no longer; then its outcome is looked up.
    pub wal_request_timeout: Duration,
    /// How long answers are given after a proof that no other broker has taken over (object WAL).
    pub wal_lease: Duration,
    /// Comes up with another WAL than the one the store names, giving up what only that one held.
    pub wal_accept_loss: bool,
    /// Bytes appended and not yet uploaded; beyond it appends get a retriable error.
    pub unuploaded_bytes_max: usize,
    /// A segment is uploaded when so many bytes wait.
    pub segment_bytes: usize,
    /// A segment is uploaded when its oldest batch has waited so long.
    pub segment_age_max: Duration,
    /// Uploads what a restart found in the WAL at once, so that a broker that is killed again and again does not
    /// gather WAL files.
    pub upload_at_start: bool,
    /// Bytes of uploaded batches kept in memory for fetches near the end.
    pub tail_cache_bytes_max: usize,
    /// Bytes of segment pages kept in memory for catch-up fetches, and for the segments' indexes.
    pub block_cache_bytes_max: usize,
    /// Most bytes that one catch-up read asks of the store at once.
    pub read_ahead_bytes: usize,
    /// Producer state at the WAL's boundary up to this size is in the metadata entry itself; larger, it is an object.
    pub snapshot_inline_bytes_max: usize,
    /// Most bytes of segments that merging holds in memory at once.
    pub merge_bytes_max: usize,
    /// What merging makes runs of one partition grow to; from half of it on they are left alone. By default that is
    /// what one read-ahead asks for: a longer run would save no request, and cost a read and a write of all of it.
    pub merge_run_bytes: usize,
    /// So many layers of objects (as uploads left them) are merged at once at most; below two, none.
    pub merge_layers_max: usize,
    /// No byte is merged more often.
    pub merge_generations_max: u8,
    /// Looks for what a crash left behind at once when the broker starts, so that one that is killed again and again
    /// leaves nothing for long.
    pub sweep_at_start: bool,
    /// How often the whole store is listed to find objects that nothing refers to; it is at a start too, and a
    /// `delete_grace` later, when what was too young then is not any more.
    pub orphan_sweep_interval: Duration,
    /// How long an object stays after nothing refers to it any more.
    pub delete_grace: Duration,
    /// How often a compacted topic is looked at for something to compact (Kafka's `log.cleaner.backoff.ms`).
    pub compact_interval: Duration,
    /// Bytes of the key map of one pass of compaction, 24 for each key; where it is full the pass ends.
    pub compact_map_bytes_max: usize,
    /// Compacted batches are gathered into one object up to this size; what stays of one segment may exceed it.
    pub compact_object_bytes_max: usize,
    /// What stays of one segment is held until it is written; of a partition with one of which more stays, nothing is
    /// compacted. What uploads and merges may leave under the bounds of now is never too much
    /// ([`StorageConfig::compact_range_bytes`]).
    pub compact_range_bytes_max: usize,
    /// Bytes that compaction reads and writes in a second.
    pub compact_bytes_per_second_max: usize,
    /// A pass is worth it when so many uncompacted bytes wait (or the topic's `segment.bytes`, if that is less), or
    /// the oldest has waited for the topic's `segment.ms`.
    pub compact_dirty_bytes_min: u64,
    /// How often retention, producer expiry and deletion are looked at.
    pub maintenance_interval: Duration,
    /// A producer without a batch for this long is forgotten (Kafka's `producer.id.expiration.ms`).
    pub producer_expiry: Duration,
    /// Producers remembered per partition; beyond it the one idle for longest is forgotten.
    pub producers_per_partition_max: usize,
}

impl StorageConfig {
    /// The defaults for broker `node_id`, with the WAL in `wal_directory`.
    pub fn new(node_id: i32, wal_directory: impl Into<PathBuf>) -> StorageConfig {
        StorageConfig {
            node_id,
            wal: WalKind::Disk,
            wal_directory: wal_directory.into(),
            wal_file_bytes: 64 * MIB,
            wal_spare_files_max: 4,
            wal_group_bytes_max: 8 * MIB,
            wal_queue_bytes_max: 128 * MIB,
            wal_puts_inflight_max: 4,
            wal_flush_interval: Duration::from_millis(20),
            wal_request_timeout: Duration::from_secs(4),
            wal_lease: Duration::from_secs(3),
            wal_accept_loss: false,
            unuploaded_bytes_max: 256 * MIB,
            segment_bytes: 32 * MIB,
            segment_age_max: Duration::from_secs(60),
            upload_at_start: true,
            tail_cache_bytes_max: 64 * MIB,
            block_cache_bytes_max: 64 * MIB,
            read_ahead_bytes: 4 * MIB,
            snapshot_inline_bytes_max: 64 * 1024,
            merge_bytes_max: 96 * MIB,
            merge_run_bytes: 8 * MIB,
            merge_layers_max: 5,
            merge_generations_max: 2,
            sweep_at_start: true,
            orphan_sweep_interval: Duration::from_secs(24 * 3600),
            delete_grace: Duration::from_secs(600),
            compact_interval: Duration::from_secs(15),
            compact_map_bytes_max: 32 * MIB,
            compact_object_bytes_max: 32 * MIB,
            compact_range_bytes_max: 256 * MIB,
            compact_bytes_per_second_max: 32 * MIB,
            compact_dirty_bytes_min: MIB as u64,
            maintenance_interval: Duration::from_secs(30),
            producer_expiry: Duration::from_secs(24 * 3600),
            producers_per_partition_max: 10_000,
        }
    }

    /// The bound of what stays of one segment, in bytes: no less than one segment may hold of a partition. All that waited
    /// for an upload may be one partition's; appends that were let in at once may have overdrawn that bound, and are
    /// taken to bring no more than the queue of the WAL. Merging keeps to its own bound.
    pub fn compact_range_bytes(&self) -> usize {
        let uploaded = self.unuploaded_bytes_max.saturating_add(self.wal_queue_bytes_max);
        self.compact_range_bytes_max.max(uploaded).max(self.merge_bytes_max)
    }
}
