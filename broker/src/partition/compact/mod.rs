//! Log compaction: of topics with `cleanup.policy=compact`, every key keeps its last record (DESIGN §5.2).
//!
//! Owns the choice of what is compacted when ([`dirty`]), the rules of what stays ([`cleaner`]) and the pass that
//! rewrites segments by them ([`pass`]). Never touches what is not in a committed segment, below the high watermark
//! and below the last stable offset. Offsets, log start and high watermark never change. The registry runs it, as one
//! task for all partitions.
//!
//! How far a partition is compacted is an entry of the metadata ([`crate::metadata::entry::CompactionAdvanced`]), not
//! derived: no trace of a pass is left in a segment in which nothing had to change, and merging mixes segments.

mod cleaner;
mod dirty;
mod key_map;
mod key_scan;
mod pace;
mod pass;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::registry::Inner;
use super::{Partition, Shared};
use crate::storage::{CompactionMetrics, SegmentError};
use dirty::Candidate;
use pass::{Done, Interrupted, Pass};

/// Compacts partitions one after the other.
pub(super) struct Compactor {
    shared: Arc<Shared>,
    /// Where damage was found, or a segment that is too large: not tried again while the log begins before it.
    uncleanable: HashMap<(Uuid, i32), i64>,
}

impl Inner {
    /// Looks for something to compact once per interval until the broker stops. A pass that is cut short leaves
    /// nothing half done.
    pub async fn compact(self: Arc<Inner>) {
        let work = async {
            let mut compactor = Compactor::new(self.shared.clone());
            loop {
                self.shared.env.sleep(self.shared.config.compact_interval).await;
                while compactor.round(&self.all()).await {}
            }
        };
        tokio::select! {
            () = work => {}
            () = self.stopping.cancelled() => {}
        }
    }
}

impl Compactor {
    /// Has compacted nothing yet.
    pub fn new(shared: Arc<Shared>) -> Compactor {
        Compactor { shared, uncleanable: HashMap::new() }
    }

    /// Compacts what is due, the most urgent first; true when a partition has more to do at once.
    pub async fn round(&mut self, partitions: &[Arc<Partition>]) -> bool {
        let mut more = false;
        for candidate in self.due(partitions).await {
            more |= self.compact(&candidate).await;
        }
        more
    }

    async fn due(&mut self, partitions: &[Arc<Partition>]) -> Vec<Candidate> {
        let mut due = Vec::new();
        let mut dirty_ratio_max: f64 = 0.0;
        let mut uncleanable = HashMap::new();
        for partition in partitions {
            let id = (partition.name.topic_id, partition.name.index);
            if let Some(damaged_at) = self.uncleanable.get(&id)
                && partition.offsets().log_start <= *damaged_at
            {
                uncleanable.insert(id, *damaged_at);
                continue;
            }
            match dirty::look(partition, self.shared.config.compact_dirty_bytes_min).await {
                Ok(None) => {}
                Ok(Some(candidate)) => {
                    dirty_ratio_max = dirty_ratio_max.max(candidate.dirty_ratio());
                    due.extend(Some(candidate).filter(|candidate| candidate.is_due));
                }
                Err(SegmentError::Damaged { object, reason }) => {
                    let offset = partition.offsets().log_start;
                    self.give_up(partition, offset, format!("object {object} is damaged: {reason}"));
                    uncleanable.insert(id, offset);
                }
                // A store that failed, or a merge that came first: the next look tells.
                Err(error) => {
                    tracing::info!(partition = %partition.name, %error, "what is to be compacted could not be told");
                }
            }
        }
        self.uncleanable = uncleanable;
        self.shared.metrics.compaction.dirty_ratio_max.set(dirty_ratio_max);
        self.shared.metrics.compaction.uncleanable.set(self.uncleanable.len() as i64);
        due.sort_by(|a, b| {
            let by_ratio = b.dirty_ratio().total_cmp(&a.dirty_ratio());
            b.is_overdue.cmp(&a.is_overdue).then(by_ratio)
        });
        due
    }

    /// One pass; true when the partition has more to do at once.
    async fn compact(&mut self, candidate: &Candidate) -> bool {
        if self.shared.is_superseded().await {
            return false;
        }
        let partition = &candidate.partition;
        let began = self.shared.env.elapsed();
        let result = {
            // Merging leaves this partition alone: what it would replace is being read.
            let id = (partition.name.topic_id, partition.name.index);
            let _turn = self.shared.rewriting.compact(id).await;
            Pass::new(candidate).run().await
        };
        let took = self.shared.env.elapsed() - began;
        count(&self.shared.metrics.compaction, &result, took);
        match result {
            Ok(done) => {
                let (counts, seconds) = (done.counts, took.as_secs_f64());
                tracing::info!(
                    partition = %partition.name,
                    compacted_to = done.compacted_to,
                    ?counts,
                    seconds,
                    "compacted"
                );
                return done.is_full;
            }
            Err(reason @ (Interrupted::Changed | Interrupted::Failed(_))) => {
                tracing::info!(partition = %partition.name, %reason, "a pass of compaction begins anew later");
            }
            Err(Interrupted::Damaged { offset, reason }) => {
                self.give_up(partition, offset, reason);
            }
            Err(reason @ Interrupted::TooLarge { offset, .. }) => {
                tracing::warn!(
                    partition = %partition.name,
                    %reason,
                    "a segment is too large for compaction: this partition is not compacted any more until its log \
                     begins behind it; fix: raise compact_range_bytes_max and start the broker again"
                );
                self.leave(partition, offset);
            }
        }
        false
    }

    fn give_up(&mut self, partition: &Partition, offset: i64, reason: String) {
        tracing::warn!(
            partition = %partition.name,
            offset,
            reason,
            "compaction found damage: this partition is not compacted any more until its log begins behind it"
        );
        self.leave(partition, offset);
    }

    fn leave(&mut self, partition: &Partition, offset: i64) {
        self.uncleanable.insert((partition.name.topic_id, partition.name.index), offset);
        self.shared.metrics.compaction.uncleanable.set(self.uncleanable.len() as i64);
    }
}

fn count(metrics: &CompactionMetrics, result: &Result<Done, Interrupted>, took: Duration) {
    metrics.seconds.observe(took.as_secs_f64());
    metrics.map_bytes.set(0);
    metrics.buffered_bytes.set(0);
    let name = match result {
        Ok(_) => "done",
        Err(Interrupted::Changed) => "changed",
        Err(Interrupted::Failed(_)) => "failed",
        Err(Interrupted::Damaged { .. }) => "damaged",
        Err(Interrupted::TooLarge { .. }) => "too_large",
    };
    metrics.passes.with_label_values(&[name]).inc();
    let Ok(Done { counts, .. }) = result else { return };
    let records = |name, count| metrics.records.with_label_values(&[name]).inc_by(count);
    records("kept", counts.records_kept);
    records("removed", counts.records_read - counts.records_kept);
    records("without_key", counts.records_without_key);
    metrics.bytes.with_label_values(&["read"]).inc_by(counts.bytes_read);
    metrics.bytes.with_label_values(&["kept"]).inc_by(counts.bytes_kept);
}
