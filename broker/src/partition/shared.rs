//! What all partitions of a broker share: WAL, store, budgets, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use towpath_env::Env;

use super::rewriting::Rewriting;
use super::{Partition, Refusal};
use crate::metadata::Metadata;
use crate::storage::{SegmentStore, StorageConfig, StorageMetrics, Wal};

/// Shared by all partitions of one broker.
pub(crate) struct Shared {
    pub config: StorageConfig,
    pub env: Env,
    pub metadata: Metadata,
    /// The registration of this broker.
    pub epoch: i64,
    pub wal: Wal,
    pub segments: SegmentStore,
    pub metrics: StorageMetrics,
    /// Rings when enough bytes wait for their upload.
    pub upload: Notify,
    /// Who rewrites ranges of which partitions.
    pub rewriting: Rewriting,
    unuploaded_bytes: AtomicUsize,
    tail_cache: Mutex<TailCache>,
}

/// Uploaded batches that stay in memory for fetches near the end, oldest upload first.
#[derive(Default)]
struct TailCache {
    held: std::collections::VecDeque<(std::sync::Weak<Partition>, i64, usize)>,
    bytes: usize,
}

impl Shared {
    pub fn new(
        (config, env): (StorageConfig, Env),
        (metadata, epoch): (Metadata, i64),
        wal: Wal,
        segments: SegmentStore,
        metrics: StorageMetrics,
    ) -> Shared {
        Shared {
            config,
            env,
            metadata,
            epoch,
            wal,
            segments,
            metrics,
            upload: Notify::new(),
            rewriting: Rewriting::default(),
            unuploaded_bytes: AtomicUsize::new(0),
            tail_cache: Mutex::default(),
        }
    }

    /// Whether `bytes` more may be appended now. Checked before offsets are given; several appends at once may
    /// overdraw the bounds by what they bring.
    pub fn admit(&self, bytes: usize) -> Result<(), Refusal> {
        self.wal.accepting()?;
        let held_back = |what, waiting: usize, limit: usize| {
            self.metrics.held_back.with_label_values(&[what]).inc();
            Err(Refusal::HeldBack { what, waiting_bytes: waiting as u64, limit_bytes: limit as u64 })
        };
        let queued = self.wal.queued_bytes();
        // Whatever is larger than the bound itself is let through alone, or it could never be.
        if queued > 0 && queued + bytes > self.config.wal_queue_bytes_max {
            return held_back("the WAL", queued, self.config.wal_queue_bytes_max);
        }
        let waiting = self.unuploaded_bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.config.unuploaded_bytes_max {
            self.upload.notify_one();
            return held_back("the object store", waiting, self.config.unuploaded_bytes_max);
        }
        Ok(())
    }

    /// Bytes appended and not yet uploaded.
    pub fn unuploaded_bytes(&self) -> usize {
        self.unuploaded_bytes.load(Ordering::Relaxed)
    }

    /// Batches of so many bytes were appended.
    pub fn appended(&self, bytes: usize) {
        let waiting = self.unuploaded_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.metrics.unuploaded_bytes.set(waiting as i64);
        self.metrics.appended_bytes.inc_by(bytes as u64);
        // A lone small append also wakes the uploader, which then waits for its age.
        if waiting == bytes || waiting >= self.config.segment_bytes {
            self.upload.notify_one();
        }
    }

    /// Batches of so many bytes no longer wait: uploaded, or gone with their topic.
    pub fn no_longer_waiting(&self, bytes: usize) {
        let waiting = self.unuploaded_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.metrics.unuploaded_bytes.set(waiting as i64);
    }

    /// Batches of `partition` below `end` were uploaded and may stay in memory while the budget allows; makes
    /// room by dropping what was uploaded first. No partition may be locked by the caller.
    pub fn keep_in_memory(&self, partition: &Arc<Partition>, end: i64, bytes: usize) {
        let mut cache = self.tail_cache.lock();
        cache.bytes += bytes;
        cache.held.push_back((Arc::downgrade(partition), end, bytes));
        let mut drop = Vec::new();
        while cache.bytes > self.config.tail_cache_bytes_max {
            let Some((partition, end, bytes)) = cache.held.pop_front() else { break };
            cache.bytes -= bytes;
            drop.extend(partition.upgrade().map(|partition| (partition, end)));
        }
        self.metrics.tail_cache_bytes.set(cache.bytes as i64);
        std::mem::drop(cache);
        for (partition, end) in drop {
            partition.drop_tail_before(end);
        }
    }
}
