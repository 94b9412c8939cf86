//! DescribeConfigs: of topics, of this broker, of groups (their route among them).

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::refusal::Refused;
use crate::metadata::TopicImage;
use crate::metadata::config::{
    BROKER_CONFIGS, ConfigDef, GROUP_ATTEMPT, GROUP_CONFIGS, GROUP_LINK, GROUP_ROUTE, TOPIC_CONFIGS,
};
use crate::server::{ClientContext, Shared};

/// Resource types on the wire (Kafka's `ConfigResource.Type`).
pub mod resource {
    /// A topic, by name.
    pub const TOPIC: i8 = 2;
    /// A broker, by id; the empty name is the default of all.
    pub const BROKER: i8 = 4;
    /// A consumer group, by id.
    pub const GROUP: i8 = 32;
}

/// Where a value comes from (Kafka's `DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// The broker's own file or command line.
    Broker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// One config with its value now.
pub struct Described {
    /// Its definition.
    pub def: &'static ConfigDef,
    /// Its value.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

/// Answers one DescribeConfigs request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let shape = Shape {
        synonyms: request.include_synonyms,
        documentation: version >= 3 && request.include_documentation,
        types: version >= 3,
    };
    let results = request.resources.iter().map(|asked| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match describe(broker, asked) {
            Ok(configs) => {
                let keys = asked.configuration_keys.as_deref();
                let asked_for = |config: &Described| {
                    keys.is_none_or(|keys| keys.iter().any(|key| **key == *config.def.name))
                };
                result.with_configs(
                    configs.into_iter().filter(asked_for).map(|config| shape.show(config)).collect(),
                )
            }
            Err(refused) => result.with_error_code(refused.code()).with_error_message(refused.text()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// The configs of a topic: those that it sets, and Kafka's defaults.
pub fn describe_topic(topic: &TopicImage) -> Vec<Described> {
    described(TOPIC_CONFIGS, &topic.configs, Source::Topic)
}

fn describe(broker: &Shared, asked: &DescribeConfigsResource) -> Result<Vec<Described>, Refused> {
    let name = asked.resource_name.as_str();
    match asked.resource_type {
        resource::TOPIC => describe_topic_named(broker, name),
        resource::BROKER => describe_broker(broker, name),
        resource::GROUP => Ok(describe_group(broker, name)),
        other => Err(Refused::new(
            ResponseError::InvalidRequest,
            format!(
                "resource type {other} has no configs here; fix: ask for topics (2), brokers (4) or groups (32)"
            ),
        )),
    }
}

fn describe_topic_named(broker: &Shared, name: &str) -> Result<Vec<Described>, Refused> {
    if let Err(error) = crate::metadata::validate_topic_name(name) {
        return Err(Refused::new(ResponseError::InvalidTopicException, error.to_string()));
    }
    let image = broker.metadata.image();
    let Some(topic) = image.topic(name) else {
        return Err(Refused::new(
            ResponseError::UnknownTopicOrPartition,
            format!("no topic is named '{name}'"),
        ));
    };
    Ok(describe_topic(topic))
}

fn describe_group(broker: &Shared, name: &str) -> Vec<Described> {
    let mut set = broker.metadata.image().group_configs.get(name).cloned().unwrap_or_default();
    if let Some(view) = broker.groups.route(name) {
        set.insert(GROUP_LINK.to_owned(), view.link);
        set.insert(GROUP_ROUTE.to_owned(), view.route.to_owned());
        set.insert(GROUP_ATTEMPT.to_owned(), view.attempt.to_string());
    }
    described(GROUP_CONFIGS, &set, Source::Group)
}

fn describe_broker(broker: &Shared, name: &str) -> Result<Vec<Described>, Refused> {
    let node_id = broker.config.node_id.to_string();
    if name.is_empty() {
        // The default of all brokers holds dynamic values only, and there are none.
        return Ok(Vec::new());
    }
    if name != node_id {
        let message = format!("unexpected broker id, expected {node_id} or empty, but received {name}");
        return Err(Refused::new(ResponseError::InvalidRequest, message));
    }
    Ok(described(BROKER_CONFIGS, &broker_values(broker), Source::Broker))
}

/// The broker's own settings under Kafka's names.
fn broker_values(broker: &Shared) -> BTreeMap<String, String> {
    let config = &broker.config;
    let (host, port) = &broker.advertised;
    let mut values = BTreeMap::from([
        ("advertised.listeners", format!("PLAINTEXT://{host}:{port}")),
        ("auto.create.topics.enable", config.auto_create_topics.to_string()),
        ("group.initial.rebalance.delay.ms", config.groups.initial_rebalance_delay_ms.to_string()),
        ("group.max.session.timeout.ms", config.groups.session_timeout_max_ms.to_string()),
        ("group.min.session.timeout.ms", config.groups.session_timeout_min_ms.to_string()),
        ("offsets.retention.minutes", (config.groups.offsets_retention_ms / 60_000).to_string()),
        ("offsets.topic.num.partitions", config.groups.offsets_partitions.to_string()),
        ("broker.id", config.node_id.to_string()),
        ("listeners", format!("PLAINTEXT://{}", config.listen)),
        ("node.id", config.node_id.to_string()),
        ("num.partitions", config.partitions_default.to_string()),
    ]);
    if let Some(rack) = &config.rack {
        values.insert("broker.rack", rack.clone());
    }
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn described(table: &'static [ConfigDef], set: &BTreeMap<String, String>, source: Source) -> Vec<Described> {
    let with_value = table.iter().map(|def| match set.get(def.name) {
        Some(value) => Described { def, value: Some(value.clone()), source },
        None => Described { def, value: def.default.map(str::to_owned), source: Source::Default },
    });
    // Towpath's own keys have no defaults: they show only where they are set, so that Kafka's tools see Kafka's.
    with_value.filter(|config| config.value.is_some()).collect()
}

struct Shape {
    synonyms: bool,
    documentation: bool,
    types: bool,
}

impl Shape {
    fn show(&self, config: Described) -> DescribeConfigsResourceResult {
        let name = StrBytes::from_static_str(config.def.name);
        let value = config.value.map(StrBytes::from_string);
        let mut shown = DescribeConfigsResourceResult::default()
            .with_name(name.clone())
            .with_value(value.clone())
            .with_read_only(config.def.read_only)
            .with_config_source(config.source as i8);
        if self.synonyms {
            shown.synonyms = synonyms(config.def, &name, value, config.source);
        }
        if self.types {
            shown.config_type = config.def.kind.code();
        }
        if self.documentation {
            shown.documentation = Some(StrBytes::from_static_str(config.def.doc));
        }
        shown
    }
}

/// The value and what it hides.
fn synonyms(
    def: &ConfigDef,
    name: &StrBytes,
    value: Option<StrBytes>,
    source: Source,
) -> Vec<DescribeConfigsSynonym> {
    let synonym = |value, source: Source| {
        DescribeConfigsSynonym::default().with_name(name.clone()).with_value(value).with_source(source as i8)
    };
    let mut synonyms = Vec::from([synonym(value, source)]);
    if let (true, Some(default)) = (source != Source::Default, def.default) {
        synonyms.push(synonym(Some(StrBytes::from_string(default.to_owned())), Source::Default));
    }
    synonyms
}
