//! Reads what a fetch wants, and waits until there is enough of it.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use towpath_wire::batch::views;

use super::{Found, TopicKey, Wanted};
use crate::api::dispatch::Call;
use crate::api::topics::{check_leader_epoch, partition_of};
use crate::partition::{Isolation, Partition, ReadError, ReadLimits};
use crate::server::Charge;

/// A fetch that is not given at least this much of the budget for a partition reads it another time.
const GRANT_BYTES_MIN: usize = 64 * 1024;

/// How much, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of the response; the first batch may exceed it.
    pub bytes_max: usize,
    /// Bytes that are worth an answer before the wait is over.
    pub bytes_min: usize,
    /// Longest wait.
    pub wait_max: Duration,
    /// What the client may see.
    pub isolation: Isolation,
}

/// One fetch at work.
pub struct Collector<'a> {
    call: &'a Call,
    limits: Limits,
    slots: Vec<Slot>,
    charge: Charge,
    bytes: usize,
}

struct Slot {
    wanted: Wanted,
    found: Found,
    /// `None`: there is an error to answer.
    partition: Option<Arc<Partition>>,
    /// Next offset to read.
    next: i64,
    bytes: usize,
}

impl<'a> Collector<'a> {
    /// A fetch of `wanted`, in this order.
    pub fn new(call: &'a Call, limits: Limits, wanted: Vec<Wanted>) -> Collector<'a> {
        let charge = call.broker.fetch_budget.charge();
        let image = call.broker.metadata.image();
        let slots = wanted.into_iter().map(|wanted| {
            let topic = match &wanted.topic {
                TopicKey::Name(name) => image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
                TopicKey::Id(id) => image.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
            };
            let partition = topic.and_then(|topic| partition_of(&call.broker, topic, wanted.index));
            let checked = partition.and_then(|partition| {
                check_leader_epoch(&partition, wanted.current_epoch)?;
                Ok(partition)
            });
            Slot::new(wanted, checked, limits.isolation)
        });
        let slots = slots.collect();
        Collector { call, limits, slots, charge, bytes: 0 }
    }

    /// Reads and waits. The charge covers the bytes found.
    pub async fn run(mut self) -> (Vec<Found>, Charge) {
        let env = &self.call.broker.env;
        let deadline = env.elapsed() + self.limits.wait_max;
        loop {
            // Registered before reading, or what is appended in between would wake nobody.
            let wake = Arc::new(Notify::new());
            self.read_all().await;
            let left = deadline.saturating_sub(env.elapsed());
            if self.is_enough() || left.is_zero() || self.call.client.closed.is_cancelled() {
                break;
            }
            self.register(&wake);
            tokio::select! {
                () = wake.notified() => {}
                () = env.sleep(left) => {}
                () = self.call.client.closed.cancelled() => {}
            }
        }
        let found = self.slots.into_iter().map(|slot| slot.found).collect();
        (found, self.charge)
    }

    fn is_enough(&self) -> bool {
        let answered = |slot: &Slot| slot.partition.is_none();
        self.bytes >= self.limits.bytes_min.max(1)
            || self.limits.bytes_min == 0
            || self.slots.is_empty()
            || self.slots.iter().any(answered)
    }

    fn register(&mut self, wake: &Arc<Notify>) {
        for slot in &mut self.slots {
            slot.advance();
            if let Some(partition) = &slot.partition {
                partition.notify_past(slot.next, self.limits.isolation, wake);
            }
        }
    }

    async fn read_all(&mut self) {
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            let Some(partition) = slot.partition.clone() else { continue };
            if !slot.is_readable(&partition, self.limits.isolation) {
                continue;
            }
            let at_least_one = self.bytes == 0;
            let room = (self.limits.bytes_max.saturating_sub(self.bytes))
                .min(slot.wanted.bytes_max.saturating_sub(slot.bytes));
            if room == 0 && !at_least_one {
                continue;
            }
            let Some(bytes_max) = self.grant(room).await else { break };
            let limits = ReadLimits { bytes_max, at_least_one };
            let slot = &mut self.slots[at];
            let read = partition.read(slot.next, limits, self.limits.isolation).await;
            self.bytes += slot.take(read, self.limits.isolation);
            self.settle();
        }
    }

    /// Part of the budget for one read of up to `room` bytes. `None`: it is used up, and there is something to
    /// answer already.
    async fn grant(&mut self, room: usize) -> Option<usize> {
        let mut grant = room.min(u32::MAX as usize);
        loop {
            if self.charge.try_grow(grant as u32) {
                return Some(grant);
            }
            if grant <= GRANT_BYTES_MIN {
                break;
            }
            grant = (grant / 2).max(GRANT_BYTES_MIN);
        }
        if self.bytes > 0 {
            return None;
        }
        self.charge.grow_within(grant as u32).await;
        Some(grant)
    }

    /// Brings the charge to the bytes found. A first batch larger than its grant may exceed it.
    fn settle(&mut self) {
        self.charge.shrink_to(self.bytes);
        let missing = self.bytes.saturating_sub(self.charge.bytes());
        if missing > 0 {
            let _ = self.charge.try_grow(missing as u32);
        }
    }
}

impl Slot {
    fn new(wanted: Wanted, partition: Result<Arc<Partition>, ResponseError>, isolation: Isolation) -> Slot {
        let mut found = Found {
            topic: wanted.topic.clone(),
            index: wanted.index,
            error_code: 0,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            batches: Vec::new(),
            aborted: matches!(isolation, Isolation::ReadCommitted).then(Vec::new),
            diverging: None,
        };
        let partition = match partition {
            Ok(partition) => Some(partition),
            Err(error) => {
                found.error_code = error.code();
                None
            }
        };
        let next = wanted.offset;
        let mut slot = Slot { wanted, found, partition, next, bytes: 0 };
        slot.look_for_divergence();
        slot
    }

    /// A client that says the epoch of its last record is told where the logs part, if they do (KIP-595).
    fn look_for_divergence(&mut self) {
        let (Some(partition), last @ 0..) = (&self.partition, self.wanted.last_fetched_epoch) else { return };
        let (epoch, end) = partition.epoch_end(last);
        if epoch < last || end < self.wanted.offset {
            let offsets = partition.offsets();
            self.found.high_watermark = offsets.high_watermark;
            self.found.last_stable = offsets.last_stable;
            self.found.log_start = offsets.log_start;
            self.found.diverging = Some((epoch, end));
            self.partition = None;
        }
    }

    /// Notes the log's bounds. An offset outside of them is for the read to refuse.
    fn is_readable(&mut self, partition: &Partition, isolation: Isolation) -> bool {
        let offsets = partition.offsets();
        self.found.high_watermark = offsets.high_watermark;
        self.found.last_stable = offsets.last_stable;
        self.found.log_start = offsets.log_start;
        let bound = match isolation {
            Isolation::ReadUncommitted => offsets.high_watermark,
            Isolation::ReadCommitted => offsets.last_stable,
        };
        let outside = self.next < offsets.log_start || self.next > offsets.high_watermark;
        outside || self.next < bound
    }

    /// Takes what was read; how many bytes that is.
    fn take(&mut self, read: Result<crate::partition::ReadResult, ReadError>, isolation: Isolation) -> usize {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                note(&error);
                // What was read before the error is complete in itself: it goes out first.
                if self.bytes == 0 {
                    self.found.error_code = error.code();
                    (self.found.high_watermark, self.found.last_stable, self.found.log_start) = (-1, -1, -1);
                }
                self.partition = None;
                return 0;
            }
        };
        let bytes = read.size_bytes();
        self.found.high_watermark = read.high_watermark;
        self.found.last_stable = read.last_stable;
        self.found.log_start = read.log_start;
        self.found.batches.extend(read.batches);
        if let (Some(aborted), Isolation::ReadCommitted) = (&mut self.found.aborted, isolation) {
            let new: Vec<_> = read.aborted.into_iter().filter(|new| !aborted.contains(new)).collect();
            aborted.extend(new);
        }
        self.bytes += bytes;
        bytes
    }

    /// Moves on behind the batches found, to read on from there.
    fn advance(&mut self) {
        let last = self.found.batches.last().and_then(|bytes| views(bytes).filter_map(Result::ok).last());
        if let Some(last) = last {
            self.next = self.next.max(last.next_offset());
        }
    }
}

fn note(error: &ReadError) {
    match error {
        ReadError::OffsetOutOfRange { .. } => tracing::debug!(%error, "fetch out of range"),
        _ => tracing::warn!(%error, "a fetch could not be read"),
    }
}
