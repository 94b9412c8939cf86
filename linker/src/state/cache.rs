//! The local cache, on sled: offset maps, and how far the diff has come.
//!
//! It may be deleted at any time: everything in it is rebuilt from the two clusters. Flushing it protects against
//! a crash of the process, not against power loss. sled keeps an exclusive lock on its folder.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use towpath_offset_map::{Growth, Incarnation, MapKey, MapStore, MapStoreError, PartitionMap};

use crate::error::LinkerError;

/// Bytes that sled may keep in memory.
const MEMORY_BYTES_MAX: u64 = 16 << 20;
/// sled flushes by itself this often, ms.
const FLUSH_EVERY_MS: u64 = 1_000;

/// The cache of one service. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    db: sled::Db,
    maps: sled::Tree,
    notes: sled::Tree,
    place: String,
}

impl Cache {
    /// Opens the cache under `data`, or makes an empty one.
    ///
    /// # Errors
    /// The folder cannot be written, is damaged, or is open in another process.
    pub fn open(data: &Path) -> Result<Cache, LinkerError> {
        let place = data.join("cache");
        let failed = |error: sled::Error| LinkerError::Cache {
            place: place.display().to_string(),
            problem: error.to_string(),
        };
        let db = sled::Config::new()
            .path(&place)
            .cache_capacity(MEMORY_BYTES_MAX)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
            .map_err(failed)?;
        let maps = db.open_tree("maps").map_err(failed)?;
        let notes = db.open_tree("notes").map_err(failed)?;
        Ok(Cache { db, maps, notes, place: place.display().to_string() })
    }

    /// Reads a note: any small state that can be rebuilt. One that no longer reads counts as absent.
    ///
    /// # Errors
    /// sled fails.
    pub fn note<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, LinkerError> {
        let found = self.notes.get(key).map_err(|error| self.failed(&error))?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes a note.
    ///
    /// # Errors
    /// sled fails.
    pub fn set_note<T: Serialize>(&self, key: &str, value: &T) -> Result<(), LinkerError> {
        let bytes = serde_json::to_vec(value).map_err(|error| LinkerError::Bug(error.to_string()))?;
        self.notes.insert(key, bytes).map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Forgets a note.
    ///
    /// # Errors
    /// sled fails.
    pub fn remove_note(&self, key: &str) -> Result<(), LinkerError> {
        self.notes.remove(key).map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Waits until everything written so far is on disk.
    ///
    /// # Errors
    /// sled fails.
    pub async fn flush(&self) -> Result<(), LinkerError> {
        self.db.flush_async().await.map_err(|error| self.failed(&error))?;
        Ok(())
    }

    fn failed(&self, error: &sled::Error) -> LinkerError {
        LinkerError::Cache { place: self.place.clone(), problem: error.to_string() }
    }
}

/// `family NUL topic NUL partition`: names never hold a NUL, so families do not run into each other.
fn map_key(key: &MapKey) -> Vec<u8> {
    let mut bytes = family_prefix(&key.family);
    bytes.extend_from_slice(key.topic.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&key.partition.to_be_bytes());
    bytes
}

fn family_prefix(family: &str) -> Vec<u8> {
    let mut bytes = family.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn parse_key(bytes: &[u8]) -> Option<MapKey> {
    let (names, partition) = bytes.split_last_chunk::<4>()?;
    let mut names = names.split(|byte| *byte == 0);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let (family, topic) = (text(names.next()?)?, text(names.next()?)?);
    Some(MapKey { family, topic, partition: i32::from_be_bytes(*partition) })
}

fn storage(error: sled::Error) -> MapStoreError {
    MapStoreError::Storage(error.to_string())
}

impl MapStore for Cache {
    fn load(&self, key: &MapKey) -> Result<Option<PartitionMap>, MapStoreError> {
        let Some(bytes) = self.maps.get(map_key(key)).map_err(storage)? else { return Ok(None) };
        PartitionMap::from_bytes(&bytes)
            .map(Some)
            .map_err(|source| MapStoreError::Damaged { key: key.clone(), source })
    }

    fn save(&self, key: &MapKey, map: &PartitionMap) -> Result<(), MapStoreError> {
        self.maps.insert(map_key(key), map.to_bytes()).map_err(storage)?;
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
        self.maps.remove(map_key(key)).map_err(storage)?;
        Ok(())
    }

    fn keys(&self, family: &str) -> Result<Vec<MapKey>, MapStoreError> {
        let found = self.maps.scan_prefix(family_prefix(family)).keys();
        let keys: Result<Vec<_>, _> = found.map(|key| key.map(|key| parse_key(&key))).collect();
        Ok(keys.map_err(storage)?.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use towpath_offset_map::{SourceOffset, TargetOffset, TopicId};

    use super::*;

    const IDS: Incarnation = Incarnation { source: TopicId([1; 16]), target: TopicId([2; 16]) };

    fn key(family: &str, partition: i32) -> MapKey {
        MapKey { family: family.into(), topic: "product-views".into(), partition }
    }

    #[tokio::test]
    async fn maps_and_notes_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let mut map = PartitionMap::identity(IDS, 5, 90).unwrap();
        cache.save(&key("views", 256), &map).unwrap();
        let growth = [Growth::IdentityThrough(200), Growth::Start(SourceOffset(50), TargetOffset(50))];
        cache.append(&key("views", 256), IDS, &growth).unwrap();
        cache.set_note("diff/views", &vec![1, 2]).unwrap();
        cache.flush().await.unwrap();
        drop(cache);
        for piece in &growth {
            map.grow(piece).unwrap();
        }
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(cache.load(&key("views", 256)).unwrap(), Some(map));
        assert_eq!(cache.note::<Vec<i32>>("diff/views").unwrap(), Some(vec![1, 2]));
    }

    #[test]
    fn families_whose_names_begin_alike_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let map = PartitionMap::identity(IDS, 0, 9).unwrap();
        for (family, partition) in [("views", 0), ("views", 1), ("views-eu", 0)] {
            cache.save(&key(family, partition), &map).unwrap();
        }
        assert_eq!(cache.keys("views").unwrap(), [key("views", 0), key("views", 1)]);
        cache.remove(&key("views", 0)).unwrap();
        assert_eq!(cache.keys("views").unwrap(), [key("views", 1)]);
        assert_eq!(cache.keys("views-eu").unwrap(), [key("views-eu", 0)]);
    }

    #[test]
    fn growth_of_another_incarnation_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.save(&key("views", 0), &PartitionMap::identity(IDS, 0, 9).unwrap()).unwrap();
        let again = Incarnation { source: TopicId([9; 16]), ..IDS };
        let refused = cache.append(&key("views", 0), again, &[Growth::IdentityThrough(10)]).unwrap_err();
        assert!(matches!(refused, MapStoreError::OtherIncarnation { .. }), "{refused}");
    }
}
