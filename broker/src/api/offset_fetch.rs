//! OffsetFetch: consumer groups, answered by [`crate::group`].

use futures::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::topics::topic_name;
use crate::group::FetchedTopic;
use crate::group::records::OffsetRecord;
use crate::server::{ClientContext, Shared};

/// From this version on one request asks for many groups (KIP-709).
const BATCHED_SINCE: i16 = 8;
/// From this version on an error of the group has a field of its own.
const GROUP_ERROR_SINCE: i16 = 2;
/// From this version on a null list of topics asks for all.
const ALL_SINCE: i16 = 2;

/// Answers one OffsetFetch request. `require_stable` needs nothing here: no transactional commit can be pending,
/// because transactions can't start on this broker yet.
pub async fn handle(
    broker: &Shared,
    ctx: &ClientContext,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if version >= BATCHED_SINCE {
        let groups = request.groups.iter().map(|group| fetch_group(broker, ctx, group));
        return OffsetFetchResponse::default().with_groups(join_all(groups).await);
    }
    let asked = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect::<Vec<_>>()
    });
    let asked = if version >= ALL_SINCE { asked } else { Some(asked.unwrap_or_default()) };
    match broker.groups.fetch(ctx, &request.group_id, asked.clone()).await {
        Ok(topics) => OffsetFetchResponse::default().with_topics(topics.into_iter().map(topic).collect()),
        Err(error) if version >= GROUP_ERROR_SINCE => {
            OffsetFetchResponse::default().with_error_code(error.code())
        }
        Err(error) => refused(asked.unwrap_or_default(), error),
    }
}

async fn fetch_group(
    broker: &Shared,
    ctx: &ClientContext,
    asked: &OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let topics = asked.topics.as_ref().map(|topics| {
        topics.iter().map(|topic| (topic.name.to_string(), topic.partition_indexes.clone())).collect()
    });
    let response = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    match broker.groups.fetch(ctx, &asked.group_id, topics).await {
        Ok(topics) => response.with_topics(topics.into_iter().map(batched_topic).collect()),
        Err(error) => response.with_error_code(error.code()),
    }
}

/// Nothing committed reads as offset −1 with empty metadata, and is no error.
fn position(value: Option<OffsetRecord>) -> (i64, i32, Option<StrBytes>) {
    match value {
        Some(value) => (value.offset, value.leader_epoch, Some(StrBytes::from_string(value.metadata))),
        None => (-1, -1, Some(StrBytes::default())),
    }
}

fn topic((name, partitions): FetchedTopic) -> OffsetFetchResponseTopic {
    let partitions = partitions.into_iter().map(|(index, value)| {
        let (offset, epoch, metadata) = position(value);
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata)
    });
    OffsetFetchResponseTopic::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
}

fn batched_topic((name, partitions): FetchedTopic) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, value)| {
        let (offset, epoch, metadata) = position(value);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata)
    });
    OffsetFetchResponseTopics::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
}

/// Version 1 has only the partitions to say it with.
fn refused(asked: Vec<(String, Vec<i32>)>, error: ResponseError) -> OffsetFetchResponse {
    let topics = asked.into_iter().map(|(name, indexes)| {
        let partitions = indexes.into_iter().map(|index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::default()))
                .with_error_code(error.code())
        });
        OffsetFetchResponseTopic::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}
