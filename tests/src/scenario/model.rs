//! The shape of `scenario.yaml`. Unknown keys are refused.

mod commands;
mod consume;
mod produce;
mod topics;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

pub use commands::{AwaitCommand, Metric, Run, Tool};
pub use consume::{
    AwaitConsumer, Consume, ExpectDelivered, ExpectOffsets, ExpectQuiet, Repeats, StopConsumer,
};
pub use produce::{AwaitAcked, Finish, Produce, Records, TransactionEnd, Transactions, Values};
pub use topics::{AwaitEnds, AwaitRecords, DeleteRecords, ExpectTopic, OnTopic, SameTopics, Topic};

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
    /// Does steps several times.
    Repeat(Repeat),
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

fn one_minute() -> u64 {
    60
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

fn rdkafka() -> String {
    "rdkafka".to_owned()
}

fn read_committed() -> String {
    "read_committed".to_owned()
}
