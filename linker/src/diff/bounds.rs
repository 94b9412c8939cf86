//! What both sides hold of a partition now.

use std::collections::BTreeMap;

use towpath_wire::client::admin::{OffsetSpec, list_offsets};
use towpath_wire::client::{Client, TopicPartition};

use super::comparison::ComparisonSpec;
use crate::error::{LinkerError, Side};

/// First offset that both sides still hold, by partition.
///
/// # Errors
/// A side cannot be asked.
pub(super) async fn starts(
    spec: &ComparisonSpec,
    ids: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, LinkerError> {
    let (mut source, target) = tokio::try_join!(
        list(&spec.source.client, Side::Source, ids, OffsetSpec::Earliest),
        list(&spec.target.client, Side::Target, ids, OffsetSpec::Earliest),
    )?;
    for (id, start) in target {
        let later = source.entry(id).or_insert(start);
        *later = start.max(*later);
    }
    Ok(source)
}

/// The high watermark of each side.
///
/// # Errors
/// A side cannot be asked.
pub(super) async fn ends(spec: &ComparisonSpec, id: &TopicPartition) -> Result<(i64, i64), LinkerError> {
    let ids = std::slice::from_ref(id);
    let (source, target) = tokio::try_join!(
        list(&spec.source.client, Side::Source, ids, OffsetSpec::Latest),
        list(&spec.target.client, Side::Target, ids, OffsetSpec::Latest),
    )?;
    let only = |listed: BTreeMap<TopicPartition, i64>| listed.into_values().next().unwrap_or(0);
    Ok((only(source), only(target)))
}

/// One offset of each partition of one side.
///
/// # Errors
/// The side cannot be asked, about any of them.
pub(super) async fn list(
    client: &Client,
    side: Side,
    ids: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, i64>, LinkerError> {
    let listed = list_offsets(client, ids, spec).await.map_err(LinkerError::cluster(side, "list offsets"))?;
    let each = listed.into_iter().map(|(id, found)| {
        let found = found.map_err(LinkerError::cluster(side, format!("list offsets of {id}")))?;
        Ok((id, found.offset))
    });
    each.collect()
}
