//! DescribeProducers: who writes to a partition, and whose transaction is open (KIP-664).

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::topics::partition_by_name;
use crate::metadata::Image;
use crate::partition::ProducerRow;
use crate::server::{ClientContext, Shared};

/// Answers one DescribeProducers request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = broker.metadata.image();
    let topics = request.topics.into_iter().map(|topic| describe(broker, &image, topic));
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn describe(broker: &Shared, image: &Image, topic: TopicRequest) -> TopicResponse {
    let partitions = topic.partition_indexes.iter().map(|index| {
        let response = PartitionResponse::default().with_partition_index(*index);
        match partition_by_name(broker, image, &topic.name, *index) {
            Ok(partition) => {
                response.with_active_producers(partition.producers().into_iter().map(producer).collect())
            }
            Err(error) => response.with_error_code(error.code()),
        }
    });
    TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
}

fn producer(row: ProducerRow) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(row.producer_id))
        .with_producer_epoch(i32::from(row.producer_epoch))
        .with_last_sequence(row.last_sequence)
        .with_last_timestamp(row.last_timestamp_ms)
        .with_coordinator_epoch(row.coordinator_epoch)
        .with_current_txn_start_offset(row.transaction_start)
}
