//! Topics in `scenario.yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{one_minute, rdkafka, read_committed};

/// A topic to create or to change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The node.
    pub on: String,
    /// The topic.
    pub name: String,
    /// How many partitions; when it is changed: `None` leaves them.
    pub partitions: Option<i32>,
    /// Topic configs.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// A topic on a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnTopic {
    /// The node.
    pub on: String,
    /// The topic.
    pub topic: String,
}

/// Records to delete.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteRecords {
    /// The node.
    pub on: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset that stays.
    pub before: i64,
}

/// How many records a topic is to hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitRecords {
    /// The node.
    pub on: String,
    /// The topic.
    pub topic: String,
    /// At most this many records over all partitions.
    pub at_most: usize,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// Ends to wait for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitEnds {
    /// The node that is waited for.
    pub on: String,
    /// The node it follows.
    pub reach: String,
    /// The topics.
    pub topics: Vec<String>,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// What a topic must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectTopic {
    /// The node.
    pub on: String,
    /// The topic.
    pub topic: String,
    /// The loads: all that the topic holds.
    pub holds: Vec<String>,
    /// Readers, each on its own.
    #[serde(default = "rdkafka_alone")]
    pub readers: Vec<String>,
    /// `read_committed` or `read_uncommitted`.
    #[serde(default = "read_committed")]
    pub isolation: String,
}

fn rdkafka_alone() -> Vec<String> {
    vec![rdkafka()]
}

/// Two nodes to compare.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SameTopics {
    /// One node.
    pub left: String,
    /// The other.
    pub right: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Readers, each on its own.
    #[serde(default = "rdkafka_alone")]
    pub readers: Vec<String>,
    /// Isolation levels, each on its own.
    #[serde(default = "both_isolations")]
    pub isolations: Vec<String>,
    /// At least this many records, or nothing was proved.
    #[serde(default = "one")]
    pub at_least: usize,
}

fn both_isolations() -> Vec<String> {
    vec!["read_uncommitted".to_owned(), "read_committed".to_owned()]
}

fn one() -> usize {
    1
}
