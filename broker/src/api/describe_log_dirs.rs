//! DescribeLogDirs: the store is this broker's one log directory.

use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;

use super::topics::topic_name;
use crate::metadata::TopicImage;
use crate::server::{ClientContext, Shared};

/// Size of a volume that nobody knows, as Kafka says it.
const UNKNOWN_BYTES: i64 = -1;

/// Answers one DescribeLogDirs request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let image = broker.metadata.image();
    let topics = match request.topics {
        None => image.topics_by_name.values().map(|topic| describe(broker, topic, None)).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                let topic: &Arc<TopicImage> = image.topic(&asked.topic)?;
                Some(describe(broker, topic, Some(&asked.partitions)))
            })
            .collect(),
    };
    let mut store = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(broker.store_url.clone()))
        .with_topics(topics);
    if version >= 4 {
        store = store.with_total_bytes(UNKNOWN_BYTES).with_usable_bytes(UNKNOWN_BYTES);
    }
    DescribeLogDirsResponse::default().with_results(Vec::from([store]))
}

fn describe(broker: &Shared, topic: &TopicImage, asked: Option<&[i32]>) -> DescribeLogDirsTopic {
    let indexes =
        (0..topic.partitions.len() as i32).filter(|index| asked.is_none_or(|asked| asked.contains(index)));
    let partitions = indexes.filter_map(|index| {
        let size_bytes = broker.partitions.get(topic.id, index)?.size_bytes();
        Some(
            DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(size_bytes as i64),
        )
    });
    DescribeLogDirsTopic::default().with_name(topic_name(&topic.name)).with_partitions(partitions.collect())
}
