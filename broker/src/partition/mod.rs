//! Partitions: validate, assign offsets, append, read, high watermark (DESIGN §5.1, §5.4).
//!
//! Owns all partitions of this broker and Kafka's rules about a log. Never talks to clients: `api` and `group`
//! call it. What survives a crash is [`log_state::LogState`]; the rest of a partition is rebuilt from it.
//!
//! ```text
//! append ─▶ validate ─▶ lock: sequences, offsets ─▶ WAL queue ─▶ (durable) high watermark ─▶ acks, readers
//!                                   └▶ tail ─▶ upload: segment object + snapshot ─▶ metadata ─▶ WAL trim
//! read   ─▶ tail, or segments through the block cache
//! ```

mod append;
mod collect;
mod compact;
mod epochs;
mod error;
mod log_state;
mod lookup;
mod maintenance;
mod merge;
mod open;
mod place;
mod producers;
mod read;
mod registry;
mod replace;
mod rewriting;
mod shared;
mod snapshot;
mod state;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod upload;
mod validate;
mod waiters;
mod wal_entry;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub use error::{AppendError, Kind, PartitionName, ReadError, Refusal};
pub use open::OpenError;
pub use place::WalPlace;
pub use registry::Partitions;
pub use types::{
    AbortedTransaction, Appended, Durable, Isolation, OffsetAndTime, Offsets, Origin, ProducerRow,
    ReadLimits, ReadResult,
};

pub(crate) use shared::Shared;
pub(crate) use snapshot::{is_snapshot, segment_of_snapshot};
pub(crate) use state::State;
pub(crate) use validate::{DECOMPRESSED_BYTES_MAX, refuse};
pub(crate) use wal_entry::WalEntry;

use crate::metadata::config::TopicSettings;
use crate::metadata::entry::{Entry, LogStartAdvanced, Rejection};
use crate::metadata::{MirrorState, ProposeError, TopicImage};
use crate::mirror::MirrorStatus;
use crate::storage::{FencedBy, Owner, WalError};

/// The state of a mirror topic whose producers have moved: an ordinary topic again.
const MIRROR_PROMOTED: &str = "promoted";

/// One partition.
pub struct Partition {
    pub(crate) name: PartitionName,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Mutex<State>,
    /// One mirrored append at a time: it may wait for the store between judging and appending.
    pub(crate) mirror_gate: tokio::sync::Mutex<()>,
    view: RwLock<Arc<View>>,
    /// The head of every batch's WAL record.
    batch_head: Bytes,
    me: Weak<Partition>,
}

/// A partition's part of the metadata image.
pub(crate) struct View {
    pub topic: Arc<TopicImage>,
    pub settings: TopicSettings,
    pub leader_epoch: i32,
}

impl View {
    fn of(topic: Arc<TopicImage>, index: i32) -> View {
        let leader_epoch = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
        let leader_epoch = leader_epoch.map_or(-1, |partition| partition.leader_epoch);
        View { settings: TopicSettings::of(&topic.configs), topic, leader_epoch }
    }

    /// The link that alone may append, if one does.
    pub fn mirror(&self) -> Option<&MirrorState> {
        self.topic.mirror.as_ref().filter(|mirror| mirror.state != MIRROR_PROMOTED)
    }
}

impl Partition {
    pub(crate) fn new(
        shared: Arc<Shared>,
        topic: Arc<TopicImage>,
        index: i32,
        state: State,
    ) -> Arc<Partition> {
        let name = PartitionName { topic: topic.name.as_str().into(), topic_id: topic.id, index };
        Arc::new_cyclic(|me| Partition {
            batch_head: WalEntry::Batch.encode(topic.id, index),
            view: RwLock::new(Arc::new(View::of(topic, index))),
            name,
            shared,
            state: Mutex::new(state),
            mirror_gate: tokio::sync::Mutex::new(()),
            me: me.clone(),
        })
    }

    /// What people call it.
    pub fn name(&self) -> &PartitionName {
        &self.name
    }

    /// The topic's settings, mirror state and epoch as of the newest image; `None` once the topic is deleted.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        let image = self.shared.metadata.image();
        let topic = image.topic_by_id(self.name.topic_id)?;
        let view = self.view.read().clone();
        if Arc::ptr_eq(&view.topic, topic) {
            return Some(view);
        }
        let view = Arc::new(View::of(topic.clone(), self.name.index));
        *self.view.write() = view.clone();
        Some(view)
    }

    /// This partition as a strong reference.
    pub(crate) fn me(&self) -> Arc<Partition> {
        // Cannot fail: `new` is the only constructor, and `self` being borrowed keeps the count above zero.
        #[allow(clippy::expect_used)]
        self.me.upgrade().expect("a partition in use is alive")
    }

    pub(crate) fn refused(&self, reason: Refusal) -> AppendError {
        AppendError { partition: self.name.clone(), reason }
    }

    /// The bounds of the log now.
    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets()
    }

    /// The leader epoch that this broker advertises.
    pub fn leader_epoch(&self) -> i32 {
        self.view().map_or(-1, |view| view.leader_epoch)
    }

    /// Where `epoch` ended (Kafka's OffsetForLeaderEpoch): the largest epoch known that is not above it, and its
    /// end; `(-1, -1)` when unknown.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let state = self.state.lock();
        let log_end = state.log.log_end;
        match state.log.epochs.end_of(epoch, log_end) {
            // An epoch that is advertised but not yet written ends where the log does.
            (-1, _) if epoch == self.leader_epoch() => (epoch, log_end),
            found => found,
        }
    }

    /// The active producers (Kafka's DescribeProducers).
    pub fn producers(&self) -> Vec<ProducerRow> {
        let state = self.state.lock();
        let row = |(id, producer): (&i64, &producers::Producer)| ProducerRow {
            producer_id: *id,
            producer_epoch: producer.epoch,
            last_sequence: producer.last_sequence().unwrap_or(-1),
            last_timestamp_ms: producer.last_timestamp_ms,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: state.log.transactions.open_since(*id).unwrap_or(-1),
        };
        state.log.producers.0.iter().map(row).collect()
    }

    /// What a mirror partition is doing.
    pub fn mirror_status(&self) -> MirrorStatus {
        let state = self.state.lock();
        MirrorStatus { source_high_watermark: state.source_high_watermark, halted: state.log.halted.clone() }
    }

    /// Bytes from log start to log end, for DescribeLogDirs.
    pub fn size_bytes(&self) -> u64 {
        let image = self.shared.metadata.image();
        let committed =
            image.segments(self.name.topic_id, self.name.index).map_or(0, |held| held.size_bytes());
        let state = self.state.lock();
        let waiting = state.tail.from(state.uploaded_end).map(|batch| batch.size_bytes() as u64);
        committed + waiting.sum::<u64>()
    }

    /// Gives up everything below `before` (-1: the high watermark); the new log start.
    pub async fn delete_records(&self, before: i64) -> Result<i64, AppendError> {
        let view = self.view().ok_or_else(|| self.refused(Refusal::Deleted))?;
        if let Some(mirror) = view.mirror() {
            return Err(self.refused(Refusal::Mirrored { link: mirror.link.clone() }));
        }
        let Offsets { log_start, high_watermark, .. } = self.offsets();
        let offset = if before == -1 { high_watermark } else { before };
        if offset < 0 || offset > high_watermark {
            return Err(self.refused(Refusal::OffsetOutOfRange { offset, log_start, high_watermark }));
        }
        if offset > log_start {
            self.advance_log_start(offset).await.map_err(|reason| self.refused(reason))?;
        }
        Ok(self.offsets().log_start)
    }

    /// Moves the log start forward, in the metadata first.
    pub(crate) async fn advance_log_start(&self, offset: i64) -> Result<(), Refusal> {
        let (topic_id, partition) = (self.name.topic_id, self.name.index);
        let known = |image: &crate::metadata::Image| {
            image.partition(topic_id, partition).is_some_and(|held| held.log_start >= offset)
        };
        if !known(&self.shared.metadata.image()) {
            let (node_id, epoch) = (self.shared.config.node_id, self.shared.epoch);
            let entry = LogStartAdvanced { node_id, epoch, topic_id, partition, offset };
            let proposed = self.shared.metadata.propose(Entry::LogStartAdvanced(entry)).await;
            if let Err(ProposeError::Rejected(Rejection::Fenced { held, address, .. })) = proposed {
                let by = FencedBy { node_id, epoch: held, address };
                self.shared.wal.fenced(by.clone());
                return Err(WalError::Fenced(by).into());
            }
            if let Err(error) = proposed
                && !known(&self.shared.metadata.image())
            {
                return Err(Refusal::Store(error.to_string()));
            }
        }
        self.apply_log_start(offset);
        Ok(())
    }

    /// Forgets what lies below the log start.
    pub(crate) fn apply_log_start(&self, log_start: i64) {
        let mut state = self.state.lock();
        if log_start <= state.log.log_start {
            return;
        }
        state.log.advance_start(log_start);
        // Batches that were uploaded may go at once; the others go with their upload, which keeps accounts simple.
        let below = log_start.min(state.uploaded_end);
        state.tail.drop_before(below);
    }

    /// Drops uploaded batches below `end` from memory.
    pub(crate) fn drop_tail_before(&self, end: i64) {
        let mut state = self.state.lock();
        let end = end.min(state.uploaded_end);
        state.tail.drop_before(end);
    }

    /// Compaction has left nothing of these aborted transactions (producer and marker) in the segments.
    pub(crate) fn forget_aborted(&self, aborted: &[(i64, i64)]) {
        let mut state = self.state.lock();
        for (producer_id, marker) in aborted {
            if state.log.transactions.forget(*producer_id, *marker) {
                state.aborted_forgotten += 1;
                // What is in memory may hold their records still.
                let end = (marker + 1).min(state.uploaded_end);
                state.tail.drop_before(end);
            }
        }
    }

    /// The topic is gone: nothing is taken or kept any more.
    pub(crate) fn drop_log(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.deleted, true) {
            return;
        }
        let waiting: usize = state.tail.from(state.uploaded_end).map(|batch| batch.size_bytes()).sum();
        let log_end = state.log.log_end;
        state.tail.drop_before(log_end);
        state.uploaded_end = log_end;
        state.waiting_since_ms = None;
        let readers = state.waiters.readers(|_, _| true);
        drop(state);
        self.shared.no_longer_waiting(waiting);
        readers.iter().for_each(|reader| reader.notify_one());
    }

    /// Resolves once a reader at `offset` has something to read.
    pub async fn wait_past(&self, offset: i64, isolation: Isolation) {
        let waiter = Arc::new(Notify::new());
        self.notify_past(offset, isolation, &waiter);
        waiter.notified().await;
    }

    /// Notifies `waiter` once when a reader at `offset` has something to read (at once if it has already, or if
    /// the topic is deleted). One waiter may wait on many partitions; a dropped one is forgotten.
    pub fn notify_past(&self, offset: i64, isolation: Isolation, waiter: &Arc<Notify>) {
        let mut state = self.state.lock();
        if state.deleted || state.readable(offset, isolation) {
            waiter.notify_one();
        } else {
            state.waiters.add_reader(offset, isolation, waiter);
        }
    }
}

impl Owner for Partition {
    fn durable(&self, mark: i64) {
        let mut state = self.state.lock();
        if mark <= state.high_watermark {
            return;
        }
        state.high_watermark = mark;
        state.log.transactions.advance(mark);
        let acks = state.waiters.reached(mark);
        let mut waiters = std::mem::take(&mut state.waiters);
        let readers = waiters.readers(|offset, isolation| state.readable(offset, isolation));
        state.waiters = waiters;
        drop(state);
        // A dropped receiver is a producer that no longer waits.
        acks.into_iter().for_each(|ack| drop(ack.send(Ok(()))));
        readers.iter().for_each(|reader| reader.notify_one());
    }

    fn failed(&self, error: &WalError) {
        let mut state = self.state.lock();
        state.failed = Some(error.clone());
        let waiting = state.waiters.all();
        drop(state);
        waiting.into_iter().for_each(|waiter| drop(waiter.send(Err(error.clone()))));
    }
}
