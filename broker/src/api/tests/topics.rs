use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest, alter_configs_request,
    delete_topics_request, describe_configs_request, describe_topic_partitions_request, metadata_request,
};

use super::*;
use crate::metadata::config::MIRROR_LINK;

fn topic(topic: &'static str) -> CreatableTopic {
    CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1)
}

fn assigned(brokers: &[i32]) -> Vec<CreatableReplicaAssignment> {
    let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
    Vec::from([CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(brokers)])
}

fn config(key: &'static str, value: &'static str) -> Vec<CreatableTopicConfig> {
    let (key, value) = (StrBytes::from_static_str(key), StrBytes::from_static_str(value));
    Vec::from([CreatableTopicConfig::default().with_name(key).with_value(Some(value))])
}

#[tokio::test]
async fn topics_that_kafka_would_refuse_are_refused_and_the_others_created() {
    let (broker, mut client, _directory) = shop().await;
    let by_hand = |brokers: &[i32]| {
        topic("by-hand")
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assigned(brokers))
    };
    let cases = [
        (topic("orders"), Some(ResponseError::TopicAlreadyExists)),
        (topic("a b"), Some(ResponseError::InvalidTopicException)),
        (topic("none").with_num_partitions(0), Some(ResponseError::InvalidPartitions)),
        (topic("three").with_replication_factor(3), Some(ResponseError::InvalidReplicationFactor)),
        (topic("key").with_configs(config("no.such.key", "1")), Some(ResponseError::InvalidConfig)),
        (topic("value").with_configs(config("retention.ms", "soon")), Some(ResponseError::InvalidConfig)),
        (by_hand(&[2]), Some(ResponseError::InvalidReplicaAssignment)),
        (by_hand(&[1]).with_num_partitions(1), Some(ResponseError::InvalidRequest)),
        (by_hand(&[1]), None),
        (topic("kept").with_configs(config("retention.ms", "5000")), None),
    ];
    for (topic, expected) in cases {
        let request = CreateTopicsRequest::default().with_topics(Vec::from([topic]));
        let response = client.call(7, &request).await.unwrap();
        let code = response.topics[0].error_code;
        assert_eq!(code, expected.map_or(0, |error| error.code()), "{:?}", response.topics[0].error_message);
    }
    broker.stop().await;
}

#[tokio::test]
async fn to_validate_only_creates_nothing() {
    let (broker, mut client, _directory) = shop().await;
    let request = CreateTopicsRequest::default().with_topics(Vec::from([topic("later")]));
    for _ in 0..2 {
        let response = client.call(7, &request.clone().with_validate_only(true)).await.unwrap();
        assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 1));
    }
    let twice = request.with_topics(Vec::from([topic("later"), topic("later")]));
    let response = client.call(7, &twice).await.unwrap();
    assert!(response.topics.iter().all(|topic| topic.error_code == ResponseError::InvalidRequest.code()));
    assert!(broker.shared.metadata.image().topic("later").is_none());
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_is_created_on_demand_only_when_broker_and_client_allow_it() {
    let directory = tempfile::tempdir().unwrap();
    for (allowed_here, allowed_there) in [(false, true), (true, false), (true, true)] {
        let config = crate::BrokerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: directory.path().to_owned(),
            auto_create_topics: allowed_here,
            ..crate::BrokerConfig::default()
        };
        let broker = Broker::start(config, towpath_env::Env::real()).await.unwrap();
        let mut client = RawClient::connect(&broker).await;
        let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(name("demand")));
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::from([asked])))
            .with_allow_auto_topic_creation(allowed_there);
        let topic = client.call(9, &request).await.unwrap().topics.remove(0);
        match allowed_here && allowed_there {
            true => assert_eq!((topic.error_code, topic.partitions.len()), (0, 1)),
            false => assert_eq!(topic.error_code, ResponseError::UnknownTopicOrPartition.code()),
        }
        broker.stop().await;
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id_and_the_brokers_own_are_not() {
    let (broker, mut client, _directory) = shop().await;
    create(&mut client, "__consumer_offsets", 1).await;
    create(&mut client, "other", 1).await;
    let other = broker.shared.metadata.image().topic("other").unwrap().id;
    let state = delete_topics_request::DeleteTopicState::default;
    let cases = [
        (state().with_name(Some(name("orders"))), 0),
        (state().with_name(Some(name("orders"))), ResponseError::UnknownTopicOrPartition.code()),
        (state().with_topic_id(other), 0),
        (state().with_topic_id(other), ResponseError::UnknownTopicId.code()),
        (state().with_name(Some(name("__consumer_offsets"))), ResponseError::InvalidTopicException.code()),
    ];
    for (topic, expected) in cases {
        let request = DeleteTopicsRequest::default().with_topics(Vec::from([topic]));
        let response = client.call(6, &request).await.unwrap();
        assert_eq!(response.responses[0].error_code, expected);
    }
    broker.stop().await;
}

async fn value(client: &mut RawClient, key: &str) -> Option<String> {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("orders"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(Vec::from([resource]));
    let response = client.call(4, &request).await.unwrap();
    let found = response.results[0].configs.iter().find(|config| *config.name == *key)?;
    found.value.as_ref().map(|value| value.to_string())
}

#[tokio::test]
async fn configs_are_set_deleted_added_to_and_taken_from() {
    let (broker, mut client, _directory) = shop().await;
    let invalid = ResponseError::InvalidConfig.code();
    let cases = [
        (("retention.ms", 0, Some("77")), 0, Some("77")),
        (("retention.ms", 1, None), 0, Some("604800000")),
        (("cleanup.policy", 2, Some("compact")), 0, Some("delete,compact")),
        (("cleanup.policy", 3, Some("delete")), 0, Some("compact")),
        (("retention.ms", 2, Some("1")), invalid, Some("604800000")),
        (("retention.ms", 0, None), invalid, Some("604800000")),
        (("no.such.key", 0, Some("1")), invalid, None),
    ];
    for ((key, operation, set), expected, after) in cases {
        let config = incremental::AlterableConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_config_operation(operation)
            .with_value(set.map(StrBytes::from_static_str));
        let resource = incremental::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("orders"))
            .with_configs(Vec::from([config]));
        let request = IncrementalAlterConfigsRequest::default().with_resources(Vec::from([resource]));
        let response = client.call(1, &request).await.unwrap();
        assert_eq!(response.responses[0].error_code, expected, "{key} {operation} {set:?}");
        assert_eq!(value(&mut client, key).await.as_deref(), after, "{key} {operation} {set:?}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn to_replace_all_configs_does_not_make_a_mirror_an_ordinary_topic() {
    let (broker, mut client, _directory) = shop().await;
    let mirror =
        topic("mirrored").with_configs([config(MIRROR_LINK, "views"), config("retention.ms", "5")].concat());
    client.call(7, &CreateTopicsRequest::default().with_topics(Vec::from([mirror]))).await.unwrap();
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("mirrored"));
    let request = AlterConfigsRequest::default().with_resources(Vec::from([resource]));
    assert_eq!(client.call(2, &request).await.unwrap().responses[0].error_code, 0);
    let image = broker.shared.metadata.image();
    let topic = image.topic("mirrored").unwrap();
    assert_eq!((topic.mirror.is_some(), topic.configs.contains_key("retention.ms")), (true, false));
    broker.stop().await;
}

#[tokio::test]
async fn pages_of_topics_join_to_all_of_them() {
    let (broker, mut client, _directory) = shop().await;
    create(&mut client, "views", 5).await;
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(3);
    let mut seen = Vec::new();
    loop {
        let page = client.call(0, &request).await.unwrap();
        for topic in &page.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            seen.extend(topic.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
        }
        let Some(next) = page.next_cursor else { break };
        let cursor = describe_topic_partitions_request::Cursor::default()
            .with_topic_name(next.topic_name)
            .with_partition_index(next.partition_index);
        request.cursor = Some(cursor);
    }
    let expected: Vec<_> = (0..2)
        .map(|index| ("orders".to_owned(), index))
        .chain((0..5).map(|index| ("views".to_owned(), index)))
        .collect();
    assert_eq!(seen, expected);
    broker.stop().await;
}
