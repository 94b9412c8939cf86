//! OffsetDelete: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::server::{ClientContext, Shared};

/// Answers one OffsetDelete request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    _version: i16,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let positions: Vec<_> = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|at| (topic.name.to_string(), at.partition_index)))
        .collect();
    let results = match broker.groups.delete_offsets(&request.group_id, &positions).await {
        Ok(results) => results,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
    };
    let mut results = results.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|at| {
            // One result for each position, in their order.
            let result = results.next().unwrap_or(Ok(()));
            OffsetDeleteResponsePartition::default()
                .with_partition_index(at.partition_index)
                .with_error_code(result.err().map_or(0, |error| error.code()))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
