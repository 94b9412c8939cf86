//! What replaying the log gives: the cluster as of one entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalImage {
    /// The disk WAL's id; nil: none bound (an object WAL).
    pub wal_id: Uuid,
    /// WAL sequence number below which everything is committed to segments (exclusive).
    pub trimmed_to: u64,
    /// Key of the object that holds the producer state exactly at `trimmed_to`.
    pub snapshot: Option<String>,
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

    /// The WAL that this broker is bound to.
    pub fn wal(&self, node_id: i32) -> Option<&WalImage> {
        self.wals.get(&node_id)
    }

    /// Applies one entry, or says why it takes no effect. Pure: same image, same entry, same outcome on every
    /// broker. A rejected entry changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Rejection> {
        entry.apply(self)
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
pub(crate) mod tests {
    use super::*;
    use crate::metadata::entry::*;
    use crate::metadata::segments::SegmentRange;

    pub(crate) fn topic(name: &str, number: u128, partitions: i32) -> TopicCreated {
        let (configs, internal) = (BTreeMap::new(), false);
        TopicCreated { name: name.to_owned(), id: Uuid::from_u128(number), partitions, configs, internal }
    }

    /// A commit under a fresh object id of ranges (topic, partition, base, last).
    pub(crate) fn commit(node_id: i32, ranges: &[(Uuid, i32, i64, i64)]) -> SegmentCommitted {
        // The same ranges, the same object: other ranges, another.
        let seed = ranges.iter().fold(7_u128, |seed, (_, partition, base, last)| {
            seed.wrapping_mul(1_000_003)
                .wrapping_add((*partition as u128) << 32 ^ (*base as u128) << 16 ^ *last as u128)
        });
        let object = ObjectId(Uuid::from_u128(seed));
        let ranges = ranges.iter().map(|(topic_id, partition, base_offset, last_offset)| SegmentRange {
            topic_id: *topic_id,
            partition: *partition,
            object,
            base_offset: *base_offset,
            last_offset: *last_offset,
            max_timestamp_ms: 1_000 + last_offset,
            position: 7,
            length: 100,
            checksum: 42,
        });
        let wal = Some(WalTrim { node_id, trimmed_to: 5, snapshot: Some("snapshot/5".to_owned()) });
        SegmentCommitted { object, size_bytes: 1_000, ranges: ranges.collect(), wal }
    }

    fn apply(image: &mut Image, entry: impl Into<Entry>) -> Result<(), Rejection> {
        let before = image.clone();
        let result = image.apply(&entry.into());
        assert!(result.is_ok() || *image == before, "a rejected entry changed the image");
        result
    }

    /// An image with something of everything.
    pub(crate) fn busy_image() -> Image {
        let mut image = Image { version: 12, ..Image::default() };
        let mut mirror = topic("views", 2, 2);
        mirror.configs.insert("towpath.mirror.link".to_owned(), "views".to_owned());
        let orders = Uuid::from_u128(1);
        let resource = ConfigResource::Group("ranker".to_owned());
        let set = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "9000".to_owned())]);
        let barred = ObjectId(Uuid::from_u128(99));
        let entries: Vec<Entry> = vec![
            ClusterCreated { cluster_id: "cluster".to_owned(), store_id: Uuid::from_u128(5) }.into(),
            topic("orders", 1, 3).into(),
            mirror.into(),
            commit(77, &[(orders, 0, 0, 99), (orders, 1, 0, 49)]).into(),
            commit(77, &[(orders, 0, 100, 499)]).into(),
            LogStartAdvanced { topic_id: orders, partition: 1, offset: 20 }.into(),
            LeaderEpochRaised { topic_id: orders, partition: 2, epoch: 3, start_offset: 0 }.into(),
            ConfigsAltered { resource, set, removed: Vec::new() }.into(),
            BrokerRegistered { node_id: 1, host: "h".to_owned(), port: 1, rack: Some("z".to_owned()) }.into(),
            ProducerIdsTaken { from: PRODUCER_ID_FIRST, up_to: PRODUCER_ID_FIRST + 1_000 }.into(),
            DiskWalBound { node_id: 1, wal_id: Uuid::from_u128(8), replaces: None }.into(),
            ObjectBarred { object: barred }.into(),
        ];
        for entry in &entries {
            image.apply(entry).unwrap();
        }
        image
    }

    #[test]
    fn topics_are_created_once_and_their_names_do_not_collide() {
        let mut image = Image::default();
        apply(&mut image, topic("a.b", 1, 2)).unwrap();
        assert!(matches!(apply(&mut image, topic("a.b", 2, 2)), Err(Rejection::TopicExists(_))));
        assert!(matches!(apply(&mut image, topic("c", 1, 2)), Err(Rejection::TopicIdTaken(..))));
        assert!(matches!(apply(&mut image, topic("a_b", 3, 2)), Err(Rejection::TopicCollides { .. })));
        apply(&mut image, topic("a-b", 4, 2)).unwrap();
        apply(&mut image, TopicDeleted { topic_id: Uuid::from_u128(1) }).unwrap();
        apply(&mut image, topic("a_b", 3, 2)).unwrap();
        assert!(image.topic("a.b").is_none() && image.topic_by_id(Uuid::from_u128(1)).is_none());
    }

    #[test]
    fn partition_counts_only_grow() {
        let mut image = busy_image();
        let topic_id = Uuid::from_u128(1);
        for total in [-1, 0, 2, 3] {
            let refused = apply(&mut image, PartitionsAdded { topic_id, total });
            assert!(matches!(refused, Err(Rejection::PartitionCount { held: 3, .. })));
        }
        apply(&mut image, PartitionsAdded { topic_id, total: 4 }).unwrap();
        assert!(image.segments(topic_id, 3).is_some() && image.partition(topic_id, 4).is_none());
        assert_eq!(image.segments(topic_id, 0).unwrap().end(), Some(500));
    }

    #[test]
    fn commits_follow_one_another_and_never_overlap() {
        let mut image = busy_image();
        let orders = Uuid::from_u128(1);
        for ranges in [
            vec![(orders, 0, 499, 600)],
            vec![(orders, 0, 700, 699)],
            vec![(orders, 2, 0, 9), (orders, 0, 0, 9)],
            vec![(orders, 2, 0, 9), (orders, 2, 9, 19)],
        ] {
            let refused = apply(&mut image, commit(77, &ranges));
            assert!(matches!(refused, Err(Rejection::RangeOverlaps { .. })), "{ranges:?}");
        }
        // A gap is no overlap; a deleted topic's range and a missing partition's are skipped.
        let gone = Uuid::from_u128(44);
        let good = commit(77, &[(orders, 0, 510, 519), (gone, 0, 0, 9), (orders, 9, 0, 9)]);
        apply(&mut image, good.clone()).unwrap();
        assert_eq!(image.objects[&good.object].live_ranges, 1);
        assert!(matches!(apply(&mut image, good), Err(Rejection::ObjectExists(_))));
        let mut backward = commit(77, &[(orders, 0, 520, 529)]);
        backward.wal.as_mut().unwrap().trimmed_to = 4;
        assert!(matches!(apply(&mut image, backward), Err(Rejection::WalBackward { held: 5, .. })));
        assert_eq!(image.wal(77).unwrap().snapshot.as_deref(), Some("snapshot/5"));
    }

    #[test]
    fn an_object_is_deleted_only_when_nothing_points_to_it_and_never_comes_back() {
        let mut image = busy_image();
        let orders = Uuid::from_u128(1);
        let object = image.segments(orders, 0).unwrap().ranges()[0].object;
        assert_eq!(image.objects[&object].live_ranges, 2);
        let refused = apply(&mut image, ObjectBarred { object });
        assert!(matches!(refused, Err(Rejection::ObjectInUse { live_ranges: 2, .. })));
        apply(&mut image, LogStartAdvanced { topic_id: orders, partition: 0, offset: 100 }).unwrap();
        apply(&mut image, LogStartAdvanced { topic_id: orders, partition: 1, offset: 50 }).unwrap();
        assert_eq!(image.objects[&object].live_ranges, 0);
        assert!(matches!(apply(&mut image, ObjectDeleted { object }), Err(Rejection::ObjectNotBarred(_))));
        apply(&mut image, ObjectBarred { object }).unwrap();
        let mut late = commit(77, &[(orders, 0, 900, 909)]);
        late.object = object;
        assert!(matches!(apply(&mut image, late), Err(Rejection::ObjectBarred(_))));
        apply(&mut image, ObjectDeleted { object }).unwrap();
        assert!(!image.objects.contains_key(&object) && !image.barred.contains_key(&object));
    }

    #[test]
    fn a_merge_replaces_whole_runs_and_skips_what_has_changed_since() {
        let mut image = busy_image();
        let orders = Uuid::from_u128(1);
        let replaced = image.objects.keys().copied().collect::<Vec<_>>();
        let object = ObjectId(Uuid::from_u128(500));
        let template = image.segments(orders, 0).unwrap().ranges()[0];
        let merged = |partition, base_offset, last_offset| SegmentRange {
            partition,
            base_offset,
            last_offset,
            object,
            ..template
        };
        let merge = |ranges: Vec<SegmentRange>| SegmentsMerged {
            object,
            size_bytes: 10,
            ranges,
            replaced: replaced.clone(),
        };
        let refused = apply(&mut image, merge(vec![merged(0, 0, 300), merged(1, 5, 49)]));
        assert_eq!(refused, Err(Rejection::NothingToReplace(object)));
        apply(&mut image, merge(vec![merged(0, 0, 499), merged(1, 5, 49)])).unwrap();
        assert_eq!(image.segments(orders, 0).unwrap().ranges(), [merged(0, 0, 499)]);
        assert_eq!(image.objects[&object].live_ranges, 1);
        let old = image.segments(orders, 1).unwrap().ranges()[0].object;
        assert_eq!(image.objects[&old].live_ranges, 1);
    }

    #[test]
    fn log_starts_and_leader_epochs_only_rise() {
        let mut image = busy_image();
        let topic_id = Uuid::from_u128(1);
        let back = apply(&mut image, LogStartAdvanced { topic_id, partition: 1, offset: 19 });
        assert!(matches!(back, Err(Rejection::LogStartBackward { held: 20, .. })));
        apply(&mut image, LogStartAdvanced { topic_id, partition: 1, offset: 20 }).unwrap();
        let raise = |epoch, start_offset| LeaderEpochRaised { topic_id, partition: 2, epoch, start_offset };
        for (epoch, start_offset) in [(2, 9), (3, 9), (4, -1)] {
            let refused = apply(&mut image, raise(epoch, start_offset));
            assert!(matches!(refused, Err(Rejection::LeaderEpochBackward { held: 3, .. })));
        }
        apply(&mut image, raise(5, 10)).unwrap();
        apply(&mut image, raise(7, 10)).unwrap();
        let partition = image.partition(topic_id, 2).unwrap();
        let starts = partition.epoch_starts.iter().map(|start| (start.epoch, start.start_offset));
        assert_eq!((partition.leader_epoch, starts.collect()), (7, vec![(3, 0), (7, 10)]));
    }

    #[test]
    fn a_store_keeps_to_its_disk_wal_unless_the_loss_is_accepted() {
        let mut image = busy_image();
        let (bound, other) = (Uuid::from_u128(8), Uuid::from_u128(9));
        let bind = |wal_id, replaces| DiskWalBound { node_id: 1, wal_id, replaces };
        apply(&mut image, bind(bound, None)).unwrap();
        let refused = apply(&mut image, bind(other, None));
        assert_eq!(refused, Err(Rejection::OtherWalBound { node_id: 1, bound, offered: other }));
        assert!(apply(&mut image, bind(other, Some(other))).is_err());
        apply(&mut image, bind(other, Some(bound))).unwrap();
        assert_eq!(image.wal(1).unwrap().wal_id, other);
    }

    #[test]
    fn producer_ids_are_taken_once() {
        let mut image = Image::default();
        let block = |from| ProducerIdsTaken { from, up_to: from + 10 };
        apply(&mut image, block(PRODUCER_ID_FIRST)).unwrap();
        let refused = apply(&mut image, block(PRODUCER_ID_FIRST));
        assert!(
            matches!(refused, Err(Rejection::ProducerIdsGone { next, .. }) if next == PRODUCER_ID_FIRST + 10)
        );
    }

    #[test]
    fn a_mirror_is_known_by_its_configs_and_forgotten_with_them() {
        let mut image = busy_image();
        assert_eq!(image.topic("views").unwrap().mirror.as_ref().unwrap().link, "views");
        let resource = ConfigResource::Topic("views".to_owned());
        let removed = vec!["towpath.mirror.link".to_owned()];
        apply(&mut image, ConfigsAltered { resource, set: BTreeMap::new(), removed }).unwrap();
        assert_eq!(image.topic("views").unwrap().mirror, None);
        assert!(Arc::ptr_eq(image.topic("views").unwrap(), image.topic_by_id(Uuid::from_u128(2)).unwrap()));
    }

    #[test]
    fn a_change_leaves_other_holders_of_the_image_alone() {
        let before = busy_image();
        let mut after = before.clone();
        let copy = busy_image();
        apply(&mut after, TopicDeleted { topic_id: Uuid::from_u128(1) }).unwrap();
        assert_eq!(before, copy);
        assert!(Arc::ptr_eq(before.topic("views").unwrap(), after.topic("views").unwrap()));
    }
}
