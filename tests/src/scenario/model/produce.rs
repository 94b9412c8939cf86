//! Loads in `scenario.yaml`.

use serde::Deserialize;

use super::{Settings, one_minute, rdkafka};

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
