//! Where maps are kept between runs of the process. A cache: the truth is what the two clusters hold, and a
//! map that is lost is rebuilt from them (DESIGN §6, State).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::map::{AppendError, PartitionMap, Run};
use crate::offset::{SourceOffset, TargetOffset};
use crate::{DecodeError, ErrorKind, Incarnation};

/// Which map: one partition of one topic in one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MapKey {
    /// The signal family (the plan's name).
    pub family: String,
    /// The topic's name, the same on both sides.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

/// What a partition's mirror learned since the last write, as small as the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// These runs follow.
    Runs(Vec<Run>),
    /// An identity mirror reached this end (exclusive).
    IdentityThrough(i64),
    /// Both logs were seen up to here and hold no further record to map.
    End(SourceOffset, TargetOffset),
    /// The log starts are here now.
    Start(SourceOffset, TargetOffset),
}

impl PartitionMap {
    /// Applies one piece of growth.
    pub fn grow(&mut self, growth: &Growth) -> Result<(), AppendError> {
        match growth {
            Growth::Runs(runs) => {
                for run in runs {
                    self.append(*run)?;
                }
            }
            Growth::IdentityThrough(end) => {
                self.identity_through(*end)?;
            }
            Growth::End(source, target) => self.advance_end(*source, *target)?,
            Growth::Start(source, target) => self.advance_start(*source, *target),
        }
        Ok(())
    }
}

/// A store that could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MapStoreError {
    /// There is no map to append to.
    #[error("no offset map of {}-{} in family {}; fix: save the map before appending", .0.topic, .0.partition, .0.family)]
    Missing(MapKey),
    /// The stored map is about another incarnation of the topic.
    #[error(
        "the offset map of {}-{} is about topic {}, not {}; fix: the topic was created again, cancel the link \
         and plan it anew", key.topic, key.partition, held.source, given.source
    )]
    OtherIncarnation {
        /// Which map.
        key: MapKey,
        /// What the store holds.
        held: Incarnation,
        /// What the caller spoke of.
        given: Incarnation,
    },
    /// The growth contradicts the stored map.
    #[error("offset map of {}-{}: {source}", key.topic, key.partition)]
    Append {
        /// Which map.
        key: MapKey,
        /// Why.
        source: AppendError,
    },
    /// The stored bytes are damaged.
    #[error("offset map of {}-{}: {source}", key.topic, key.partition)]
    Damaged {
        /// Which map.
        key: MapKey,
        /// How.
        source: DecodeError,
    },
    /// The storage itself failed.
    #[error(
        "the offset map cache failed: {0}; fix: look at the disk under `data:`; the cache may be deleted"
    )]
    Storage(String),
}

impl MapStoreError {
    /// The caller's where maps contradict each other, the store's where it is damaged or fails.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing(_) | Self::OtherIncarnation { .. } | Self::Append { .. } => ErrorKind::Caller,
            Self::Damaged { .. } | Self::Storage(_) => ErrorKind::Store,
        }
    }
}

/// Keeps maps per family, topic and partition. Calls are short and local; the linker's durable version is
/// backed by sled, which may be deleted at any time.
pub trait MapStore: Send + Sync {
    /// The map, if it was ever saved.
    fn load(&self, key: &MapKey) -> Result<Option<PartitionMap>, MapStoreError>;

    /// Replaces the map, whatever was there (another incarnation too).
    fn save(&self, key: &MapKey, map: &PartitionMap) -> Result<(), MapStoreError>;

    /// Applies growth to the stored map, all of it or nothing. `incarnation` must be the stored one's.
    fn append(&self, key: &MapKey, incarnation: Incarnation, growth: &[Growth]) -> Result<(), MapStoreError>;

    /// Forgets the map; one that is not there is forgotten already.
    fn remove(&self, key: &MapKey) -> Result<(), MapStoreError>;

    /// The keys of all maps of a family, sorted.
    fn keys(&self, family: &str) -> Result<Vec<MapKey>, MapStoreError>;
}

/// Maps in memory, in their compact form, so that tests cover the encoding as well.
#[derive(Default)]
pub struct MemoryMapStore {
    maps: Mutex<BTreeMap<MapKey, Vec<u8>>>,
}

impl MemoryMapStore {
    fn maps(&self) -> MutexGuard<'_, BTreeMap<MapKey, Vec<u8>>> {
        // Every change is one insert or remove, so a panic elsewhere cannot have left half of one.
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MapStore for MemoryMapStore {
    fn load(&self, key: &MapKey) -> Result<Option<PartitionMap>, MapStoreError> {
        let Some(bytes) = self.maps().get(key).cloned() else { return Ok(None) };
        PartitionMap::from_bytes(&bytes)
            .map(Some)
            .map_err(|source| MapStoreError::Damaged { key: key.clone(), source })
    }

    fn save(&self, key: &MapKey, map: &PartitionMap) -> Result<(), MapStoreError> {
        self.maps().insert(key.clone(), map.to_bytes());
        Ok(())
    }

    fn append(&self, key: &MapKey, incarnation: Incarnation, growth: &[Growth]) -> Result<(), MapStoreError> {
        let mut map = self.load(key)?.ok_or_else(|| MapStoreError::Missing(key.clone()))?;
        if map.incarnation() != incarnation {
            let held = map.incarnation();
            return Err(MapStoreError::OtherIncarnation { key: key.clone(), held, given: incarnation });
        }
        for piece in growth {
            map.grow(piece).map_err(|source| MapStoreError::Append { key: key.clone(), source })?;
        }
        self.save(key, &map)
    }

    fn remove(&self, key: &MapKey) -> Result<(), MapStoreError> {
        self.maps().remove(key);
        Ok(())
    }

    fn keys(&self, family: &str) -> Result<Vec<MapKey>, MapStoreError> {
        Ok(self.maps().keys().filter(|key| key.family == family).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicId;

    fn key(partition: i32) -> MapKey {
        MapKey { family: "views".into(), topic: "product-views".into(), partition }
    }

    const IDS: Incarnation = Incarnation { source: TopicId([1; 16]), target: TopicId([2; 16]) };

    #[test]
    fn a_store_gives_back_what_was_saved_and_grown() {
        let store = MemoryMapStore::default();
        assert_eq!(store.load(&key(0)).unwrap(), None);
        let mut map = PartitionMap::identity(IDS, 5, 90).unwrap();
        store.save(&key(0), &map).unwrap();
        let growth = [Growth::IdentityThrough(200), Growth::Start(SourceOffset(50), TargetOffset(50))];
        store.append(&key(0), IDS, &growth).unwrap();
        for piece in &growth {
            map.grow(piece).unwrap();
        }
        assert_eq!(store.load(&key(0)).unwrap(), Some(map));
        assert_eq!(store.keys("views").unwrap(), vec![key(0)]);
        assert!(store.keys("other").unwrap().is_empty());
        store.remove(&key(0)).unwrap();
        assert!(matches!(store.append(&key(0), IDS, &growth), Err(MapStoreError::Missing(_))));
    }

    #[test]
    fn growth_of_another_incarnation_is_refused() {
        let store = MemoryMapStore::default();
        store.save(&key(1), &PartitionMap::identity(IDS, 0, 9).unwrap()).unwrap();
        let again = Incarnation { source: TopicId([9; 16]), ..IDS };
        let refused = store.append(&key(1), again, &[Growth::IdentityThrough(10)]).unwrap_err();
        assert!(matches!(refused, MapStoreError::OtherIncarnation { .. }), "{refused}");
    }

    #[test]
    fn growth_that_fails_half_way_changes_nothing() {
        let store = MemoryMapStore::default();
        let map = PartitionMap::identity(IDS, 0, 9).unwrap();
        store.save(&key(2), &map).unwrap();
        let growth = [Growth::IdentityThrough(20), Growth::End(SourceOffset(3), TargetOffset(3))];
        assert!(matches!(store.append(&key(2), IDS, &growth), Err(MapStoreError::Append { .. })));
        assert_eq!(store.load(&key(2)).unwrap(), Some(map));
    }
}
