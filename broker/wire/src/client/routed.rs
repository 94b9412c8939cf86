//! The client itself: one per cluster, cheap to clone.

use std::sync::Arc;

use kafka_protocol::protocol::Request;
use towpath_env::Env;

use super::cluster::{Broker, ClusterMetadata, TopicMetadata};
use super::config::ClientConfig;
use super::connection::Connection;
use super::error::ClientError;

/// Which broker a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Any broker.
    Any,
    /// The controller (KRaft brokers forward to it).
    Controller,
    /// The broker of this id.
    Broker(i32),
    /// The coordinator of this consumer group.
    Coordinator(String),
    /// The coordinator of this transactional id.
    TransactionCoordinator(String),
    /// The leader of this topic and partition.
    Leader(String, i32),
}

/// A client of one cluster.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    #[expect(dead_code)]
    config: ClientConfig,
    #[expect(dead_code)]
    env: Env,
}

#[expect(clippy::unimplemented, unused_variables)]
impl Client {
    /// Connects to the first bootstrap address that answers and learns the cluster from it.
    ///
    /// # Errors
    /// The last address's error; each address is tried once.
    pub async fn connect(config: ClientConfig, env: Env) -> Result<Client, ClientError> {
        config.validate()?;
        unimplemented!("connect")
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> String {
        unimplemented!("cluster_id")
    }

    /// The brokers as last seen.
    pub fn brokers(&self) -> Vec<Broker> {
        unimplemented!("brokers")
    }

    /// The controller's broker id as last seen.
    pub fn controller(&self) -> Option<i32> {
        unimplemented!("controller")
    }

    /// Asks the cluster about these topics, now; unknown ones come back with their error. None is created.
    ///
    /// # Errors
    /// No broker answered within the request time-out.
    pub async fn metadata<T: AsRef<str>>(&self, topics: &[T]) -> Result<ClusterMetadata, ClientError> {
        unimplemented!("metadata")
    }

    /// Asks the cluster about all topics, now.
    ///
    /// # Errors
    /// As [`Client::metadata`].
    pub async fn metadata_all(&self) -> Result<ClusterMetadata, ClientError> {
        unimplemented!("metadata_all")
    }

    /// One topic from the cache, asked for when missing or old.
    ///
    /// # Errors
    /// As [`Client::metadata`]; [`ClientError::Kafka`] when the topic does not exist.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        unimplemented!("topic")
    }

    /// Sends a request in the highest version that both sides know, to the right broker, and repeats it within
    /// the request time-out while the answer is one that Kafka calls retriable or the way is interrupted and
    /// repeating is harmless. When time runs out the last answer is handed back with its error codes.
    ///
    /// An answer about several partitions is repeated only when all of them failed retriably.
    ///
    /// # Errors
    /// Never an error code inside the response: that is the caller's to read.
    pub async fn send<R: Request + 'static>(&self, to: To, request: R) -> Result<R::Response, ClientError> {
        unimplemented!("send")
    }

    /// [`Client::send`] in a version that the caller chose.
    ///
    /// # Errors
    /// As [`Client::send`]; [`ClientError::Unsupported`] when the broker does not offer the version.
    pub async fn send_version<R: Request + 'static>(
        &self,
        to: To,
        request: R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        unimplemented!("send_version")
    }

    /// A new connection of the caller's own, for long polls, pipelines and requests that a broker holds.
    ///
    /// # Errors
    /// The way to that broker could not be found or made; one try.
    pub async fn connection(&self, to: To) -> Result<Arc<Connection>, ClientError> {
        unimplemented!("connection")
    }

    /// Whether every broker asked so far offers this version of an API.
    pub fn supports(&self, api_key: i16, version: i16) -> bool {
        unimplemented!("supports")
    }

    /// Drops all connections. Later calls make new ones.
    pub fn close(&self) {
        unimplemented!("close")
    }
}
