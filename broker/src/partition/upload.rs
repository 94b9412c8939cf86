//! The background upload: segments into the store, then the WAL is trimmed behind them (DESIGN §5.1, §5.2).
//!
//! ```text
//! cut (each partition under its lock: batches, state) ─▶ all of it durable in the WAL ─▶ put object
//! ─▶ SegmentCommitted, with the state ─▶ batches become cache ─▶ trim WAL
//! ```
//! State that is too large for the entry (`snapshot_inline_bytes_max`) is an object of its own, put before, and the
//! one before it is deleted after:
//! ```text
//! ─▶ put object, put snapshot ─▶ SegmentCommitted ─▶ … ─▶ delete the snapshot before
//! ```
//! A crash anywhere leaves either the old boundary with its WAL, or the new one with its snapshot.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towpath_env::retry::RetryPolicy;
use towpath_wire::batch::Batch;

use super::Partition;
use super::registry::Inner;
use super::snapshot::SnapshotBuilder;
use crate::metadata::entry::{Entry, Rejection, SegmentCommitted, WalSealed, WalTrim};
use crate::metadata::{ObjectId, ProposeError, SnapshotAt};
use crate::storage::{FencedBy, SegmentBuilder};

/// So long an upload under way may take when the broker stops; the store may be down.
const UPLOAD_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// What goes up together.
struct Cut {
    /// How many slots of the metadata were applied when the object was named.
    born: u64,
    segment: SegmentBuilder,
    snapshot: Bytes,
    snapshot_key: String,
    /// WAL records below are contained.
    trim_to: u64,
    /// WAL records below must be durable before this may be committed.
    durable_to: u64,
    parts: Vec<Part>,
}

/// One partition's share.
struct Part {
    partition: Arc<Partition>,
    end: i64,
    applied_below: u64,
    bytes: usize,
}

impl Inner {
    /// Uploads when enough waits or the oldest has waited long enough; idle, it sleeps until rung. When the broker
    /// stops, an upload under way may end: cut off behind its commit it would be offered again, and refused.
    pub async fn upload(self: Arc<Inner>) {
        let work = async {
            if self.shared.config.upload_at_start && self.upload_due_in().is_some() {
                self.upload_once().await;
            }
            while !self.stopping.is_cancelled() && !self.shared.wal.has_failed() {
                let due = self.upload_due_in();
                if due == Some(Duration::ZERO) {
                    self.upload_once().await;
                    continue;
                }
                let rung = async {
                    match due {
                        Some(wait) => drop(tokio::time::timeout(wait, self.shared.upload.notified()).await),
                        None => self.shared.upload.notified().await,
                    }
                };
                tokio::select! {
                    () = rung => {}
                    () = self.stopping.cancelled() => {}
                }
            }
        };
        let stopped = async {
            self.stopping.cancelled().await;
            self.shared.env.sleep(UPLOAD_ENDS_WITHIN).await;
        };
        tokio::select! {
            () = work => {}
            () = stopped => {}
        }
    }

    fn upload_due_in(&self) -> Option<Duration> {
        if self.shared.unuploaded_bytes() >= self.shared.config.segment_bytes {
            return Some(Duration::ZERO);
        }
        let all = self.all();
        let oldest_ms = all.iter().filter_map(|partition| partition.state.lock().waiting_since_ms).min()?;
        let due = Duration::from_millis(oldest_ms) + self.shared.config.segment_age_max;
        Some(due.saturating_sub(self.shared.env.elapsed()))
    }

    /// Uploads everything that waits now. Tries until it is committed.
    pub(super) async fn upload_once(&self) {
        let cut = self.cut();
        // Forever only while the WAL is; then the broker exits anyway.
        let mut durable = self.shared.wal.durable();
        if durable.wait_for(|below| *below >= cut.durable_to).await.is_err() {
            return;
        }
        let mut segment = cut.segment.finish();
        let (object, size_bytes) = (segment.object, segment.size_bytes);
        let ranges = std::mem::take(&mut segment.ranges);
        self.shared.segments.put_segment(segment).await;
        let snapshot = if cut.snapshot.len() <= self.shared.config.snapshot_inline_bytes_max {
            SnapshotAt::Inline(cut.snapshot)
        } else {
            self.shared.segments.put(&cut.snapshot_key, vec![cut.snapshot]).await;
            SnapshotAt::Object(cut.snapshot_key)
        };
        let node_id = self.shared.config.node_id;
        let before = self.shared.metadata.image().wal(node_id).and_then(|wal| wal.snapshot.clone());
        let trim = WalTrim {
            node_id,
            epoch: self.shared.epoch,
            trimmed_to: cut.trim_to,
            position: self.shared.wal.position(cut.trim_to),
            snapshot: Some(snapshot.clone()),
        };
        let entry = SegmentCommitted { object, born: cut.born, size_bytes, ranges, wal: Some(trim) };
        if !self.commit(entry).await {
            return;
        }
        for part in cut.parts {
            part.uploaded();
        }
        self.shared.wal.trim(cut.trim_to);
        if let Some(before) = before.as_ref().filter(|before| **before != snapshot).and_then(SnapshotAt::key)
            && let Err(error) = self.shared.segments.delete(before).await
        {
            tracing::warn!(%error, "an old snapshot stays in the store");
        }
    }

    /// Uploads whatever the WAL holds beyond its boundary.
    pub(super) async fn upload_rest(&self) {
        if self.trimmed_to() != Some(self.shared.wal.next_sequence()) {
            self.upload_once().await;
        }
    }

    /// Tells the store that the WAL, which is closed, holds nothing beyond its boundary; if that is so.
    pub(super) async fn tell_sealed(&self) {
        let end = self.shared.wal.next_sequence();
        if self.trimmed_to() != Some(end) {
            return;
        }
        let entry = WalSealed { node_id: self.shared.config.node_id, epoch: self.shared.epoch, end };
        if let Err(error) = self.shared.metadata.propose(Entry::WalSealed(entry)).await {
            tracing::warn!(%error, "the store was not told that the WAL is not needed any more");
        }
    }

    fn trimmed_to(&self) -> Option<u64> {
        self.shared.metadata.image().wal(self.shared.config.node_id).map(|wal| wal.trimmed_to)
    }

    /// Takes what is not uploaded from every partition, with its state at exactly that point.
    fn cut(&self) -> Cut {
        let image = self.shared.metadata.image();
        let (born, object) = (image.version, ObjectId(self.shared.env.uuid()));
        // Read first: a record below this was applied by its partition before that partition is locked below.
        let trim_to = self.shared.wal.next_sequence();
        let mut segment = SegmentBuilder::new(object);
        let mut snapshot = SnapshotBuilder::new(self.wal_id);
        let mut parts = Vec::new();
        for partition in self.all().iter() {
            let mut state = partition.state.lock();
            if state.deleted {
                continue;
            }
            let name = &partition.name;
            // A commit of which nobody heard has taken effect all the same.
            if let Some(end) = image.segments(name.topic_id, name.index).and_then(|held| held.end()) {
                self.shared.no_longer_waiting(state.committed_to(end));
            }
            let log = &state.log;
            snapshot.add(name.topic_id, name.index, log);
            if state.waiting_since_ms.is_none() {
                continue;
            }
            let waiting = || state.tail.from(state.uploaded_end);
            let bytes = waiting().map(Batch::size_bytes).sum();
            // What DeleteRecords or the source gave up meanwhile need not go up.
            let kept = waiting().filter(|batch| batch.next_offset() > log.log_start);
            segment.add(name.topic_id, name.index, kept.cloned());
            let (end, applied_below) = (log.log_end, log.applied_below);
            drop(state);
            parts.push(Part { partition: partition.clone(), end, applied_below, bytes });
        }
        Cut {
            born,
            segment,
            snapshot: snapshot.finish(),
            snapshot_key: format!("snapshots/{}/{trim_to:020}-{object}", self.shared.config.node_id),
            trim_to,
            durable_to: self.shared.wal.next_sequence(),
            parts,
        }
    }

    /// Proposes until the outcome is known; false when the broker stops or the entry is refused.
    async fn commit(&self, entry: SegmentCommitted) -> bool {
        let mut delays = RetryPolicy::FOREVER.delays(&self.shared.env);
        loop {
            match self.shared.metadata.propose(Entry::SegmentCommitted(entry.clone())).await {
                Ok(_) => return true,
                // An attempt whose outcome was unknown has taken effect.
                Err(ProposeError::Rejected(Rejection::ObjectExists(object))) if object == entry.object => {
                    return true;
                }
                Err(ProposeError::Closed) => return false,
                // The upload took longer than the grace, and who collects orphans may have taken it for one.
                Err(ProposeError::Rejected(
                    rejection @ (Rejection::ObjectBarred(_) | Rejection::ObjectLate { .. }),
                )) => {
                    tracing::info!(%rejection, "a segment goes up anew");
                    return false;
                }
                // Nothing that this broker acknowledges from now on would ever be uploaded.
                Err(ProposeError::Rejected(Rejection::Fenced { node_id, held, address, .. })) => {
                    self.shared.wal.fenced(FencedBy { node_id, epoch: held, address });
                    return false;
                }
                Err(error @ ProposeError::Rejected(_)) => {
                    tracing::error!(%error, object = %entry.object, "a segment was not taken; it goes up anew");
                    self.shared.env.sleep(RetryPolicy::FOREVER.delay_max).await;
                    return false;
                }
                Err(error) => {
                    tracing::warn!(%error, "a segment could not be committed yet");
                    let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
                    self.shared.env.sleep(delay).await;
                }
            }
        }
    }
}

impl Part {
    /// The store has it: what is in memory is only cache from now on.
    fn uploaded(self) {
        let Part { partition, end, applied_below, bytes } = self;
        let mut state = partition.state.lock();
        if state.deleted {
            return; // Its bytes were given back when it was dropped.
        }
        state.uploaded_end = end;
        // What came meanwhile waits from now on.
        let waits = state.log.applied_below > applied_below;
        state.waiting_since_ms = waits.then(|| partition.shared.env.elapsed().as_millis() as u64);
        let below = state.log.log_start.min(end);
        let dropped = state.tail.drop_before(below);
        drop(state);
        let shared = partition.shared.clone();
        shared.no_longer_waiting(bytes);
        shared.keep_in_memory(&partition, end, bytes.saturating_sub(dropped));
    }
}
