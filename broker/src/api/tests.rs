//! The APIs over TCP, with an embedded broker: what clients send, and what they must get.

mod fetch;
mod mirror;
mod object_wal;
mod produce;
mod topics;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;
use towpath_wire::batch::BatchBuilder;

use crate::config::Limits;
use crate::server::Broker;
use crate::server::tests::{RawClient, broker};

/// 2025-01-01.
const NOW_MS: i64 = 1_735_689_600_000;

/// A broker with the topic `orders` of two partitions, and a connection to it.
async fn shop() -> (Broker, RawClient, TempDir) {
    let (broker, directory) = broker(Limits::default()).await;
    let mut client = RawClient::connect(&broker).await;
    create(&mut client, "orders", 2).await;
    (broker, client, directory)
}

async fn create(client: &mut RawClient, topic: &'static str, partitions: i32) {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(Vec::from([topic])).with_timeout_ms(10_000);
    let response = client.call(7, &request).await.unwrap();
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
}

fn name(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

/// A batch of `count` records with a value of `value_bytes` each, one ms apart.
fn batch(count: i64, value_bytes: usize) -> BytesMut {
    let mut batch = BatchBuilder::new(0);
    for record in 0..count {
        batch.append(NOW_MS + record, Some(b"key"), Some(&vec![b'v'; value_bytes]), &[]);
    }
    batch.build().unwrap()
}

fn produce_request(topic: TopicName, partition: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(partition).with_records(records);
    let topic = TopicProduceData::default().with_name(topic).with_partition_data(Vec::from([partition]));
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(Vec::from([topic]))
}

async fn produce(client: &mut RawClient, partition: i32, records: BytesMut) -> PartitionProduceResponse {
    let request = produce_request(name("orders"), partition, -1, Some(records.freeze()));
    let mut response = client.call(9, &request).await.unwrap();
    response.responses.remove(0).partition_responses.remove(0)
}
