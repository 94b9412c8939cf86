//! ListOffsets: earliest, latest, by time, of the largest timestamp.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::topics::{check_leader_epoch, partition_by_name};
use crate::metadata::Image;
use crate::partition::{Isolation, OffsetAndTime, Partition, ReadError};
use crate::server::{ClientContext, Shared};

/// Timestamps that ask for a place instead (Kafka's `ListOffsetsRequest`).
mod place {
    pub const LATEST: i64 = -1;
    pub const EARLIEST: i64 = -2;
    pub const MAX_TIMESTAMP: i64 = -3;
}

/// Answers one ListOffsets request.
pub async fn handle(
    broker: &Shared,
    _ctx: &ClientContext,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let image = broker.metadata.image();
    // Isolation exists from version 2 on.
    let isolation = if version >= 2 && request.isolation_level == 1 {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let found = find(broker, &image, &topic.name, &asked, isolation).await;
            partitions.push(response(&asked, found, version));
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn response(
    asked: &ListOffsetsPartition,
    found: Result<Option<OffsetAndTime>, i16>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_offset(-1)
        .with_timestamp(-1)
        .with_leader_epoch(-1);
    match found {
        Ok(None) => response,
        Ok(Some(found)) => response
            .with_offset(found.offset)
            .with_timestamp(found.timestamp_ms)
            .with_leader_epoch(if version >= 4 { found.leader_epoch } else { -1 }),
        Err(code) => response.with_error_code(code),
    }
}

async fn find(
    broker: &Shared,
    image: &Image,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<OffsetAndTime>, i16> {
    let partition =
        partition_by_name(broker, image, topic, asked.partition_index).map_err(|error| error.code())?;
    check_leader_epoch(&partition, asked.current_leader_epoch).map_err(|error| error.code())?;
    let found = match asked.timestamp {
        place::LATEST => return Ok(Some(latest(&partition, isolation))),
        place::EARLIEST => return Ok(Some(earliest(&partition))),
        place::MAX_TIMESTAMP => partition.max_timestamp().await,
        timestamp if timestamp >= 0 => partition.offset_for_time(timestamp).await,
        // Places of tiered storage are advertised by no version in the table.
        _ => return Err(ResponseError::UnsupportedVersion.code()),
    };
    let found = found.map_err(|error| note(&error))?;
    // A record that this reader may not see yet does not count as found.
    Ok(found.filter(|found| found.offset < bound(&partition, isolation)))
}

fn note(error: &ReadError) -> i16 {
    tracing::warn!(%error, "an offset could not be looked up");
    error.code()
}

fn bound(partition: &Partition, isolation: Isolation) -> i64 {
    let offsets = partition.offsets();
    match isolation {
        Isolation::ReadUncommitted => offsets.high_watermark,
        Isolation::ReadCommitted => offsets.last_stable,
    }
}

fn latest(partition: &Partition, isolation: Isolation) -> OffsetAndTime {
    OffsetAndTime {
        offset: bound(partition, isolation),
        timestamp_ms: -1,
        leader_epoch: partition.leader_epoch(),
    }
}

fn earliest(partition: &Partition) -> OffsetAndTime {
    // No epoch: the first batch may be gone, and to claim another one makes a client look for a truncation.
    OffsetAndTime { offset: partition.offsets().log_start, timestamp_ms: -1, leader_epoch: -1 }
}
