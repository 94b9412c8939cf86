//! Retention and forgotten producers. Ranges go whole: after merging, a range is as old as its youngest record, and
//! what is expired of it goes with the rest.
//!
//! What a broker decides from its state it may decide only while the state is its own: [`Shared::is_superseded`].

use std::sync::Arc;

use futures::future::join_all;

use super::collect::Collector;
use super::registry::Inner;
use super::{Partition, Shared};
use crate::metadata::{BrokerImage, Image, SegmentRange};
use crate::storage::FencedBy;

impl Inner {
    /// Looks after everything once per interval until the broker stops.
    pub async fn maintain(self: Arc<Inner>) {
        let mut collector = Collector::default();
        if self.shared.config.sweep_at_start {
            tokio::select! {
                () = self.sweep_when_due(&mut collector) => {}
                () = self.stopping.cancelled() => return,
            }
        }
        while !self.shared.wal.has_failed() {
            let round = async {
                self.shared.env.sleep(self.shared.config.maintenance_interval).await;
                self.retain().await;
                self.collect(&mut collector).await;
            };
            // In the middle of a round too: while the store is down, each of its proposals takes half a minute.
            tokio::select! {
                () = round => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Retention by time and size, and producers that were not heard of for long.
    pub(super) async fn retain(&self) {
        let now_ms = self.shared.env.now_ms();
        let all = self.all();
        let due = all.iter().filter_map(|partition| {
            partition.expire_producers(now_ms);
            Some((partition, partition.retained_from(now_ms)?))
        });
        let due: Vec<_> = due.collect();
        if due.is_empty() || self.shared.is_superseded().await {
            return;
        }
        let advanced = due.into_iter().map(async |(partition, offset)| {
            if let Err(reason) = partition.advance_log_start(offset).await {
                tracing::warn!(partition = %partition.name, offset, %reason, "retention could not advance the log start; it tries again");
            }
        });
        // All at once, so that they share entries of the metadata log.
        join_all(advanced).await;
    }
}

/// Who has taken over from this registration of the broker, by this image.
pub(super) fn successor(image: &Image, node_id: i32, epoch: i64) -> Option<FencedBy> {
    let BrokerImage { host, port, epoch, .. } =
        image.brokers.get(&node_id).filter(|broker| broker.epoch != epoch)?;
    Some(FencedBy { node_id, epoch: *epoch, address: format!("{host}:{port}") })
}

impl Shared {
    /// Whether another broker runs under this id, by the metadata as they are now, or nobody can say. What is found here
    /// first ends the WAL, and with it the broker.
    pub(super) async fn is_superseded(&self) -> bool {
        if self.wal.has_failed() {
            return true;
        }
        let node_id = self.config.node_id;
        match self.metadata.refresh().await {
            Ok(image) => match successor(&image, node_id, self.epoch) {
                None => false,
                Some(by) => {
                    self.wal.fenced(by);
                    true
                }
            },
            Err(error) => {
                tracing::info!(%error, "whether another broker has taken over could not be told; upkeep waits");
                true
            }
        }
    }
}

impl Partition {
    /// Where retention lets the log begin, if that is further on. A mirror follows its source instead, whose log
    /// start only has to be told to the metadata.
    fn retained_from(&self, now_ms: i64) -> Option<i64> {
        let view = self.view()?;
        let image = self.shared.metadata.image();
        let known = image.partition(self.name.topic_id, self.name.index)?.log_start;
        let log_start = self.offsets().log_start;
        if view.mirror().is_some() || !view.settings.cleanup.delete {
            return (log_start > known).then_some(log_start);
        }
        let held = image.segments(self.name.topic_id, self.name.index)?;
        let expired_before = view.settings.retention_ms.map(|ms| now_ms.saturating_sub(ms));
        let mut bytes = self.size_bytes();
        let mut from = log_start;
        for range in held.from(log_start) {
            let too_old = expired_before.is_some_and(|before| is_older(range, before));
            let rest = bytes.saturating_sub(u64::from(range.length));
            let too_much = view.settings.retention_bytes.is_some_and(|bytes_max| rest >= bytes_max);
            if !too_old && !too_much {
                break;
            }
            bytes = rest;
            from = range.last_offset + 1;
        }
        (from > known).then_some(from)
    }

    fn expire_producers(&self, now_ms: i64) {
        let config = &self.shared.config;
        let oldest_ms = now_ms.saturating_sub(config.producer_expiry.as_millis() as i64);
        let mut state = self.state.lock();
        let log = &mut state.log;
        let transactions = &log.transactions;
        let keep = |id| transactions.open_since(id).is_some();
        log.producers.expire(oldest_ms, config.producers_per_partition_max, keep);
    }
}

/// Whether all of a range is older than `before_ms`. Records without a timestamp do not age.
fn is_older(range: &SegmentRange, before_ms: i64) -> bool {
    (0..before_ms).contains(&range.max_timestamp_ms)
}
