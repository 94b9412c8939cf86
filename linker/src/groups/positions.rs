//! What a group has committed, and where partitions begin and end.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use towpath_plans::transition::{PartitionBounds, Position};
use towpath_wire::client::admin::{CommittedOffset, OffsetSpec, list_offsets, offset_fetch_all};
use towpath_wire::client::{Client, TopicPartition};

use crate::error::{LinkerError, Side};

/// Committed offsets by partition.
pub type Committed = BTreeMap<TopicPartition, CommittedOffset>;

/// Everything that `group` has committed on the source. `stable`: pending transactional commits are waited for as
/// long as it takes (KIP-447); the caller bounds the wait.
///
/// # Errors
/// The coordinator cannot be asked, or refuses.
pub async fn committed(client: &Client, group: &str, stable: bool) -> Result<Committed, LinkerError> {
    loop {
        // The client itself asks again until its request time-out.
        match offset_fetch_all(client, group, stable).await {
            Ok(offsets) => return Ok(offsets),
            Err(error) => match error.code() {
                Some(ResponseError::UnstableOffsetCommit) => {
                    tracing::info!(group, "waiting for a transaction that commits this group's offsets");
                }
                Some(ResponseError::GroupIdNotFound) => return Ok(Committed::new()),
                _ => {
                    let what = format!("read committed offsets of group {group}");
                    return Err(LinkerError::cluster(Side::Source, what)(error));
                }
            },
        }
    }
}

/// Log start and high watermark of each partition, now.
///
/// # Errors
/// A leader cannot be asked.
pub async fn bounds(
    client: &Client,
    side: Side,
    partitions: &[TopicPartition],
) -> Result<Vec<PartitionBounds>, LinkerError> {
    let starts = offsets(client, side, partitions, OffsetSpec::Earliest).await?;
    let ends = offsets(client, side, partitions, OffsetSpec::Latest).await?;
    let bounds = starts.into_iter().zip(ends.into_values()).map(|((id, log_start), high_watermark)| {
        PartitionBounds { topic: id.topic, partition: id.partition, log_start, high_watermark }
    });
    Ok(bounds.collect())
}

/// The high watermark of each partition, now.
///
/// # Errors
/// A leader cannot be asked.
pub async fn ends(
    client: &Client,
    side: Side,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, LinkerError> {
    offsets(client, side, partitions, OffsetSpec::Latest).await
}

async fn offsets(
    client: &Client,
    side: Side,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, i64>, LinkerError> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let failed = |id: &dyn std::fmt::Display, error| {
        LinkerError::cluster(side, format!("list offsets of {id}"))(error)
    };
    let listed = list_offsets(client, partitions, spec).await.map_err(|error| failed(&"topics", error))?;
    let offsets = listed.into_iter().map(|(id, outcome)| match outcome {
        Ok(listed) => Ok((id, listed.offset)),
        Err(error) => Err(failed(&id, error)),
    });
    offsets.collect()
}

/// Committed offsets as the journal writes them, sorted.
pub fn to_positions(committed: &Committed) -> Vec<Position> {
    let position = |(id, at): (&TopicPartition, &CommittedOffset)| Position {
        topic: id.topic.clone(),
        partition: id.partition,
        offset: at.offset,
        metadata: at.metadata.clone(),
    };
    committed.iter().map(position).collect()
}

/// The journal's positions as they are committed: without a leader epoch, because epochs belong to one side.
pub fn to_committed(positions: &[Position]) -> Committed {
    let at = |position: &Position| {
        let offset = CommittedOffset {
            offset: position.offset,
            leader_epoch: -1,
            metadata: position.metadata.clone(),
        };
        (TopicPartition::new(position.topic.clone(), position.partition), offset)
    };
    positions.iter().map(at).collect()
}
