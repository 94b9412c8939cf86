//! Offsets of one side in the numbering of the other, exactly or not at all.
//!
//! The bundled broker is mirrored by identity: one run from the log start to the mirror's end. The map of a
//! partition follows what the mirror holds whenever it is asked, and is kept in the cache.

use std::sync::Arc;

use towpath_offset_map::{
    Growth, Incarnation, Lookup, MapKey, MapStore, PartitionMap, SourceOffset, TargetOffset, TopicId,
};
use towpath_wire::client::TopicPartition;

use super::mirror::Mirror;
use crate::error::{LinkerError, Side};

/// The offset maps of one family.
#[derive(Clone)]
pub struct Translator {
    family: String,
    mirror: Arc<Mirror>,
    maps: Arc<dyn MapStore>,
}

/// An offset that has no exact counterpart, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} offset {offset} of the {side}: {reason}")]
pub struct Untranslatable {
    /// Which partition.
    pub id: TopicPartition,
    /// Whose offset.
    pub side: Side,
    /// The offset that was asked about.
    pub offset: i64,
    /// Why, for people.
    pub reason: String,
}

impl Translator {
    /// The maps of `family`, whose data path is `mirror`.
    pub fn new(family: &str, mirror: Arc<Mirror>, maps: Arc<dyn MapStore>) -> Translator {
        Translator { family: family.to_owned(), mirror, maps }
    }

    /// A committed offset (the next record to read) of `side` as the other side numbers it.
    ///
    /// # Errors
    /// [`Untranslatable`] with the reason: before the start, past the end, another incarnation of the topic.
    pub fn position(&self, side: Side, id: &TopicPartition, offset: i64) -> Result<i64, Untranslatable> {
        let failed = |reason: String| Untranslatable { id: id.clone(), side, offset, reason };
        let map = self.map(id).map_err(|error| failed(error.to_string()))?;
        let source_topic = map.incarnation().source;
        let target_topic = map.incarnation().target;
        match side {
            Side::Source => match map.target_position(source_topic, SourceOffset(offset)) {
                Lookup::Exact(found) => Ok(found.0),
                Lookup::Unmappable { because } => Err(failed(because.to_string())),
            },
            Side::Target => match map.source_position(target_topic, TargetOffset(offset)) {
                Lookup::Exact(found) => Ok(found.0),
                Lookup::Unmappable { because } => Err(failed(because.to_string())),
            },
        }
    }

    /// The map of one partition, grown to what the mirror holds now.
    ///
    /// # Errors
    /// The partition is not mirrored, or its map in the cache does not fit what the target holds.
    pub fn map(&self, id: &TopicPartition) -> Result<PartitionMap, LinkerError> {
        let placed = self.mirror.partition(id).ok_or_else(|| {
            LinkerError::refused(
                format!("family {} does not mirror {id}", self.family),
                "name a topic and partition that `towpath status` lists",
            )
        })?;
        let held = placed.replicator.positions();
        let source = TopicId(*placed.replicator.source_topic_id.as_bytes());
        // An identity mirror has the source topic's own numbering: one incarnation names both sides.
        let ids = Incarnation { source, target: source };
        let key = MapKey { family: self.family.clone(), topic: id.topic.clone(), partition: id.partition };
        let stored = self.maps.load(&key).ok().flatten();
        let (start, end) = (held.target_log_start, held.target_log_end);
        let mut map = match stored {
            Some(map) if map.incarnation() == ids && map.end().0.0 <= end => map,
            // Lost, damaged or about another incarnation: the cache is rebuilt from what the target holds.
            _ => PartitionMap::new(ids, SourceOffset(start), TargetOffset(start)),
        };
        for growth in [Growth::IdentityThrough(end), Growth::Start(SourceOffset(start), TargetOffset(start))]
        {
            map.grow(&growth).map_err(|error| LinkerError::Bug(format!("offset map of {id}: {error}")))?;
        }
        self.maps.save(&key, &map).map_err(|error| LinkerError::Cache {
            place: format!("offset map of {id}"),
            problem: error.to_string(),
        })?;
        Ok(map)
    }
}
