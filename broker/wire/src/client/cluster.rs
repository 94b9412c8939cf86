//! What the cluster looks like: brokers, controller, topics, leaders.

use std::collections::BTreeMap;
use std::fmt;

use kafka_protocol::ResponseError;
use uuid::Uuid;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic`-`partition`.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A broker as the cluster advertises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: i32,
    /// The advertised `host:port`.
    pub address: String,
    /// The rack or zone, if told.
    pub rack: Option<String>,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// The cluster's id; empty for brokers that have none (before Kafka 0.10.1).
    pub cluster_id: String,
    /// Brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The broker to send controller requests to.
    pub controller: Option<i32>,
    /// The topics asked for, by name; those that do not exist carry their error.
    pub topics: BTreeMap<String, TopicMetadata>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The id of this incarnation (KIP-516); nil before Kafka 2.8.
    pub topic_id: Uuid,
    /// Whether Kafka itself owns it.
    pub internal: bool,
    /// Why the rest is empty, for example `UnknownTopicOrPartition`.
    pub error: Option<ResponseError>,
    /// In the order of their index.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The partition's index.
    pub index: i32,
    /// The leader's broker id, if there is a leader.
    pub leader: Option<i32>,
    /// The leader's epoch; −1 before Kafka 2.1.
    pub leader_epoch: i32,
    /// Brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
    /// Why it has no leader, for example `LeaderNotAvailable`.
    pub error: Option<ResponseError>,
}
