//! What harness and clients say to each other: settings as the client's one argument, then one JSON document per
//! line both ways. Every client (Rust, Java, Python, Go) speaks the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{Message, Record};

/// A client's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Settings {
    /// A producer.
    Produce(ProduceSettings),
    /// A consumer.
    Consume(ConsumeSettings),
}

/// A producer's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProduceSettings {
    /// Comma-separated `host:port`.
    pub bootstrap: String,
    /// As brokers see it.
    pub client_id: String,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub codec: String,
    /// `all`, `1` or `0`.
    pub acks: String,
    /// Whether the producer has an id and sequence numbers.
    pub idempotent: bool,
    /// With it, `begin`, `commit` and `abort` work.
    pub transactional_id: Option<String>,
    /// How long records wait for company.
    pub linger_ms: u32,
    /// The client's own settings, by its own names; they win.
    pub properties: BTreeMap<String, serde_json::Value>,
}

impl ProduceSettings {
    /// An idempotent, uncompressed producer that waits for all replicas.
    pub fn new(bootstrap: &str) -> ProduceSettings {
        ProduceSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: "towpath-test-producer".to_owned(),
            codec: "none".to_owned(),
            acks: "all".to_owned(),
            idempotent: true,
            transactional_id: None,
            linger_ms: 2,
            properties: BTreeMap::new(),
        }
    }
}

/// A consumer's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsumeSettings {
    /// Comma-separated `host:port`.
    pub bootstrap: String,
    /// As brokers see it.
    pub client_id: String,
    /// The group to join, or to commit as.
    pub group: Option<String>,
    /// Static membership.
    pub instance_id: Option<String>,
    /// What to subscribe to or to assign.
    pub topics: Vec<String>,
    /// All partitions of the topics by `assign()`, without joining the group.
    pub assign: bool,
    /// Reads its one topic from the beginning to the end found at the start, says `end` and exits. Needs
    /// `assign`.
    pub until_end: bool,
    /// `read_committed` or `read_uncommitted`.
    pub isolation: String,
    /// Where to start without a committed offset: `earliest`, `latest` or `none`.
    pub from: String,
    /// `none`, `auto` (every 200 ms), or `each` (synchronously behind every poll).
    pub commit: String,
    /// `classic` or `consumer` (KIP-848).
    pub protocol: String,
    /// `range`, `roundrobin` or `cooperative-sticky`.
    pub assignor: String,
    /// Polls on after an error instead of dying of it, as an owner's restart would.
    pub go_on: bool,
    /// The client's own settings, by its own names; they win.
    pub properties: BTreeMap<String, serde_json::Value>,
}

impl ConsumeSettings {
    /// A classic consumer from the earliest record, committing nothing, of no group.
    pub fn new(bootstrap: &str, topics: &[&str]) -> ConsumeSettings {
        ConsumeSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: "towpath-test-consumer".to_owned(),
            group: None,
            instance_id: None,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            assign: false,
            until_end: false,
            isolation: "read_committed".to_owned(),
            from: "earliest".to_owned(),
            commit: "none".to_owned(),
            protocol: "classic".to_owned(),
            assignor: "range".to_owned(),
            go_on: false,
            properties: BTreeMap::new(),
        }
    }
}

/// What the harness tells a running client. End of input means `stop`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// To a producer.
    Send(Message),
    /// To either.
    Do(Verb),
}

/// A command without contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Producer: waits for every acknowledgement.
    Flush,
    /// Producer: begins a transaction.
    Begin,
    /// Producer: commits its transaction. Consumer: commits its positions.
    Commit,
    /// Producer: aborts its transaction, after its records were sent.
    Abort,
    /// Consumer: leaves and exits.
    Stop,
}

/// What a client tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Set up: it reads commands.
    Ready(bool),
    /// The broker acknowledged a message.
    Acked {
        /// The message's number.
        n: u64,
        /// Where it went.
        partition: i32,
        /// -1 with `acks=0`.
        offset: i64,
    },
    /// The client gave a message up.
    Failed {
        /// The message's number.
        n: u64,
        /// In the client's words.
        error: String,
    },
    /// A command was carried out.
    Done(Verb),
    /// A record was delivered.
    Record(Record),
    /// Partitions were given to this member (for a cooperative member: in addition).
    Assigned(Vec<(String, i32)>),
    /// Partitions were taken in an orderly way.
    Revoked(Vec<(String, i32)>),
    /// Partitions were lost: another member may have them already.
    Lost(Vec<(String, i32)>),
    /// A commit succeeded: topic, partition, next offset.
    Committed(Vec<(String, i32, i64)>),
    /// The end was reached: topic, partition, first offset, end.
    End(Vec<(String, i32, i64, i64)>),
    /// Something failed.
    Error {
        /// In the client's words.
        message: String,
        /// Whether the client itself says that its owner must act.
        fatal: bool,
    },
}
