//! Consumers and groups in `scenario.yaml`.

use serde::Deserialize;

use super::{Settings, one_minute, rdkafka, read_committed};

/// A consumer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consume {
    /// The node.
    pub on: String,
    /// Topics.
    pub topics: Vec<String>,
    /// The consumer's name, for later steps.
    #[serde(rename = "as")]
    pub name: String,
    /// `rdkafka`, `kafka-python`, `java` or `java-VERSION`.
    #[serde(default = "rdkafka")]
    pub client: String,
    /// The group.
    pub group: Option<String>,
    /// Static membership.
    pub instance_id: Option<String>,
    /// All partitions, without joining.
    #[serde(default)]
    pub assign: bool,
    /// `none`, `auto` or `each`.
    #[serde(default = "each")]
    pub commit: String,
    /// `classic` or `consumer`.
    #[serde(default = "classic")]
    pub protocol: String,
    /// `range`, `roundrobin` or `cooperative-sticky`.
    #[serde(default = "range")]
    pub assignor: String,
    /// `earliest`, `latest` or `none`.
    #[serde(default = "earliest")]
    pub from: String,
    /// `read_committed` or `read_uncommitted`.
    #[serde(default = "read_committed")]
    pub isolation: String,
    /// Polls on after errors.
    #[serde(default)]
    pub go_on: bool,
    /// The client's own settings.
    #[serde(default)]
    pub properties: Settings,
}

fn each() -> String {
    "each".to_owned()
}

fn classic() -> String {
    "classic".to_owned()
}

fn range() -> String {
    "range".to_owned()
}

fn earliest() -> String {
    "earliest".to_owned()
}

/// What to wait for of a consumer; all that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitConsumer {
    /// The consumer.
    pub name: String,
    /// At least this many records since its start.
    pub received: Option<usize>,
    /// At least this many more records, counted from now.
    pub more: Option<usize>,
    /// It owns this many partitions.
    pub assigned: Option<usize>,
    /// It was assigned partitions at most this often.
    pub assignments_max: Option<usize>,
    /// It reported an error that contains this.
    pub error: Option<String>,
    /// Its process ended.
    #[serde(default)]
    pub ended: bool,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// A quiet consumer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectQuiet {
    /// The consumer.
    pub consumer: String,
    /// For how long.
    pub for_ms: u64,
}

/// A consumer's end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopConsumer {
    /// The consumer.
    pub name: String,
    /// By SIGKILL: the group learns it by its session's end.
    #[serde(default)]
    pub kill: bool,
}

/// What consumers must have got.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectDelivered {
    /// The consumers, over both sides, of one group.
    pub consumers: Vec<String>,
    /// The loads.
    pub loads: Vec<String>,
    /// Which records may have been delivered again.
    #[serde(default)]
    pub repeats: Repeats,
    /// The limit for the last record to arrive.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// Which records may be delivered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// None at all.
    None,
    /// Those that were not committed when they were delivered again.
    #[default]
    Uncommitted,
    /// Any.
    Any,
}

/// A group's committed offsets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectOffsets {
    /// The node.
    pub on: String,
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// By partition: what is committed (-1: nothing); given once for all, or `same_as`.
    #[serde(default)]
    pub offsets: Vec<i64>,
    /// The same group's offsets on another node.
    pub same_as: Option<String>,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}
