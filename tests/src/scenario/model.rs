//! The shape of `scenario.yaml`. Unknown keys are refused.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

/// Names and values.
pub type Settings = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct MatrixOnly {
    #[serde(default)]
    matrix: BTreeMap<String, Vec<String>>,
}

/// The matrix alone, before its values are filled in.
pub(super) fn matrix(text: &str) -> Result<BTreeMap<String, Vec<String>>> {
    Ok(serde_saphyr::from_str::<MatrixOnly>(text)?.matrix)
}

/// What a scenario starts, does and expects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The claim as a sentence.
    pub claim: String,
    /// The scenario runs once for every combination of these values.
    #[serde(default)]
    pub matrix: BTreeMap<String, Vec<String>>,
    /// The whole scenario's limit.
    #[serde(default = "two_minutes")]
    pub timeout_s: u64,
    /// Programs without which the scenario is skipped (said in its line).
    #[serde(default)]
    pub needs: Vec<String>,
    /// What is started before the first step, clusters first.
    pub nodes: BTreeMap<String, Node>,
    /// Warnings and errors that daemons may log.
    #[serde(default)]
    pub declared: Vec<Declared>,
    /// One after the other.
    pub steps: Vec<Step>,
}

fn two_minutes() -> u64 {
    120
}

impl Scenario {
    /// The first program of `needs` that this machine lacks.
    pub(super) fn missing(&self) -> Option<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = |name: &String| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
        self.needs.iter().find(|name| !found(name)).cloned()
    }
}

/// A log line that may appear.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Part of the line.
    pub contains: String,
    /// Why it belongs to what the scenario does.
    pub why: String,
}

/// A process of the scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Node {
    /// An Apache Kafka.
    Kafka {
        /// A version on Maven Central.
        version: String,
        /// Server properties. Nodes with the same ones are used again, emptied, by later scenarios.
        #[serde(default)]
        properties: BTreeMap<String, String>,
    },
    /// Towpath's broker.
    Broker {
        /// Arguments behind the harness's own.
        #[serde(default)]
        arguments: Vec<String>,
    },
    /// The linking service; knows every cluster of the scenario by its node's name.
    Serve {
        /// The broker whose store holds journal and evidence.
        target: String,
        /// More of the service's file; wins over the harness's own.
        #[serde(default)]
        config: Settings,
    },
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Creates a topic.
    Topic(Topic),
    /// Sets configs and raises the partition count.
    AlterTopic(Topic),
    /// Deletes a topic.
    DeleteTopic(OnTopic),
    /// Deletes the records before an offset.
    DeleteRecords(DeleteRecords),
    /// Waits until a topic holds at most this many records (compaction, retention).
    AwaitRecords(AwaitRecords),
    /// Waits until every partition's end on one node is the end on another.
    AwaitEnds(AwaitEnds),
    /// Produces.
    Produce(Box<Produce>),
    /// Waits until a load has this many more acknowledgements.
    AwaitAcked(AwaitAcked),
    /// Ends a load: everything is acknowledged, or failed at most as often as allowed.
    Finish(Finish),
    /// Starts a consumer.
    Consume(Box<Consume>),
    /// Waits for something of a consumer.
    AwaitConsumer(AwaitConsumer),
    /// A consumer gets no record and no fatal error for a while.
    ExpectQuiet(ExpectQuiet),
    /// A consumer leaves (or is killed).
    StopConsumer(StopConsumer),
    /// Consumers got every acknowledged record of a load.
    ExpectDelivered(ExpectDelivered),
    /// A topic holds exactly what loads produced to it.
    ExpectTopic(ExpectTopic),
    /// Two nodes' topics are equal, record for record, offsets included.
    SameTopics(SameTopics),
    /// A group's committed offsets.
    ExpectOffsets(ExpectOffsets),
    /// SIGKILL.
    Kill(String),
    /// SIGTERM; a daemon must exit with 0.
    Stop(String),
    /// Starts it again on its data.
    Start(String),
    /// SIGSTOP.
    Pause(String),
    /// SIGCONT.
    Resume(String),
    /// Waits until a daemon's process ends by itself, however it ends.
    AwaitExit(AwaitExit),
    /// Sets a daemon's environment for every later start, in place of what was set before.
    Environment(Environment),
    /// Does steps several times.
    Repeat(Repeat),
    /// Does steps once for each of several values, which commands know as `${NAME}`.
    ForEach(ForEach),
    /// Runs `towpath`.
    Towpath(Run),
    /// Runs a shell command in the scenario's folder.
    Shell(Run),
    /// Runs one of Kafka's own tools.
    Tool(Tool),
    /// Waits for the end of a command that runs in the background.
    AwaitCommand(AwaitCommand),
    /// A metric of a daemon.
    Metric(Metric),
}

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

fn one_minute() -> u64 {
    60
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

/// What to produce.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Produce {
    /// The node.
    pub on: String,
    /// The topic.
    pub topic: String,
    /// The load's name, for later steps.
    #[serde(rename = "as")]
    pub name: String,
    /// `rdkafka`, `kafka-python`, `java` or `java-VERSION`.
    #[serde(default = "rdkafka")]
    pub client: String,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    #[serde(default = "no_codec")]
    pub codec: String,
    /// `all`, `1` or `0`.
    #[serde(default = "all_acks")]
    pub acks: String,
    /// Whether the producer is idempotent.
    #[serde(default = "yes")]
    pub idempotent: bool,
    /// Transactions.
    pub transactions: Option<Transactions>,
    /// The records.
    #[serde(default)]
    pub records: Records,
    /// Goes on while later steps run, until `finish`.
    #[serde(default)]
    pub background: bool,
    /// At most this many records a second.
    pub rate: Option<f64>,
    /// The client's own settings.
    #[serde(default)]
    pub properties: Settings,
}

fn rdkafka() -> String {
    "rdkafka".to_owned()
}

fn no_codec() -> String {
    "none".to_owned()
}

fn all_acks() -> String {
    "all".to_owned()
}

fn yes() -> bool {
    true
}

/// How records are grouped in transactions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    /// Records of one transaction.
    pub size: u64,
    /// How transactions end, in turn.
    pub ends: Vec<TransactionEnd>,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionEnd {
    /// Committed.
    Commit,
    /// Aborted.
    Abort,
}

/// Which records are produced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// How many; without it a background load goes on until it is finished.
    pub count: Option<u64>,
    /// Where values come from.
    pub values: Values,
    /// The generator's seed.
    pub seed: u64,
    /// This many different keys, instead of the events' own.
    pub keys: Option<u64>,
    /// One key in this many is null.
    pub null_key_every: Option<u64>,
    /// One value in this many is null.
    pub tombstone_every: Option<u64>,
    /// This many more headers on each record, some without a value, one name twice.
    pub headers: u64,
    /// All to this partition; otherwise the client decides by key.
    pub partition: Option<i32>,
    /// The client's clock instead of the events' own times.
    pub now: bool,
    /// One value in this many has 32 KB to 1 MB; the generator makes one in 2,000 so.
    pub large_every: Option<u64>,
    /// Values are at most this large.
    pub bytes_max: Option<usize>,
}

/// Where values come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// A shop's events, generated.
    #[default]
    Events,
    /// Real orders, where the file is; generated events otherwise.
    Orders,
}

/// A load to wait for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitAcked {
    /// The load.
    pub load: String,
    /// Counted from now.
    pub more: usize,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// The end of a load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// The load.
    pub load: String,
    /// Messages that the client may have given up.
    #[serde(default)]
    pub failed_max: usize,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

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

fn read_committed() -> String {
    "read_committed".to_owned()
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

/// Steps, several times.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How often.
    pub times: usize,
    /// What.
    pub steps: Vec<Step>,
}

/// A daemon's end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitExit {
    /// The daemon.
    pub node: String,
    /// Its exit code; without one, however it ends.
    pub code: Option<i32>,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// A daemon's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The daemon.
    pub of: String,
    /// Variables; without any, what was set is gone.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

/// Steps, once for each value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// What commands and environments know the value by.
    pub name: String,
    /// The values.
    #[serde(rename = "in")]
    pub values: Vec<String>,
    /// What.
    pub steps: Vec<Step>,
}

/// A command and what it must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Words, split at spaces; `'…'` keeps them together.
    pub run: String,
    /// Runs in the background under this name.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// The exit code.
    #[serde(default)]
    pub exit: i32,
    /// Standard output as one JSON document: every key given here must match (see `expected_json`).
    pub json: Option<Value>,
    /// Standard output or error contains all of these.
    #[serde(default)]
    pub says: Vec<String>,
    /// Tried again until it holds or the limit is over. Only for verbs that change nothing.
    pub within_s: Option<u64>,
}

/// One of Kafka's tools.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The node.
    pub on: String,
    /// `topics`, `configs`, `consumer-groups`, …
    pub tool: String,
    /// Of this version.
    #[serde(default = "newest")]
    pub version: String,
    /// Arguments behind `--bootstrap-server`.
    pub arguments: String,
    /// Standard output contains all of these.
    #[serde(default)]
    pub says: Vec<String>,
    /// Whether it must fail; then `says` is about both its outputs.
    #[serde(default)]
    pub fails: bool,
}

fn newest() -> String {
    "4.1.1".to_owned()
}

/// A background command's end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitCommand {
    /// The command.
    pub name: String,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}

/// A metric and its bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The daemon.
    pub of: String,
    /// The metric's name.
    pub name: String,
    /// Part of the series' labels.
    #[serde(default)]
    pub label: String,
    /// Lower bound.
    pub at_least: Option<f64>,
    /// Upper bound.
    pub at_most: Option<f64>,
    /// The limit.
    #[serde(default = "one_minute")]
    pub within_s: u64,
}
