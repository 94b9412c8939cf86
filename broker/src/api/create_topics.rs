//! CreateTopics, and creation on demand by Metadata.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::{Described, describe_topic};
use super::refusal::Refused;
use crate::metadata::entry::TopicCreated;
use crate::metadata::{Entry, Image, Rejection, TopicImage};
use crate::server::{ClientContext, Shared};

/// Asks for the broker's default, as partition count or replication factor.
const DEFAULT: i32 = -1;

/// Topics that belong to the broker itself, whoever creates them.
const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Answers one CreateTopics request. Each topic succeeds or fails alone.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times_named = HashMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_insert(0) += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let created = if times_named[&asked.name] > 1 {
            Err(Refused::new(ResponseError::InvalidRequest, "the request names this topic twice"))
        } else {
            create(broker, asked, request.validate_only).await
        };
        results.push(match created {
            Ok(topic) => described(&topic, version),
            Err(refused) => failed(asked, &refused),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

/// Creates `name` with the broker's defaults, for a client that asked for its metadata.
pub async fn create_on_demand(broker: &Shared, name: &str) -> Result<Arc<TopicImage>, Refused> {
    let entry = entry(broker, name, broker.config.partitions_default, BTreeMap::new());
    match propose(broker, entry).await {
        // Someone else was faster.
        Err(refused) if refused.error == ResponseError::TopicAlreadyExists => {
            let image = broker.metadata.image();
            image.topic(name).cloned().ok_or(refused)
        }
        created => created,
    }
}

async fn create(
    broker: &Shared,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<Arc<TopicImage>, Refused> {
    let partitions = partition_count(broker, asked)?;
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            let message = format!("null value not supported for topic config {}", config.name);
            return Err(Refused::new(ResponseError::InvalidConfig, message));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let entry = entry(broker, &asked.name, partitions, configs);
    if !validate_only {
        return propose(broker, entry).await;
    }
    let mut image = Image::clone(&broker.metadata.image());
    Entry::TopicCreated(entry.clone()).validate().map_err(Refused::from)?;
    image.apply(&Entry::TopicCreated(entry.clone())).map_err(Refused::from)?;
    created(&image, &entry)
}

fn entry(broker: &Shared, name: &str, partitions: i32, configs: BTreeMap<String, String>) -> TopicCreated {
    let internal = INTERNAL_TOPICS.contains(&name);
    TopicCreated { name: name.to_owned(), id: broker.env.uuid(), partitions, configs, internal }
}

async fn propose(broker: &Shared, entry: TopicCreated) -> Result<Arc<TopicImage>, Refused> {
    let image = broker.metadata.propose(Entry::TopicCreated(entry.clone())).await?;
    tracing::info!(topic = entry.name, partitions = entry.partitions, id = %entry.id, "topic created");
    created(&image, &entry)
}

fn created(image: &Image, entry: &TopicCreated) -> Result<Arc<TopicImage>, Refused> {
    // Deleted again between its creation and this image.
    image.topic_by_id(entry.id).cloned().ok_or_else(|| Rejection::UnknownTopic(entry.id).into())
}

fn partition_count(broker: &Shared, asked: &CreatableTopic) -> Result<i32, Refused> {
    if !asked.assignments.is_empty() {
        return assigned_count(broker, asked);
    }
    let factor = i32::from(asked.replication_factor);
    if factor != DEFAULT && factor != 1 {
        let message = format!(
            "replication factor {factor}: this cluster has 1 broker, and keeps every record in the object store; \
             fix: ask for replication factor 1 or -1"
        );
        return Err(Refused::new(ResponseError::InvalidReplicationFactor, message));
    }
    match asked.num_partitions {
        DEFAULT => Ok(broker.config.partitions_default),
        count if count >= 1 => Ok(count),
        count => Err(Refused::new(
            ResponseError::InvalidPartitions,
            format!("{count} partitions: the number must be larger than 0, or -1 for the default"),
        )),
    }
}

/// A manual assignment may name this broker and no other, for the partitions 0, 1, 2, …
fn assigned_count(broker: &Shared, asked: &CreatableTopic) -> Result<i32, Refused> {
    if asked.num_partitions != DEFAULT || i32::from(asked.replication_factor) != DEFAULT {
        let message = "a manual assignment goes with -1 as number of partitions and replication factor";
        return Err(Refused::new(ResponseError::InvalidRequest, message));
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|assigned| assigned.partition_index).collect();
    indexes.sort_unstable();
    let consecutive = indexes.iter().enumerate().all(|(expected, index)| *index == expected as i32);
    let here = [BrokerId(broker.config.node_id)];
    let elsewhere = asked.assignments.iter().any(|assigned| assigned.broker_ids != here);
    if !consecutive || elsewhere {
        let message = format!(
            "a manual assignment must list the partitions 0, 1, 2, … once, each with [{}] as its brokers",
            broker.config.node_id
        );
        return Err(Refused::new(ResponseError::InvalidReplicaAssignment, message));
    }
    Ok(indexes.len() as i32)
}

fn described(topic: &TopicImage, version: i16) -> CreatableTopicResult {
    let configs = describe_topic(topic).into_iter().map(|config: Described| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(config.def.name))
            .with_value(config.value.map(StrBytes::from_string))
            .with_read_only(config.def.read_only)
            .with_config_source(config.source as i8)
    });
    let result = CreatableTopicResult::default()
        .with_name(super::topics::topic_name(&topic.name))
        .with_topic_id(topic.id);
    if version < 5 {
        return result;
    }
    result
        .with_num_partitions(topic.partitions.len() as i32)
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}

fn failed(asked: &CreatableTopic, refused: &Refused) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_error_code(refused.code())
        .with_error_message(refused.text())
}
