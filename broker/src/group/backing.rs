//! What the coordinator needs of the rest of the broker: its log, and which partitions exist.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use kafka_protocol::ResponseError;
use towpath_env::Env;
use towpath_wire::batch::{BatchBuilder, split};
use uuid::Uuid;

use super::records::Record;
use crate::metadata::entry::TopicCreated;
use crate::metadata::{Entry, Image, Metadata, TopicImage};
use crate::partition::{Isolation, Origin, Partition, Partitions, ReadLimits};

/// The coordinator's topic, named as in Apache Kafka.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Bytes of one read while loading.
const READ_BYTES: usize = 1024 * 1024;
/// Decompressed bytes of one batch while loading. We write uncompressed ones.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// One operation is one batch, however many offsets it sets: 100,000 partitions fit.
const MESSAGE_BYTES_MAX: &str = "33554432";

/// Resolves once a write is durable (`Ok`), or can't become so.
pub(super) type Write = Shared<BoxFuture<'static, Result<(), ResponseError>>>;

/// `__consumer_offsets`, and the topics that groups may commit to.
pub(super) trait Backing: Send + Sync + 'static {
    /// Partitions of the coordinator's topic; `None` when it does not exist.
    fn partitions(&self) -> Option<i32>;

    /// Creates the coordinator's topic unless it exists; the number of its partitions.
    fn create(&self, partitions: i32) -> BoxFuture<'_, Result<i32, ResponseError>>;

    /// Queues the records as one batch. Writes become durable in the order of these calls.
    fn append(&self, partition: i32, records: &[Record]) -> Result<Write, ResponseError>;

    /// Gives every durable record of a partition, in order.
    fn replay<'a>(
        &'a self,
        partition: i32,
        each: &'a mut (dyn FnMut(Record) + Send),
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Whether a client may commit an offset for this partition.
    fn has_partition(&self, topic: &str, partition: i32) -> bool;
}

/// The real one.
pub(super) struct BrokerBacking {
    pub partitions: Partitions,
    pub metadata: Metadata,
    pub env: Env,
}

impl BrokerBacking {
    fn partition(&self, index: i32) -> Result<Arc<Partition>, ResponseError> {
        let image = self.metadata.image();
        let topic = image.topic(OFFSETS_TOPIC).ok_or(ResponseError::CoordinatorNotAvailable)?;
        self.partitions.get(topic.id, index).ok_or(ResponseError::CoordinatorNotAvailable)
    }

    async fn create_topic(&self, partitions: i32) -> Result<i32, ResponseError> {
        let configs = [("cleanup.policy", "compact"), ("max.message.bytes", MESSAGE_BYTES_MAX)];
        let entry = TopicCreated {
            name: OFFSETS_TOPIC.to_owned(),
            id: self.env.uuid(),
            partitions,
            configs: configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            internal: true,
        };
        if let Err(error) = self.metadata.propose(Entry::TopicCreated(entry)).await {
            // Somebody else may have been first.
            tracing::debug!(%error, "{OFFSETS_TOPIC} was not created");
        }
        self.partitions().ok_or(ResponseError::CoordinatorNotAvailable)
    }

    async fn replay_partition(
        &self,
        index: i32,
        each: &mut (dyn FnMut(Record) + Send),
    ) -> Result<(), String> {
        let partition = self.partition(index).map_err(|_| "the partition is not open".to_owned())?;
        let bounds = partition.offsets();
        let mut next = bounds.log_start;
        while next < bounds.high_watermark {
            let limits = ReadLimits { bytes_max: READ_BYTES, at_least_one: true };
            let read = partition.read(next, limits, Isolation::ReadUncommitted).await;
            let batches = read.map_err(|error| error.to_string())?.batches;
            let mut end = next;
            for bytes in batches {
                end = replay_batches(bytes, end, each)?;
            }
            if end <= next {
                return Err(format!("nothing to read at offset {next}, the log ends at {}", bounds.log_end));
            }
            next = end;
        }
        Ok(())
    }
}

fn replay_batches(bytes: Bytes, mut next: i64, each: &mut (dyn FnMut(Record) + Send)) -> Result<i64, String> {
    for batch in split(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        next = next.max(batch.next_offset());
        if batch.is_control() {
            continue;
        }
        for record in batch.records(BATCH_BYTES_MAX).map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            if let Some(key) = record.key {
                each(Record { key, value: record.value });
            }
        }
    }
    Ok(next)
}

fn exists(image: &Image, topic: &str, partition: i32) -> bool {
    let has = |topic: &Arc<TopicImage>| {
        usize::try_from(partition).is_ok_and(|partition| partition < topic.partitions.len())
    };
    image.topic(topic).is_some_and(has)
}

impl Backing for BrokerBacking {
    fn partitions(&self) -> Option<i32> {
        self.metadata.image().topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len() as i32)
    }

    fn create(&self, partitions: i32) -> BoxFuture<'_, Result<i32, ResponseError>> {
        self.create_topic(partitions).boxed()
    }

    fn append(&self, partition: i32, records: &[Record]) -> Result<Write, ResponseError> {
        let now_ms = self.env.now_ms();
        let mut batch = BatchBuilder::new(0);
        for record in records {
            batch.append(now_ms, Some(&record.key), record.value.as_deref(), &[]);
        }
        let refused = |what: String| {
            tracing::warn!(partition, "{OFFSETS_TOPIC} does not take a write: {what}");
            ResponseError::CoordinatorNotAvailable
        };
        let bytes = batch.build().map_err(|error| refused(error.to_string()))?;
        let appended = self.partition(partition)?.append(bytes, Origin::Coordinator);
        let durable = appended.map_err(|error| refused(error.to_string()))?.durable;
        Ok(durable.map(|done| done.map_err(|_| ResponseError::CoordinatorNotAvailable)).boxed().shared())
    }

    fn replay<'a>(
        &'a self,
        partition: i32,
        each: &'a mut (dyn FnMut(Record) + Send),
    ) -> BoxFuture<'a, Result<(), String>> {
        self.replay_partition(partition, each).boxed()
    }

    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        exists(&self.metadata.image(), topic, partition)
    }
}

/// A topic's identity, to notice its deletion.
pub(super) fn topic_ids(image: &Image) -> std::collections::HashMap<String, Uuid> {
    image.topics_by_name.iter().map(|(name, topic)| (name.clone(), topic.id)).collect()
}

/// The partition of `__consumer_offsets` that holds `group`: as Kafka does it, Java's `String.hashCode` without
/// its sign, modulo the count.
pub(super) fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_lives_where_kafka_puts_it() {
        // Values of Java's "…".hashCode(): "a" 97, "session-ranker" -1105116306, "é😀" 7 * 31^2 …
        assert_eq!(partition_of("a", 50), 47);
        assert_eq!(partition_of("", 50), 0);
        let java =
            "session-ranker".bytes().fold(0i64, |hash, byte| (hash * 31 + i64::from(byte)) & 0xffff_ffff);
        assert_eq!(i64::from(partition_of("session-ranker", 50)), (java & 0x7fff_ffff) % 50);
    }
}
