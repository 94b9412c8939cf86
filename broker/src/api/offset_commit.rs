//! OffsetCommit: consumer groups, answered by [`crate::group`].

use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::group::{Commit, CommittedOffset};
use crate::server::{ClientContext, Shared};

/// Versions 2 to 4 carry a retention time.
const RETENTION_UNTIL: i16 = 4;

/// Answers one OffsetCommit request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let positions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| CommittedOffset {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata.as_ref().map(|text| text.to_string()).unwrap_or_default(),
        })
    });
    let commit = Commit {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
        generation: request.generation_id_or_member_epoch,
        retention_ms: if version <= RETENTION_UNTIL { request.retention_time_ms } else { -1 },
        offsets: positions.collect(),
    };
    let mut results = broker.groups.commit(&request.group_id, commit).await.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            // One result for each position, in their order.
            let result = results.next().unwrap_or(Ok(()));
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(result.err().map_or(0, |error| error.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
