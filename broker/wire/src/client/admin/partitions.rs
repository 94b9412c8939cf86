//! Offsets of partitions: list, look up by time or epoch, delete before.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::Request;

use super::fan_out::{by_topic, each, outcome, to_leader};
use super::{CONSUMER, Each, name, timeout_ms};
use crate::client::{Client, ClientError, TopicPartition};

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    ReadCommittedLatest,
    /// The record with the highest timestamp (KIP-734, Kafka 3.0).
    MaxTimestamp,
    /// The first record at or after this time, in UTC milliseconds.
    At(i64),
}

/// An offset found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; −1 when no record is at or after the time asked for.
    pub offset: i64,
    /// The record's timestamp; −1 where none belongs to it.
    pub timestamp_ms: i64,
    /// The leader epoch of the record; −1 when unknown.
    pub leader_epoch: i32,
}

/// Where an epoch ends on the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked for; −1 when there is none.
    pub leader_epoch: i32,
    /// The offset after its last record; −1 when there is none.
    pub end_offset: i64,
}

/// One offset of each partition; one request per broker.
///
/// # Errors
/// No leader could be asked at all; otherwise each partition has its own outcome.
pub async fn list_offsets(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Each<TopicPartition, ListedOffset>, ClientError> {
    let items = partitions.iter().map(|id| (id.clone(), ())).collect();
    each(client, ListOffsetsRequest::KEY, items, to_leader, |connection, items| async move {
        let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, ())| {
                ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(spec.timestamp())
            });
            ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.collect())
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(CONSUMER)
            .with_isolation_level(i8::from(spec == OffsetSpec::ReadCommittedLatest))
            .with_topics(topics.collect());
        let answer = connection.send(request).await?;
        let mut outcomes = Vec::new();
        for topic in &answer.topics {
            for part in &topic.partitions {
                let id = TopicPartition::new(topic.name.as_str(), part.partition_index);
                let found = ListedOffset {
                    offset: part.offset,
                    timestamp_ms: part.timestamp,
                    leader_epoch: part.leader_epoch,
                };
                let found = outcome("ListOffsets", &id, part.error_code, found);
                outcomes.push((id, found));
            }
        }
        Ok(outcomes)
    })
    .await
}

/// [`list_offsets`] of one partition.
///
/// # Errors
/// The partition's error.
pub async fn list_offset(
    client: &Client,
    partition: &TopicPartition,
    spec: OffsetSpec,
) -> Result<ListedOffset, ClientError> {
    let found = list_offsets(client, std::slice::from_ref(partition), spec).await?;
    found.into_values().next().unwrap_or_else(|| Err(ClientError::NoBroker { what: partition.to_string() }))
}

/// Ends of leader epochs (KIP-320), one request per broker.
///
/// # Errors
/// As [`list_offsets`].
pub async fn epoch_ends(
    client: &Client,
    partitions: &[(TopicPartition, i32)],
) -> Result<Each<TopicPartition, EpochEnd>, ClientError> {
    let key = OffsetForLeaderEpochRequest::KEY;
    each(client, key, partitions.to_vec(), to_leader, |connection, items| async move {
        let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, epoch)| {
                OffsetForLeaderPartition::default()
                    .with_partition(index)
                    .with_current_leader_epoch(-1)
                    .with_leader_epoch(epoch)
            });
            OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(partitions.collect())
        });
        let request =
            OffsetForLeaderEpochRequest::default().with_replica_id(CONSUMER).with_topics(topics.collect());
        let answer = connection.send(request).await?;
        let mut outcomes = Vec::new();
        for topic in &answer.topics {
            for part in &topic.partitions {
                let id = TopicPartition::new(topic.topic.as_str(), part.partition);
                let end = EpochEnd { leader_epoch: part.leader_epoch, end_offset: part.end_offset };
                let end = outcome("OffsetForLeaderEpoch", &id, part.error_code, end);
                outcomes.push((id, end));
            }
        }
        Ok(outcomes)
    })
    .await
}

/// Deletes records before an offset (−1: all); answers with each partition's log start offset after it.
///
/// # Errors
/// As [`list_offsets`].
pub async fn delete_records(
    client: &Client,
    before: &[(TopicPartition, i64)],
) -> Result<Each<TopicPartition, i64>, ClientError> {
    let timeout_ms = timeout_ms(client);
    let key = DeleteRecordsRequest::KEY;
    each(client, key, before.to_vec(), to_leader, |connection, items| async move {
        let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, offset)| {
                DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
            });
            DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(partitions.collect())
        });
        let request =
            DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(timeout_ms);
        let answer = connection.send(request).await?;
        let mut outcomes = Vec::new();
        for topic in &answer.topics {
            for part in &topic.partitions {
                let id = TopicPartition::new(topic.name.as_str(), part.partition_index);
                let start = outcome("DeleteRecords", &id, part.error_code, part.low_watermark);
                outcomes.push((id, start));
            }
        }
        Ok(outcomes)
    })
    .await
}

impl OffsetSpec {
    /// As ListOffsets writes it (`ListOffsetsRequest.java`).
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest | OffsetSpec::ReadCommittedLatest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::At(ms) => ms,
        }
    }
}
