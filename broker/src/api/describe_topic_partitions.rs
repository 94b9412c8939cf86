//! DescribeTopicPartitions: topics in pages (KIP-966).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::topics::{TOPIC_OPERATIONS, node_id, topic_name};
use crate::metadata::{Image, PartitionImage};
use crate::server::{ClientContext, Shared};

/// Most partitions of one page, whatever the client asks for (Kafka's
/// `max.request.partition.size.limit`).
const PAGE_PARTITIONS_MAX: usize = 2_000;

/// Answers one DescribeTopicPartitions request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = broker.metadata.image();
    let mut names: Vec<String> = match request.topics.is_empty() {
        true => image.topics_by_name.keys().cloned().collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let mut first = 0;
    if let Some(cursor) = &request.cursor {
        names.retain(|name| name.as_str() >= cursor.topic_name.as_str());
        let resumes = names.first().is_some_and(|name| **name == *cursor.topic_name.as_str());
        first = if resumes { usize::try_from(cursor.partition_index).unwrap_or(0) } else { 0 };
    }
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0);
    page(broker, &image, &names, first, asked.clamp(1, PAGE_PARTITIONS_MAX))
}

/// Describes `names` in order, the first of them from partition `first` on, up to `room` partitions.
fn page(
    broker: &Shared,
    image: &Image,
    names: &[String],
    mut first: usize,
    mut room: usize,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if room == 0 {
            response.next_cursor = Some(cursor(name, first));
            break;
        }
        let topic = DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic_name(name)));
        let Some(found) = image.topic(name) else {
            let error = match crate::metadata::validate_topic_name(name) {
                Ok(()) => ResponseError::UnknownTopicOrPartition,
                Err(_) => ResponseError::InvalidTopicException,
            };
            response.topics.push(topic.with_error_code(error.code()));
            continue;
        };
        let shown: Vec<_> = (first..found.partitions.len())
            .take(room)
            .map(|index| describe(broker, index, &found.partitions[index]))
            .collect();
        let next = first + shown.len();
        room -= shown.len();
        response.topics.push(
            topic
                .with_topic_id(found.id)
                .with_is_internal(found.internal)
                .with_topic_authorized_operations(TOPIC_OPERATIONS)
                .with_partitions(shown),
        );
        if next < found.partitions.len() {
            response.next_cursor = Some(cursor(name, next));
            break;
        }
        first = 0;
    }
    response
}

fn cursor(name: &str, partition: usize) -> Cursor {
    Cursor::default().with_topic_name(topic_name(name)).with_partition_index(partition as i32)
}

fn describe(
    broker: &Shared,
    index: usize,
    partition: &PartitionImage,
) -> DescribeTopicPartitionsResponsePartition {
    let node = node_id(broker);
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index as i32)
        .with_leader_id(node)
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(Vec::from([node]))
        .with_isr_nodes(Vec::from([node]))
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
