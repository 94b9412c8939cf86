//! Who answers what: from a [`To`] to a broker and its shared connection. One try each; the callers repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::cache::CoordinatorKind;
use super::cluster::{Broker, ClusterMetadata, PartitionMetadata, TopicMetadata};
use super::connection::Connection;
use super::error::ClientError;
use super::routed::{Client, To};

impl Client {
    /// The shared connection to the broker that `to` names.
    pub(super) async fn shared_connection(&self, to: &To) -> Result<Arc<Connection>, ClientError> {
        match self.resolve(to).await? {
            Some(broker) => self.connect_to(&broker.address).await,
            None => self.any_connection().await,
        }
    }

    /// The broker that `to` names; `None`: any will do.
    pub(super) async fn resolve(&self, to: &To) -> Result<Option<Broker>, ClientError> {
        match to {
            To::Any => Ok(None),
            To::Controller => match self.inner.cache.controller() {
                Some(broker) => Ok(Some(broker)),
                None => {
                    self.refresh(Some(&[])).await?;
                    self.inner.cache.controller().map(Some).ok_or_else(|| unknown("controller".to_owned()))
                }
            },
            To::Broker(id) => self.broker(*id).await.map(Some),
            To::Coordinator(group) => self.coordinator(CoordinatorKind::Group, group).await.map(Some),
            To::TransactionCoordinator(id) => {
                self.coordinator(CoordinatorKind::Transaction, id).await.map(Some)
            }
            To::Leader(topic, partition) => self.leader(topic, *partition).await.map(Some),
        }
    }

    async fn broker(&self, id: i32) -> Result<Broker, ClientError> {
        if let Some(broker) = self.inner.cache.broker(id) {
            return Ok(broker);
        }
        self.refresh(Some(&[])).await?;
        self.inner.cache.broker(id).ok_or_else(|| unknown(format!("broker {id}")))
    }

    /// The leader of a partition, from the cache or asked for.
    pub(super) async fn leader(&self, topic: &str, partition: i32) -> Result<Broker, ClientError> {
        let metadata = self.cached_topic(topic).await?;
        let found = metadata.partitions.iter().find(|found| found.index == partition);
        let Some(found) = found else {
            self.inner.cache.forget_topic(topic);
            let subject = format!("{topic}-{partition}");
            let code = ResponseError::UnknownTopicOrPartition;
            return Err(ClientError::Kafka { api: "Metadata", subject, code, message: None });
        };
        match found.leader {
            Some(leader) => self.broker(leader).await,
            None => {
                self.inner.cache.forget_topic(topic);
                Err(unknown(format!("leader of {topic}-{partition}")))
            }
        }
    }

    /// A topic from the cache, or asked for.
    pub(super) async fn cached_topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        let age_max = self.inner.config.metadata_age_max;
        if let Some(topic) = self.inner.cache.topic(name, self.inner.env.elapsed(), age_max) {
            return Ok(topic);
        }
        let mut answer = self.refresh(Some(&[name])).await?;
        let Some(topic) = answer.topics.remove(name) else {
            return Err(unknown(format!("topic {name}")));
        };
        match topic.error {
            None => Ok(Arc::new(topic)),
            Some(code) => {
                Err(ClientError::Kafka { api: "Metadata", subject: name.to_owned(), code, message: None })
            }
        }
    }

    async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Broker, ClientError> {
        if let Some(broker) = self.inner.cache.coordinator(kind, key) {
            return Ok(broker);
        }
        self.look_up_coordinator(kind, key).await
    }

    /// Asks any broker who coordinates `key`.
    pub(super) async fn look_up_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<Broker, ClientError> {
        let connection = self.any_connection().await?;
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(key.to_owned()))
            .with_key_type(kind as i8);
        let answer = connection.send(request).await?;
        let message = answer.error_message.as_ref().map(StrBytes::as_str);
        ClientError::check("FindCoordinator", || key.to_owned(), answer.error_code, message)?;
        let broker = Broker { id: answer.node_id.0, address: address(&answer.host, answer.port), rack: None };
        self.inner.cache.learn_coordinator(kind, key, broker.clone());
        Ok(broker)
    }

    /// Asks in one go for what the routes need and the cache lacks. What fails here is found out by
    /// [`Client::resolve`].
    pub(super) async fn prepare(&self, routes: &[To]) {
        let (now, age_max) = (self.inner.env.elapsed(), self.inner.config.metadata_age_max);
        let cache = &self.inner.cache;
        let mut topics = BTreeSet::new();
        let mut groups = BTreeSet::new();
        for to in routes {
            match to {
                To::Leader(topic, _) if cache.topic(topic, now, age_max).is_none() => {
                    topics.insert(topic.as_str());
                }
                To::Coordinator(group) if cache.coordinator(CoordinatorKind::Group, group).is_none() => {
                    groups.insert(group.as_str());
                }
                _ => {}
            }
        }
        if topics.len() > 1 {
            let topics: Vec<&str> = topics.into_iter().collect();
            let _ = self.refresh(Some(&topics)).await;
        }
        if groups.len() > 1 {
            let _ = self.look_up_groups(groups.into_iter()).await;
        }
    }

    /// Asks for the coordinators of many groups at once (KIP-699); older brokers are asked one by one later.
    async fn look_up_groups(&self, groups: impl Iterator<Item = &str>) -> Result<(), ClientError> {
        const SEVERAL_KEYS: i16 = 4;
        let connection = self.any_connection().await?;
        let version =
            connection.versions().demand::<FindCoordinatorRequest>(connection.address(), SEVERAL_KEYS)?;
        let keys = groups.map(|group| StrBytes::from_string(group.to_owned())).collect();
        let request = FindCoordinatorRequest::default()
            .with_key_type(CoordinatorKind::Group as i8)
            .with_coordinator_keys(keys);
        let answer = connection.send_version(request, version).await?;
        for found in answer.coordinators.iter().filter(|found| found.error_code == 0) {
            let broker =
                Broker { id: found.node_id.0, address: address(&found.host, found.port), rack: None };
            self.inner.cache.learn_coordinator(CoordinatorKind::Group, &found.key, broker);
        }
        Ok(())
    }

    /// Drops what led to a broker that was the wrong one or is gone.
    pub(super) fn forget(&self, to: &To, metadata: bool, coordinator: bool) {
        let cache = &self.inner.cache;
        match to {
            To::Leader(topic, _) if metadata => cache.forget_topic(topic),
            To::Controller if metadata => cache.forget_controller(),
            To::Coordinator(group) if coordinator => cache.forget_coordinator(CoordinatorKind::Group, group),
            To::TransactionCoordinator(id) if coordinator => {
                cache.forget_coordinator(CoordinatorKind::Transaction, id);
            }
            _ => {}
        }
    }

    /// Asks the cluster and keeps the answer. `None`: about all topics.
    pub(super) async fn refresh(&self, topics: Option<&[&str]>) -> Result<ClusterMetadata, ClientError> {
        let connection = self.any_connection().await?;
        let answer = self.ask_metadata(&connection, topics).await?;
        if answer.brokers.is_empty() {
            // A broker that is only just starting knows no one, not even itself.
            return Err(unknown("any broker".to_owned()));
        }
        self.learn(&answer);
        Ok(answer)
    }

    pub(super) fn learn(&self, answer: &ClusterMetadata) {
        self.inner.cache.learn(answer, self.inner.env.elapsed());
        let bootstrap = &self.inner.config.bootstrap;
        self.inner.pool.retain(|address| {
            bootstrap.iter().any(|known| known == address)
                || answer.brokers.values().any(|broker| broker.address == address)
        });
    }

    pub(super) async fn ask_metadata(
        &self,
        connection: &Connection,
        topics: Option<&[&str]>,
    ) -> Result<ClusterMetadata, ClientError> {
        let topics = topics.map(|names| {
            let topic = |name: &&str| {
                MetadataRequestTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_string((*name).to_owned()))))
            };
            names.iter().map(topic).collect()
        });
        let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        connection.send(request).await.map(read_metadata)
    }

    /// A live connection if there is one, else to the next broker or bootstrap address that answers.
    async fn any_connection(&self) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.inner.pool.any() {
            return Ok(connection);
        }
        let brokers = self.inner.cache.brokers();
        let mut addresses: Vec<&str> = brokers.iter().map(|broker| broker.address.as_str()).collect();
        if !addresses.is_empty() {
            // Clients spread over the brokers; bootstrap addresses are the last resort.
            let first = self.inner.env.random_u64() as usize % addresses.len();
            addresses.rotate_left(first);
        }
        for address in &self.inner.config.bootstrap {
            if !addresses.contains(&address.as_str()) {
                addresses.push(address);
            }
        }
        let mut last = unknown("any broker".to_owned());
        for address in addresses {
            match self.connect_to(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: &str) -> Result<Arc<Connection>, ClientError> {
        self.inner.pool.get(address, &self.inner.config, &self.inner.env).await
    }
}

fn unknown(what: String) -> ClientError {
    ClientError::NoBroker { what }
}

/// `host:port` as this client writes it everywhere.
fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn read_metadata(answer: MetadataResponse) -> ClusterMetadata {
    let brokers = answer.brokers.iter().map(|broker| {
        let id = broker.node_id.0;
        let rack = broker.rack.as_ref().map(|rack| rack.to_string());
        (id, Broker { id, address: address(&broker.host, broker.port), rack })
    });
    let topics = answer.topics.iter().filter_map(|topic| {
        let name = topic.name.as_ref()?;
        Some((name.to_string(), read_topic(topic)))
    });
    ClusterMetadata {
        cluster_id: answer.cluster_id.as_ref().map(|id| id.to_string()).unwrap_or_default(),
        brokers: brokers.collect(),
        controller: node(answer.controller_id),
        topics: topics.collect::<BTreeMap<_, _>>(),
    }
}

fn read_topic(topic: &MetadataResponseTopic) -> TopicMetadata {
    let mut partitions: Vec<_> = topic.partitions.iter().map(read_partition).collect();
    partitions.sort_by_key(|partition| partition.index);
    TopicMetadata {
        topic_id: topic.topic_id,
        internal: topic.is_internal,
        error: ResponseError::try_from_code(topic.error_code),
        partitions,
    }
}

fn read_partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    PartitionMetadata {
        index: partition.partition_index,
        leader: node(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
        in_sync: partition.isr_nodes.iter().map(|id| id.0).collect(),
        error: ResponseError::try_from_code(partition.error_code),
    }
}

/// −1 stands for none.
fn node(id: BrokerId) -> Option<i32> {
    (id.0 >= 0).then_some(id.0)
}
