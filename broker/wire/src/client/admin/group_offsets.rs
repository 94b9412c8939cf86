//! Committed offsets of a group: fetch, commit.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use super::fan_out::{by_topic, outcome};
use super::{Each, name, text};
use crate::client::{Client, ClientError, To, TopicPartition};

/// A committed offset, as the coordinator keeps it and as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// The leader epoch it was committed with; −1: none.
    pub leader_epoch: i32,
    /// What the consumer wrote beside it; an empty text is `None`.
    pub metadata: Option<String>,
}

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAs {
    /// Nobody: possible only while the group is empty.
    Outsider,
    /// A member with its generation (or KIP-848 member epoch).
    Member {
        /// Generation or member epoch.
        generation: i32,
        /// The id the coordinator gave.
        member_id: String,
        /// The static member's instance id.
        instance_id: Option<String>,
    },
}

/// All committed offsets of a group. With `require_stable` offsets with a pending transactional commit are waited
/// for, until the request time-out (KIP-447).
///
/// # Errors
/// `UnstableOffsetCommit` when the wait was too long; the group's error.
pub async fn offset_fetch_all(
    client: &Client,
    group: &str,
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    fetch(client, group, None, require_stable).await
}

/// The committed offsets of these partitions; those without a commit are left out.
///
/// # Errors
/// As [`offset_fetch_all`].
pub async fn offset_fetch(
    client: &Client,
    group: &str,
    partitions: &[TopicPartition],
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let items = partitions.iter().map(|id| (id.clone(), ())).collect();
    let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
        let indexes = partitions.into_iter().map(|(index, ())| index).collect();
        OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(indexes)
    });
    fetch(client, group, Some(topics.collect()), require_stable).await
}

async fn fetch(
    client: &Client,
    group: &str,
    topics: Option<Vec<OffsetFetchRequestTopic>>,
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics)
        .with_require_stable(require_stable);
    let answer = client.send(To::Coordinator(group.to_owned()), request).await?;
    outcome("OffsetFetch", &format_args!("group {group}"), answer.error_code, ())?;
    let mut offsets = BTreeMap::new();
    for topic in &answer.topics {
        for part in &topic.partitions {
            let id = TopicPartition::new(topic.name.as_str(), part.partition_index);
            outcome("OffsetFetch", &format_args!("{id} of group {group}"), part.error_code, ())?;
            if part.committed_offset < 0 {
                continue;
            }
            let offset = CommittedOffset {
                offset: part.committed_offset,
                leader_epoch: part.committed_leader_epoch,
                // Kafka keeps no difference between none and empty.
                metadata: part.metadata.as_ref().filter(|text| !text.is_empty()).map(|text| text.to_string()),
            };
            offsets.insert(id, offset);
        }
    }
    Ok(offsets)
}

/// Commits offsets in one request; for each its outcome.
///
/// # Errors
/// The request as a whole failed. Committing is harmless to repeat as long as nobody else commits.
pub async fn offset_commit(
    client: &Client,
    group: &str,
    as_whom: &CommitAs,
    offsets: &BTreeMap<TopicPartition, CommittedOffset>,
) -> Result<Each<TopicPartition, ()>, ClientError> {
    let items = offsets.iter().map(|(id, offset)| (id.clone(), offset)).collect();
    let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset.offset)
                .with_committed_leader_epoch(offset.leader_epoch)
                .with_committed_metadata(Some(text(offset.metadata.as_deref().unwrap_or_default())))
        });
        OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(partitions.collect())
    });
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text(group)));
    let request = match as_whom {
        CommitAs::Outsider => request.with_generation_id_or_member_epoch(-1),
        CommitAs::Member { generation, member_id, instance_id } => request
            .with_generation_id_or_member_epoch(*generation)
            .with_member_id(text(member_id))
            .with_group_instance_id(instance_id.as_deref().map(text)),
    };
    let request = request.with_topics(topics.collect());
    let answer = client.send(To::Coordinator(group.to_owned()), request).await?;
    let mut outcomes = BTreeMap::new();
    for topic in &answer.topics {
        for part in &topic.partitions {
            let id = TopicPartition::new(topic.name.as_str(), part.partition_index);
            let outcome =
                outcome("OffsetCommit", &format_args!("{id} of group {group}"), part.error_code, ());
            outcomes.insert(id, outcome);
        }
    }
    Ok(outcomes)
}
