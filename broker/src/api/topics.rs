//! What many APIs ask about topics: where a partition is, what it is called, who leads it.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::metadata::{Image, TopicImage};
use crate::partition::Partition;
use crate::server::Shared;

/// Bits of the operations that a client may do on a topic, as `authorized_operations` shows them: all that apply
/// (READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS), since there are no ACLs.
pub const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// As [`TOPIC_OPERATIONS`], for the cluster (CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS,
/// ALTER_CONFIGS, IDEMPOTENT_WRITE).
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// `authorized_operations` when nobody asked.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// A topic's name on the wire.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// This broker's id on the wire. It leads every partition.
pub fn node_id(broker: &Shared) -> BrokerId {
    BrokerId(broker.config.node_id)
}

/// The partition `index` of the topic `name`.
pub fn partition_by_name(
    broker: &Shared,
    image: &Image,
    name: &str,
    index: i32,
) -> Result<Arc<Partition>, ResponseError> {
    let topic = image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    partition_of(broker, topic, index)
}

/// The partition `index` of `topic`.
pub fn partition_of(
    broker: &Shared,
    topic: &TopicImage,
    index: i32,
) -> Result<Arc<Partition>, ResponseError> {
    let known = usize::try_from(index).is_ok_and(|index| index < topic.partitions.len());
    if !known {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    // Created, and not yet open here: the client tries again.
    broker.partitions.get(topic.id, index).ok_or(ResponseError::LeaderNotAvailable)
}

/// Compares the leader epoch that a client believes in with ours (KIP-320); -1 believes nothing.
pub fn check_leader_epoch(partition: &Partition, believed: i32) -> Result<(), ResponseError> {
    match believed {
        -1 => Ok(()),
        epoch if epoch < partition.leader_epoch() => Err(ResponseError::FencedLeaderEpoch),
        epoch if epoch > partition.leader_epoch() => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
