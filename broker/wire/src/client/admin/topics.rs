//! Topics: create, grow, delete.

use std::collections::BTreeMap;

use super::Each;
use crate::client::{Client, ClientError};

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
    _client: &Client,
    _topics: &[NewTopic],
    _validate_only: bool,
) -> Result<Each<String, ()>, ClientError> {
    unimplemented!("admin verb")
}

/// Creates one topic and waits until each partition has a leader.
///
/// # Errors
/// As [`create_topics`]; `TopicAlreadyExists` when it exists.
pub async fn create_topic(_client: &Client, _topic: NewTopic) -> Result<(), ClientError> {
    unimplemented!("admin verb")
}

/// Deletes topics; for each its outcome.
///
/// # Errors
/// As [`create_topics`].
pub async fn delete_topics<T: AsRef<str>>(
    _client: &Client,
    _topics: &[T],
) -> Result<Each<String, ()>, ClientError> {
    unimplemented!("admin verb")
}

/// Grows a topic to `total` partitions.
///
/// # Errors
/// As [`create_topics`]; `InvalidPartitions` when it has as many already.
pub async fn create_partitions(_client: &Client, _topic: &str, _total: i32) -> Result<(), ClientError> {
    unimplemented!("admin verb")
}
