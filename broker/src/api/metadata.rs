//! Metadata: brokers, topics, partitions and their leaders.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::create_topics;
use super::topics::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, node_id, topic_name};
use crate::metadata::{Image, TopicImage};
use crate::server::{ClientContext, Shared};

/// Answers one Metadata request. An unknown topic is created when client and configuration both allow it.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let view = View {
        broker,
        version,
        // Before version 4 a client could not say: asking was creating.
        create: broker.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation),
        operations: if request.include_topic_authorized_operations {
            TOPIC_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
    };
    let image = broker.metadata.image();
    let all = match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let topics = if all {
        image.topics_by_name.values().map(|topic| view.known(topic)).collect()
    } else {
        view.named(&image, request.topics.unwrap_or_default()).await
    };
    let operations = request.include_cluster_authorized_operations;
    MetadataResponse::default()
        .with_brokers(Vec::from([this_broker(broker)]))
        .with_cluster_id(Some(StrBytes::from_string(image.cluster_id.clone())))
        .with_controller_id(node_id(broker))
        .with_topics(topics)
        .with_cluster_authorized_operations(if operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        })
}

fn this_broker(broker: &Shared) -> MetadataResponseBroker {
    let (host, port) = &broker.advertised;
    MetadataResponseBroker::default()
        .with_node_id(node_id(broker))
        .with_host(StrBytes::from_string(host.clone()))
        .with_port(i32::from(*port))
        .with_rack(broker.config.rack.clone().map(StrBytes::from_string))
}

struct View<'a> {
    broker: &'a Shared,
    version: i16,
    create: bool,
    operations: i32,
}

impl View<'_> {
    async fn named(&self, image: &Image, asked: Vec<MetadataRequestTopic>) -> Vec<MetadataResponseTopic> {
        let mut topics = Vec::with_capacity(asked.len());
        for topic in asked {
            topics.push(match &topic.name {
                Some(name) => self.by_name(image, name).await,
                None => self.by_id(image, &topic),
            });
        }
        topics
    }

    fn by_id(&self, image: &Image, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
        match image.topic_by_id(asked.topic_id) {
            Some(topic) => self.known(topic),
            None => self.unknown(None, ResponseError::UnknownTopicId).with_topic_id(asked.topic_id),
        }
    }

    async fn by_name(&self, image: &Image, name: &TopicName) -> MetadataResponseTopic {
        if let Some(topic) = image.topic(name) {
            return self.known(topic);
        }
        if let Err(error) = crate::metadata::validate_topic_name(name) {
            tracing::debug!(%error, "metadata of an invalid topic name");
            return self.unknown(Some(name), ResponseError::InvalidTopicException);
        }
        if !self.create {
            return self.unknown(Some(name), ResponseError::UnknownTopicOrPartition);
        }
        match create_topics::create_on_demand(self.broker, name).await {
            Ok(topic) => self.known(&topic),
            Err(refused) => self.unknown(Some(name), refused.error),
        }
    }

    fn known(&self, topic: &TopicImage) -> MetadataResponseTopic {
        let node = node_id(self.broker);
        let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(node)
                .with_leader_epoch(if self.version >= 7 { partition.leader_epoch } else { -1 })
                .with_replica_nodes(Vec::from([node]))
                .with_isr_nodes(Vec::from([node]))
        });
        MetadataResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_topic_id(topic.id)
            .with_is_internal(topic.internal)
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(self.operations)
    }

    fn unknown(&self, name: Option<&TopicName>, error: ResponseError) -> MetadataResponseTopic {
        // Null names exist from version 12 on.
        let name = name.cloned().or_else(|| (self.version < 12).then(TopicName::default));
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(name)
            .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
    }
}
