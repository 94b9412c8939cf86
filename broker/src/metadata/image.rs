//! What replaying the log gives: the cluster as of one entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::PRODUCER_ID_FIRST;
use super::config::mirror_state;
use super::entry::{Entry, Rejection};
use super::segments::{ObjectId, ObjectImage, PartitionSegments};

/// The cluster's metadata at one point of the log. Cloning shares everything; a change copies only the maps and
/// the topics it touches.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The cluster's id as Kafka clients see it; empty before the first entry.
    pub cluster_id: String,
    /// Names the store itself; never changes.
    pub store_id: Uuid,
    /// How many slots of the shared log are applied: the index of the next.
    pub version: u64,
    /// Topics by name.
    pub topics_by_name: Arc<BTreeMap<String, Arc<TopicImage>>>,
    /// Topics by id.
    pub topics_by_id: Arc<HashMap<Uuid, Arc<TopicImage>>>,
    /// Dynamic configs of groups (`towpath.*` and Kafka's own), by group id.
    pub group_configs: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// Dynamic configs of brokers, by node id as text; the empty name is the cluster-wide default.
    pub broker_configs: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// Registered brokers by node id.
    pub brokers: Arc<BTreeMap<i32, BrokerImage>>,
    /// The WAL of each broker, by node id.
    pub wals: Arc<BTreeMap<i32, WalImage>>,
    /// Committed data objects that something may still point to.
    pub objects: Arc<HashMap<ObjectId, ObjectImage>>,
    /// Objects that may never be committed (again), because they are about to be deleted or are deleted.
    pub barred: Arc<BTreeMap<ObjectId, u64>>,
    /// Objects that were begun when fewer slots than this were applied can't be committed any more: one of them may
    /// have been deleted and forgotten. Only rises.
    pub born_floor: u64,
    /// The first producer id that nobody has taken.
    pub next_producer_id: i64,
    pub(super) segments: Arc<HashMap<Uuid, Arc<TopicSegments>>>,
}

/// The segment index of one topic, by partition.
pub(super) type TopicSegments = Vec<Arc<PartitionSegments>>;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Its id, made at creation.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionImage>,
    /// Configs set on the topic itself (not the defaults).
    pub configs: BTreeMap<String, String>,
    /// Whether it belongs to the broker itself (`__consumer_offsets`, `__transaction_state`).
    pub internal: bool,
    /// Parsed from `towpath.mirror.*`; `None`: an ordinary topic.
    #[serde(skip)]
    pub mirror: Option<MirrorState>,
}

/// What the log says about one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// The advertised leader epoch.
    pub leader_epoch: i32,
    /// Records below it are gone.
    pub log_start: i64,
    /// Log compaction has been here: below it no key has more than one record.
    #[serde(default)]
    pub compacted_to: i64,
    /// Where each leader epoch begins, ascending in both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epoch_starts: Vec<EpochStart>,
}

/// The first offset written under a leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// Whose mirror a topic is (`towpath.mirror.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorState {
    /// The link that alone may append.
    pub link: String,
    /// The source cluster's id.
    pub source_cluster_id: String,
    /// The topic's id at the source; nil when the source has no topic ids.
    pub source_topic_id: Uuid,
    /// The mirror's state, as the link wrote it (`mirroring`, `promoted`, …).
    pub state: String,
}

/// A broker of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerImage {
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Zone, if any.
    pub rack: Option<String>,
    /// Rises with every registration of this node id.
    pub epoch: i64,
}

/// The WAL that the store expects a broker to come up with, and how much of it the store has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalImage {
    /// The WAL's id; nil: none bound yet.
    pub wal_id: Uuid,
    /// WAL sequence number below which everything is committed to segments (exclusive).
    pub trimmed_to: u64,
    /// Where a reader of an object WAL begins; `None`: it is a disk WAL.
    #[serde(default)]
    pub position: Option<WalPosition>,
    /// The registration that ended with nothing behind `trimmed_to`, if the WAL was not written since.
    #[serde(default)]
    pub sealed_by: Option<i64>,
    /// The WAL that was bound before this one, if it was sealed: what it left behind is not needed.
    #[serde(default)]
    pub replaced: Option<Uuid>,
    /// The producer state exactly at `trimmed_to`.
    pub snapshot: Option<SnapshotAt>,
    /// The key of the one before, if it was an object: it is deleted right after the commit, or by the next sweep where
    /// a crash came first.
    #[serde(default)]
    pub former: Option<String>,
}

/// Where the producer state at a WAL's boundary is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotAt {
    /// Here: small ones cost no object of their own.
    Inline(#[serde(with = "text_of_bytes")] Bytes),
    /// In the object of this key.
    Object(String),
}

impl SnapshotAt {
    /// The object's key, if it has one.
    pub fn key(&self) -> Option<&str> {
        match self {
            SnapshotAt::Inline(_) => None,
            SnapshotAt::Object(key) => Some(key),
        }
    }
}

/// Bytes as text, for a checkpoint.
mod text_of_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &Bytes, out: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(bytes).serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Bytes, D::Error> {
        STANDARD.decode(String::deserialize(input)?).map(Bytes::from).map_err(de::Error::custom)
    }
}

/// A slot of an object WAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalPosition {
    /// The registration under which the slot was written.
    pub epoch: i64,
    /// The slot.
    pub slot: u64,
    /// How long a broker of that epoch may answer after its last proof that nobody took over (ms).
    pub lease_ms: u64,
}

impl Default for Image {
    fn default() -> Image {
        Image {
            cluster_id: String::new(),
            store_id: Uuid::nil(),
            version: 0,
            topics_by_name: Arc::default(),
            topics_by_id: Arc::default(),
            group_configs: Arc::default(),
            broker_configs: Arc::default(),
            brokers: Arc::default(),
            wals: Arc::default(),
            objects: Arc::default(),
            barred: Arc::default(),
            born_floor: 0,
            next_producer_id: PRODUCER_ID_FIRST,
            segments: Arc::default(),
        }
    }
}

impl Image {
    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics_by_name.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics_by_id.get(&id)
    }

    /// One partition of a topic.
    pub fn partition(&self, topic_id: Uuid, partition: i32) -> Option<&PartitionImage> {
        self.topics_by_id.get(&topic_id)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The committed segments of one partition.
    pub fn segments(&self, topic_id: Uuid, partition: i32) -> Option<&Arc<PartitionSegments>> {
        self.segments.get(&topic_id)?.get(usize::try_from(partition).ok()?)
    }

    /// The committed segments of every partition, in the order of topic id and index: that of the objects.
    pub fn partitions_in_order(&self) -> Vec<(Uuid, i32, &PartitionSegments)> {
        let mut topics: Vec<_> = self.segments.iter().collect();
        topics.sort_unstable_by_key(|(topic_id, _)| **topic_id);
        let partitions = topics.into_iter().flat_map(|(topic_id, partitions)| {
            (0_i32..).zip(partitions.iter()).map(|(index, held)| (*topic_id, index, &**held))
        });
        partitions.collect()
    }

    /// The WAL that this broker is bound to.
    pub fn wal(&self, node_id: i32) -> Option<&WalImage> {
        self.wals.get(&node_id)
    }

    /// The newest registration of a broker; -1: there is none.
    pub fn broker_epoch(&self, node_id: i32) -> i64 {
        self.brokers.get(&node_id).map_or(-1, |broker| broker.epoch)
    }

    /// Refuses what a broker writes that another one of the same id has taken over from.
    pub(super) fn check_epoch(&self, node_id: i32, asked: i64) -> Result<(), Rejection> {
        let broker = self.brokers.get(&node_id);
        match broker.filter(|broker| broker.epoch != asked) {
            Some(BrokerImage { host, port, epoch, .. }) => {
                Err(Rejection::Fenced { node_id, held: *epoch, address: format!("{host}:{port}"), asked })
            }
            None => Ok(()),
        }
    }

    /// Applies one entry, or says why it takes no effect. Pure: same image, same entry, same outcome on every
    /// broker. A rejected entry changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Rejection> {
        entry.apply(self)
    }

    /// Whether an object that was begun when `born` slots were applied may be committed now.
    pub(super) fn may_commit(&self, object: ObjectId, born: u64) -> Result<(), Rejection> {
        if self.barred.contains_key(&object) {
            return Err(Rejection::ObjectBarred(object));
        }
        if self.objects.contains_key(&object) {
            return Err(Rejection::ObjectExists(object));
        }
        if born < self.born_floor {
            return Err(Rejection::ObjectLate { object, born, floor: self.born_floor });
        }
        Ok(())
    }

    /// Changes one topic in both maps; `None` when it does not exist.
    pub(super) fn change_topic<T>(
        &mut self,
        id: Uuid,
        change: impl FnOnce(&mut TopicImage) -> T,
    ) -> Option<T> {
        let mut topic = self.topics_by_id.get(&id)?.clone();
        // Leave only the copy in hand, so that make_mut does not clone a topic that no reader holds.
        let by_id = Arc::make_mut(&mut self.topics_by_id);
        let by_name = Arc::make_mut(&mut self.topics_by_name);
        by_id.remove(&id);
        by_name.remove(&topic.name);
        let changed = Arc::make_mut(&mut topic);
        let result = change(changed);
        changed.mirror = mirror_state(&changed.configs);
        by_name.insert(topic.name.clone(), topic.clone());
        by_id.insert(id, topic);
        Some(result)
    }

    /// Forgets one reference to each range's object.
    pub(super) fn unreference(&mut self, ranges: impl IntoIterator<Item = ObjectId>) {
        let objects = Arc::make_mut(&mut self.objects);
        for object in ranges {
            if let Some(held) = objects.get_mut(&object) {
                held.live_ranges = held.live_ranges.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
