//! OffsetForLeaderEpoch: where an epoch ended, for clients that look for a truncation (KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::topics::{check_leader_epoch, partition_by_name};
use crate::metadata::Image;
use crate::server::{ClientContext, Shared};

/// Answers one OffsetForLeaderEpoch request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = broker.metadata.image();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions =
            topic.partitions.iter().map(|asked| end(broker, &image, &topic.topic, asked)).collect();
        OffsetForLeaderTopicResult::default().with_partitions(partitions).with_topic(topic.topic)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn end(broker: &Shared, image: &Image, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = partition_by_name(broker, image, topic, asked.partition).and_then(|partition| {
        check_leader_epoch(&partition, asked.current_leader_epoch)?;
        Ok(partition.epoch_end(asked.leader_epoch))
    });
    let response =
        EpochEndOffset::default().with_partition(asked.partition).with_leader_epoch(-1).with_end_offset(-1);
    match found {
        Ok((epoch, end)) => response.with_leader_epoch(epoch).with_end_offset(end),
        Err(error) => response.with_error_code(error.code()),
    }
}
