//! Configs of topics, brokers and groups: describe, alter.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::{Request, StrBytes};

use super::fan_out::{each, outcome_with_words};
use super::{Each, text};
use crate::client::{Client, ClientError, To};

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
    client: &Client,
    topics: &[T],
) -> Result<Each<String, BTreeMap<String, ConfigValue>>, ClientError> {
    let resources: Vec<_> =
        topics.iter().map(|topic| ConfigResource::Topic(topic.as_ref().to_owned())).collect();
    let described = describe_configs(client, &resources).await?;
    let by_name = described.into_iter().map(|(resource, configs)| (resource.name(), configs));
    Ok(by_name.collect())
}

/// All configs of each resource; one request, and one more per broker among them.
///
/// # Errors
/// The request as a whole failed.
pub async fn describe_configs(
    client: &Client,
    resources: &[ConfigResource],
) -> Result<Each<ConfigResource, BTreeMap<String, ConfigValue>>, ClientError> {
    let items = resources.iter().map(|resource| (resource.clone(), ())).collect();
    each(client, DescribeConfigsRequest::KEY, items, ConfigResource::route, |connection, items| async move {
        let resources = items.iter().map(|(resource, ())| {
            DescribeConfigsResource::default()
                .with_resource_type(resource.code())
                .with_resource_name(text(&resource.name()))
                .with_configuration_keys(None)
        });
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let answer = connection.send(request).await?;
        let outcomes = answer.results.iter().filter_map(|result| {
            let resource = ConfigResource::from_wire(result.resource_type, &result.resource_name)?;
            let words = result.error_message.as_ref().map(StrBytes::as_str);
            let configs =
                result.configs.iter().map(|config| (config.name.to_string(), read(config))).collect();
            let outcome =
                outcome_with_words("DescribeConfigs", &resource, (result.error_code, words), configs);
            Some((resource, outcome))
        });
        Ok(outcomes.collect())
    })
    .await
}

/// Changes configs of one resource, all or none.
///
/// # Errors
/// `InvalidConfig` with the broker's words, and so on.
pub async fn alter_configs(
    client: &Client,
    resource: &ConfigResource,
    changes: &[ConfigChange],
) -> Result<(), ClientError> {
    let changes = changes.iter().map(|change| match change {
        ConfigChange::Set(name, value) => AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(SET)
            .with_value(Some(text(value))),
        ConfigChange::Unset(name) => {
            AlterableConfig::default().with_name(text(name)).with_config_operation(DELETE).with_value(None)
        }
    });
    let altered = AlterConfigsResource::default()
        .with_resource_type(resource.code())
        .with_resource_name(text(&resource.name()))
        .with_configs(changes.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    let answer = client.send(resource.route(), request).await?;
    for result in &answer.responses {
        let words = result.error_message.as_ref().map(StrBytes::as_str);
        outcome_with_words("IncrementalAlterConfigs", resource, (result.error_code, words), ())?;
    }
    Ok(())
}

/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

impl ConfigResource {
    /// `ConfigResource.Type`.
    fn code(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) => 4,
            ConfigResource::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name) | ConfigResource::Group(name) => name.clone(),
            ConfigResource::Broker(id) => id.to_string(),
        }
    }

    fn from_wire(code: i8, name: &str) -> Option<ConfigResource> {
        match code {
            2 => Some(ConfigResource::Topic(name.to_owned())),
            4 => name.parse().ok().map(ConfigResource::Broker),
            32 => Some(ConfigResource::Group(name.to_owned())),
            _ => None,
        }
    }

    /// Only a broker itself knows its own configs.
    fn route(&self) -> To {
        match self {
            ConfigResource::Broker(id) => To::Broker(*id),
            _ => To::Any,
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(f, "topic {name}"),
            ConfigResource::Broker(id) => write!(f, "broker {id}"),
            ConfigResource::Group(name) => write!(f, "group {name}"),
        }
    }
}

fn read(config: &DescribeConfigsResourceResult) -> ConfigValue {
    ConfigValue {
        value: config.value.as_ref().map(|value| value.to_string()),
        source: match config.config_source {
            1 | 8 => ConfigSource::Resource,
            2..=4 => ConfigSource::Broker,
            _ => ConfigSource::Default,
        },
        read_only: config.read_only,
    }
}
