//! Topics: create, grow, delete.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use towpath_env::retry::Failure;

use super::fan_out::outcome_with_words;
use super::{Each, name, text, timeout_ms};
use crate::client::{Client, ClientError, To};

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; −1: the cluster's default.
    pub partitions: i32,
    /// Copies of each partition; −1: the cluster's default.
    pub replication_factor: i16,
    /// Topic configs that differ from the cluster's defaults.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the cluster's default replication and configs.
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions, replication_factor: -1, configs: BTreeMap::new() }
    }

    /// The same with one more config.
    pub fn with_config(mut self, name: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// Creates topics; for each its outcome. With `validate_only` nothing is created.
///
/// # Errors
/// The request as a whole failed; [`ClientError::OutcomeUnknown`] when it may have been carried out.
pub async fn create_topics(
    client: &Client,
    topics: &[NewTopic],
    validate_only: bool,
) -> Result<Each<String, ()>, ClientError> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics.iter().map(creatable).collect())
        .with_timeout_ms(timeout_ms(client))
        .with_validate_only(validate_only);
    let answer = client.send(To::Controller, request).await?;
    let outcomes = answer.topics.iter().map(|topic| {
        let words = topic.error_message.as_ref().map(StrBytes::as_str);
        let name = topic.name.to_string();
        let outcome = outcome_with_words("CreateTopics", &name, (topic.error_code, words), ());
        (name, outcome)
    });
    Ok(outcomes.collect())
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(name(topic.name.clone()))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(configs.collect())
}

/// Creates one topic and waits until each partition has a leader.
///
/// # Errors
/// As [`create_topics`]; `TopicAlreadyExists` when it exists.
pub async fn create_topic(client: &Client, topic: NewTopic) -> Result<(), ClientError> {
    let created = create_topics(client, std::slice::from_ref(&topic), false).await?;
    for outcome in created.into_values() {
        outcome?;
    }
    client
        .retrying(|| async {
            let metadata = client.metadata(&[&topic.name]).await.map_err(Failure::Permanent)?;
            let ready = metadata.topics.get(&topic.name).is_some_and(|found| {
                let wanted = usize::try_from(topic.partitions).unwrap_or(1);
                found.error.is_none()
                    && found.partitions.len() >= wanted
                    && found.partitions.iter().all(|partition| partition.leader.is_some())
            });
            let missing =
                || ClientError::NoBroker { what: format!("a leader of each partition of {}", topic.name) };
            if ready { Ok(()) } else { Err(Failure::Transient(missing())) }
        })
        .await
}

/// Deletes topics; for each its outcome.
///
/// # Errors
/// As [`create_topics`].
pub async fn delete_topics<T: AsRef<str>>(
    client: &Client,
    topics: &[T],
) -> Result<Each<String, ()>, ClientError> {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(topics.iter().map(|topic| name(topic.as_ref().to_owned())).collect())
        .with_timeout_ms(timeout_ms(client));
    let answer = client.send(To::Controller, request).await?;
    let outcomes = answer.responses.iter().map(|topic| {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let words = topic.error_message.as_ref().map(StrBytes::as_str);
        let outcome = outcome_with_words("DeleteTopics", &name, (topic.error_code, words), ());
        (name, outcome)
    });
    Ok(outcomes.collect())
}

/// Grows a topic to `total` partitions.
///
/// # Errors
/// As [`create_topics`]; `InvalidPartitions` when it has as many already.
pub async fn create_partitions(client: &Client, topic: &str, total: i32) -> Result<(), ClientError> {
    let growth = CreatePartitionsTopic::default()
        .with_name(name(topic.to_owned()))
        .with_count(total)
        .with_assignments(None);
    let request =
        CreatePartitionsRequest::default().with_topics(vec![growth]).with_timeout_ms(timeout_ms(client));
    let answer = client.send(To::Controller, request).await?;
    for result in &answer.results {
        let words = result.error_message.as_ref().map(StrBytes::as_str);
        outcome_with_words("CreatePartitions", &topic, (result.error_code, words), ())?;
    }
    Ok(())
}
