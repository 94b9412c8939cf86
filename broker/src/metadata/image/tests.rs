//! The image: what entries make of it.

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
    let snapshot = Some(SnapshotAt::Inline(Bytes::from_static(b"state at 5")));
    let wal = Some(WalTrim { node_id, epoch: -1, trimmed_to: 5, position: None, snapshot });
    SegmentCommitted { object, born: u64::MAX, size_bytes: 1_000, ranges: ranges.collect(), wal }
}

/// A WAL of broker 1, under its first registration.
fn bound(wal_id: Uuid, replaces: Option<Uuid>) -> WalBound {
    WalBound { node_id: 1, epoch: 0, wal_id, position: None, replaces }
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
        LogStartAdvanced { node_id: 1, epoch: 0, topic_id: orders, partition: 1, offset: 20 }.into(),
        CompactionAdvanced { topic_id: orders, partition: 1, offset: 30 }.into(),
        LeaderEpochRaised { topic_id: orders, partition: 2, epoch: 3, start_offset: 0 }.into(),
        ConfigsAltered { resource, set, removed: Vec::new() }.into(),
        BrokerRegistered {
            node_id: 1,
            host: "h".to_owned(),
            port: 1,
            rack: Some("z".to_owned()),
            alone: false,
        }
        .into(),
        ProducerIdsTaken { from: PRODUCER_ID_FIRST, up_to: PRODUCER_ID_FIRST + 1_000 }.into(),
        bound(Uuid::from_u128(8), None).into(),
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
    assert_eq!(image.wal(77).unwrap().snapshot, Some(SnapshotAt::Inline(Bytes::from_static(b"state at 5"))));
}

#[test]
fn an_object_is_deleted_only_when_nothing_points_to_it_and_never_comes_back() {
    let mut image = busy_image();
    let orders = Uuid::from_u128(1);
    let object = image.segments(orders, 0).unwrap().ranges()[0].object;
    assert_eq!(image.objects[&object].live_ranges, 2);
    let refused = apply(&mut image, ObjectBarred { object });
    assert!(matches!(refused, Err(Rejection::ObjectInUse { live_ranges: 2, .. })));
    apply(&mut image, LogStartAdvanced { node_id: 1, epoch: 0, topic_id: orders, partition: 0, offset: 100 })
        .unwrap();
    apply(&mut image, LogStartAdvanced { node_id: 1, epoch: 0, topic_id: orders, partition: 1, offset: 50 })
        .unwrap();
    assert_eq!(image.objects[&object].live_ranges, 0);
    assert!(matches!(apply(&mut image, ObjectDeleted { object }), Err(Rejection::ObjectNotBarred(_))));
    apply(&mut image, ObjectBarred { object }).unwrap();
    let mut late = commit(77, &[(orders, 0, 900, 909)]);
    (late.object, late.born) = (object, image.version);
    assert!(matches!(apply(&mut image, late.clone()), Err(Rejection::ObjectBarred(_))));
    image.version += 5;
    apply(&mut image, ObjectDeleted { object }).unwrap();
    // Forgotten, and still it does not come back, nor does another that was begun before.
    assert!(matches!(apply(&mut image, late.clone()), Err(Rejection::ObjectLate { .. })));
    late.object = ObjectId(Uuid::from_u128(1_234));
    assert!(matches!(apply(&mut image, late.clone()), Err(Rejection::ObjectLate { .. })));
    late.born += 1;
    apply(&mut image, late).unwrap();
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
        born: 12,
        generation: 1,
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
fn log_starts_boundaries_of_compaction_and_leader_epochs_only_rise() {
    let mut image = busy_image();
    let topic_id = Uuid::from_u128(1);
    let back =
        apply(&mut image, LogStartAdvanced { node_id: 1, epoch: 0, topic_id, partition: 1, offset: 19 });
    assert!(matches!(back, Err(Rejection::LogStartBackward { held: 20, .. })));
    apply(&mut image, LogStartAdvanced { node_id: 1, epoch: 0, topic_id, partition: 1, offset: 20 }).unwrap();
    let advance = |offset| CompactionAdvanced { topic_id, partition: 1, offset };
    let back = apply(&mut image, advance(29));
    assert!(matches!(back, Err(Rejection::CompactionBackward { held: 30, .. })));
    apply(&mut image, advance(30)).unwrap();
    apply(&mut image, advance(31)).unwrap();
    assert_eq!(image.partition(topic_id, 1).unwrap().compacted_to, 31);
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
fn a_store_keeps_to_its_wal_unless_the_loss_is_accepted() {
    let mut image = busy_image();
    let (held, other) = (Uuid::from_u128(8), Uuid::from_u128(9));
    apply(&mut image, bound(held, None)).unwrap();
    let refused = apply(&mut image, bound(other, None));
    assert_eq!(refused, Err(Rejection::OtherWalBound { node_id: 1, bound: held, offered: other }));
    assert!(apply(&mut image, bound(other, Some(other))).is_err());
    apply(&mut image, bound(other, Some(held))).unwrap();
    assert_eq!(image.wal(1).unwrap().wal_id, other);
}

#[test]
fn what_a_broker_writes_after_another_came_up_under_its_id_takes_no_effect() {
    let mut image = busy_image();
    let orders = Uuid::from_u128(1);
    let trimmed = |epoch, base, to| {
        let mut entry = commit(1, &[(orders, 2, base, base + 9)]);
        let (trimmed_to, position, snapshot) = (to, None, Some(SnapshotAt::Object("s".to_owned())));
        entry.wal = Some(WalTrim { node_id: 1, epoch, trimmed_to, position, snapshot });
        entry
    };
    apply(&mut image, trimmed(0, 0, 7)).unwrap();
    let (host, port) = ("new".to_owned(), 9093);
    apply(&mut image, BrokerRegistered { node_id: 1, host, port, rack: None, alone: false }).unwrap();
    let address = "new:9093".to_owned();
    let fenced = Err(Rejection::Fenced { node_id: 1, held: 1, address, asked: 0 });
    assert_eq!(apply(&mut image, trimmed(0, 10, 8)), fenced);
    assert_eq!(apply(&mut image, bound(Uuid::from_u128(9), Some(Uuid::from_u128(8)))), fenced);
    assert_eq!(apply(&mut image, WalSealed { node_id: 1, epoch: 0, end: 7 }), fenced);
    let start = |epoch| LogStartAdvanced { node_id: 1, epoch, topic_id: orders, partition: 1, offset: 30 };
    assert_eq!(apply(&mut image, start(0)), fenced);
    apply(&mut image, start(1)).unwrap();
    apply(&mut image, trimmed(1, 10, 8)).unwrap();
    assert_eq!(image.wal(1).unwrap().trimmed_to, 8);
}

#[test]
fn a_wal_is_sealed_only_where_nothing_lies_behind_its_boundary() {
    let mut image = busy_image();
    let seal = |end| WalSealed { node_id: 1, epoch: 0, end };
    assert!(matches!(apply(&mut image, seal(3)), Err(Rejection::WalBackward { .. })));
    assert_eq!(image.wal(1).unwrap().sealed_by, None);
    apply(&mut image, seal(0)).unwrap();
    assert_eq!(image.wal(1).unwrap().sealed_by, Some(0));
    let unknown = WalSealed { node_id: 5, epoch: -1, end: 0 };
    assert_eq!(apply(&mut image, unknown), Err(Rejection::NoWal(5)));
}

#[test]
fn a_sealed_wal_stays_so_while_brokers_register_and_die_and_until_it_is_bound_again() {
    let mut image = busy_image();
    let (disk, object) = (Uuid::from_u128(8), Uuid::from_u128(9));
    apply(&mut image, bound(disk, None)).unwrap();
    apply(&mut image, WalSealed { node_id: 1, epoch: 0, end: 0 }).unwrap();
    for _ in 0..2 {
        let (host, port) = ("new".to_owned(), 9093);
        apply(&mut image, BrokerRegistered { node_id: 1, host, port, rack: None, alone: false }).unwrap();
    }
    let mut again = image.clone();
    apply(&mut image, WalBound { epoch: 2, ..bound(object, Some(disk)) }).unwrap();
    assert_eq!(image.wal(1).unwrap().replaced, Some(disk), "what it left behind is not needed");
    apply(&mut again, WalBound { epoch: 2, ..bound(disk, None) }).unwrap();
    assert_eq!(again.wal(1).unwrap().sealed_by, None);
    apply(&mut again, WalBound { epoch: 2, ..bound(object, Some(disk)) }).unwrap();
    assert_eq!(again.wal(1).unwrap().replaced, None, "it may hold what is nowhere else");
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
