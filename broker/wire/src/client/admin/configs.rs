//! Configs of topics, brokers and groups: describe, alter.

use std::collections::BTreeMap;

use super::Each;
use crate::client::{Client, ClientError};

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic by name.
    Topic(String),
    /// A broker by id.
    Broker(i32),
    /// A consumer group by id (KIP-848).
    Group(String),
}

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic or group itself.
    Resource,
    /// Set on the broker or for all brokers.
    Broker,
    /// Kafka's default.
    Default,
}

/// One config's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigValue {
    /// The value; `None` when sensitive or null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

/// One change of a config (KIP-339: other configs stay as they are).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets name to value.
    Set(String, String),
    /// Back to the default.
    Unset(String),
}

/// All configs of each topic.
///
/// # Errors
/// The request as a whole failed.
pub async fn describe_topic_configs<T: AsRef<str>>(
    _client: &Client,
    _topics: &[T],
) -> Result<Each<String, BTreeMap<String, ConfigValue>>, ClientError> {
    unimplemented!("admin verb")
}

/// All configs of each resource.
///
/// # Errors
/// The request as a whole failed.
pub async fn describe_configs(
    _client: &Client,
    _resources: &[ConfigResource],
) -> Result<Each<ConfigResource, BTreeMap<String, ConfigValue>>, ClientError> {
    unimplemented!("admin verb")
}

/// Changes configs of one resource, all or none.
///
/// # Errors
/// `InvalidConfig` with the broker's words, and so on.
pub async fn alter_configs(
    _client: &Client,
    _resource: &ConfigResource,
    _changes: &[ConfigChange],
) -> Result<(), ClientError> {
    unimplemented!("admin verb")
}
