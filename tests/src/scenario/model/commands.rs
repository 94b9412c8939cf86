//! Commands and metrics in `scenario.yaml`.

use serde::Deserialize;
use serde_json::Value;

use super::one_minute;

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
