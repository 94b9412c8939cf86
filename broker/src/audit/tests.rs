//! A sound store is clean; each kind of damage, made by hand, is found and named.

use object_store::memory::InMemory;
use towpath_shared_log::fault::{Faults, FaultyStore};
use uuid::Uuid;

use super::*;
use crate::partition::Origin;
use crate::partition::tests::{TOPIC, World, batch};

const LONG: Options = Options { checksums: true, grace: Duration::from_secs(600) };
/// Everything is older than that.
const NONE: Options = Options { checksums: true, grace: Duration::ZERO };

/// A broker with six uploads over two partitions, merged for a part, on a store of its own.
async fn world(snapshot_inline_bytes_max: usize) -> (World, Arc<FaultyStore>) {
    let env = Env::real();
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let small = |config: &mut crate::storage::StorageConfig| {
        config.snapshot_inline_bytes_max = snapshot_inline_bytes_max;
        config.delete_grace = Duration::ZERO;
    };
    let world = World::on(store.clone(), env, &[], small).await;
    for number in 0..6 {
        for index in 0..2 {
            let partition = world.partitions.get(TOPIC, index).unwrap();
            for _ in 0..3 {
                let records = batch(&[&format!("value {number}"), "another"]);
                partition.append(records, Origin::Client).unwrap().durable.await.unwrap();
            }
        }
        world.upload().await;
        if number == 3 {
            world.merge().await;
        }
    }
    (world, store)
}

async fn audited(world: &World, options: Options) -> Audit {
    audit(world.store.clone(), world.env.clone(), options).await.unwrap()
}

fn first_range(world: &World) -> SegmentRange {
    world.metadata.image().segments(TOPIC, 0).unwrap().ranges()[0]
}

fn path(range: &SegmentRange) -> Path {
    Path::from(SegmentStore::segment_key(range.object))
}

async fn change(world: &World, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = world.store.get(path).await.unwrap().bytes().await.unwrap().to_vec();
    change(&mut bytes);
    world.store.put(path, bytes.into()).await.unwrap();
}

fn objects(audit: &Audit, what: &str) -> u64 {
    audit.accounts.iter().find(|account| account.what == what).map_or(0, |account| account.objects)
}

#[tokio::test]
async fn a_sound_store_is_clean_every_object_is_accounted_for_and_nothing_is_written() {
    for inline in [64 * 1024, 0] {
        let (world, store) = world(inline).await;
        for name in ["linker/journal/0", "evidence/views/3", "wal/1/7/00000000000000000012"] {
            world.store.put(&Path::from(name), "x".into()).await.unwrap();
        }
        let before = store.requests();
        let audit = audited(&world, NONE).await;
        let after = store.requests();
        assert_eq!((after.puts, after.deletes), (before.puts, before.deletes));
        let sources = |finding: &Finding| finding.kind != FindingKind::Orphan;
        assert!(!audit.findings.iter().any(sources), "{:?}", audit.findings);
        assert_eq!(audit.findings, [], "{:?}", audit.accounts);
        assert_eq!(objects(&audit, "segments"), 3);
        assert_eq!(objects(&audit, "segments that wait for their bar"), 4);
        assert_eq!(objects(&audit, "producer state"), u64::from(inline == 0));
        assert_eq!(objects(&audit, "WAL slots that wait for their deletion, and fences"), 1);
        assert_eq!(objects(&audit, "evidence"), 1);
        let all: u64 = audit.accounts.iter().map(|account| account.objects).sum();
        let listed = store.list(None);
        assert_eq!(futures::StreamExt::count(listed).await as u64, all);
        assert_eq!((audit.partitions, audit.ranges), (2, 6));
    }
}

/// What nothing refers to: a segment, a snapshot, and what a start-up probe left.
async fn orphans(world: &World) -> [Path; 3] {
    let paths = [
        Path::from("probe/abc/1"),
        Path::from(SegmentStore::segment_key(ObjectId(Uuid::from_u128(7)))),
        Path::from(format!("snapshots/1/1-{}", Uuid::from_u128(8))),
    ];
    for path in &paths {
        world.store.put(path, "x".into()).await.unwrap();
    }
    // Their age is counted in milliseconds.
    let now_ms = world.env.now_ms();
    while world.env.now_ms() <= now_ms + 1 {
        tokio::task::yield_now().await;
    }
    paths
}

#[tokio::test]
async fn what_nothing_refers_to_is_a_finding_once_it_is_older_than_two_graces() {
    let (world, _) = world(0).await;
    let paths = orphans(&world).await;
    let young = audited(&world, LONG).await;
    assert_eq!((young.findings.len(), objects(&young, "orphans within the grace")), (0, 2));
    assert_eq!(objects(&young, "start-up probes"), 1);
    let old = audited(&world, NONE).await;
    let found: Vec<_> = old.findings.iter().map(|finding| (finding.kind, finding.object.clone())).collect();
    assert_eq!(found, paths.map(|path| (FindingKind::Orphan, path.to_string())));
    assert_eq!(objects(&old, "orphans"), 3);
}

#[tokio::test]
async fn what_went_or_was_barred_since_the_listing_is_no_orphan() {
    let (world, _) = world(0).await;
    let [probe, segment, snapshot] = orphans(&world).await;
    let listing = Listing::read(&world.store, &world.env, NONE.grace).await.unwrap();
    for path in [&probe, &snapshot] {
        world.store.delete(path).await.unwrap();
    }
    let outside = (world.store.clone(), world.env.clone());
    let audit = audit_of(listing, outside.clone(), NONE).await.unwrap();
    let found: Vec<_> = audit.findings.iter().map(|finding| finding.object.clone()).collect();
    assert_eq!(found, [segment.to_string()]);
    assert_eq!((objects(&audit, "orphans"), objects(&audit, "objects deleted meanwhile")), (1, 2));
    let listing = Listing::read(&world.store, &world.env, NONE.grace).await.unwrap();
    world.sweep().await;
    let audit = audit_of(listing, outside, NONE).await.unwrap();
    assert_eq!(audit.findings, []);
}

#[tokio::test]
async fn producer_state_is_no_orphan_from_its_commit_until_the_second_one_after_it() {
    let (world, _) = world(0).await;
    let key = |world: &World| {
        let image = world.metadata.image();
        Path::from(image.wal(1).unwrap().snapshot.as_ref().unwrap().key().unwrap())
    };
    let before = key(&world);
    let content = world.store.get(&before).await.unwrap().bytes().await.unwrap();
    let append = async || {
        let appended = world.partition().append(batch(&["more"]), Origin::Client).unwrap();
        appended.durable.await.unwrap();
        world.upload().await;
    };
    append().await;
    assert_ne!(before, key(&world));
    let image = world.metadata.image();
    assert!(!is_orphan(&world.store, &image, key(&world).as_ref()).await.unwrap(), "committed a moment ago");
    // As if the broker had been killed between the commit and the deletion.
    world.store.put(&before, content.into()).await.unwrap();
    assert!(!is_orphan(&world.store, &image, before.as_ref()).await.unwrap());
    let audit = audited(&world, NONE).await;
    assert_eq!(audit.findings, []);
    assert_eq!(objects(&audit, "producer state that waits for its deletion"), 1);
    append().await;
    let audit = audited(&world, NONE).await;
    assert_eq!(kinds(&audit.findings), [FindingKind::Orphan]);
    assert_eq!(audit.findings[0].object, before.to_string());
}

/// What one change of a sound store leads to.
async fn findings_after(options: Options, damage: impl AsyncFnOnce(&World)) -> Vec<Finding> {
    let (world, _) = world(0).await;
    damage(&world).await;
    audited(&world, options).await.findings
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

#[tokio::test]
async fn names_that_mean_nothing_are_found() {
    for name in
        ["segments/notes", "metadata/x", "wal/1/2", "wal/a/b/c", "backup/1", "stray", "snapshots/1/notes"]
    {
        let damage =
            async |world: &World| drop(world.store.put(&Path::from(name), "x".into()).await.unwrap());
        let findings = findings_after(LONG, damage).await;
        assert_eq!(kinds(&findings), [FindingKind::Unknown], "{name}: {findings:?}");
        assert_eq!(findings[0].object, name);
    }
}

#[tokio::test]
async fn a_missing_object_is_found_with_every_range_that_it_held() {
    let damage = async |world: &World| world.store.delete(&path(&first_range(world))).await.unwrap();
    let findings = findings_after(LONG, damage).await;
    assert_eq!(kinds(&findings), [FindingKind::Missing, FindingKind::Missing]);
    assert_eq!(findings[0].topic.as_deref(), Some("views"));
    assert_eq!((findings[0].partition, findings[0].offsets), (Some(0), Some((0, 23))));
    assert_eq!(findings[1].partition, Some(1));
}

#[tokio::test]
async fn a_flipped_bit_is_found_with_its_offsets_and_only_by_who_reads_every_byte() {
    let damage = async |world: &World| {
        let range = first_range(world);
        change(world, &path(&range), |bytes| bytes[range.position as usize + 100] ^= 1).await;
    };
    let findings = findings_after(LONG, damage).await;
    assert_eq!(kinds(&findings), [FindingKind::Checksum]);
    assert_eq!((findings[0].partition, findings[0].offsets), (Some(0), Some((0, 23))));
    assert_eq!(findings_after(Options { checksums: false, ..LONG }, damage).await, []);
}

#[tokio::test]
async fn a_cut_object_and_a_damaged_footer_are_found_without_reading_all() {
    let quick = Options { checksums: false, ..LONG };
    let cut = async |world: &World| {
        let range = first_range(world);
        change(world, &path(&range), |bytes| bytes.truncate(bytes.len() - 30)).await;
    };
    assert_eq!(kinds(&findings_after(quick, cut).await), [FindingKind::Size, FindingKind::Footer]);
    let footer = async |world: &World| {
        let range = first_range(world);
        change(world, &path(&range), |bytes| {
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
        })
        .await;
    };
    assert_eq!(kinds(&findings_after(quick, footer).await), [FindingKind::Footer]);
}

#[tokio::test]
async fn another_segment_under_an_objects_name_is_found() {
    let swap = async |world: &World| {
        let ranges = world.metadata.image().segments(TOPIC, 0).unwrap().ranges().to_vec();
        let other = world.store.get(&path(&ranges[1])).await.unwrap().bytes().await.unwrap();
        world.store.put(&path(&ranges[2]), other.into()).await.unwrap();
    };
    let findings = findings_after(Options { checksums: false, ..LONG }, swap).await;
    assert_eq!(kinds(&findings), [FindingKind::Index, FindingKind::Index], "{findings:?}");
}

#[tokio::test]
async fn producer_state_that_is_gone_or_damaged_is_found() {
    let snapshot = |world: &World| {
        let image = world.metadata.image();
        Path::from(image.wal(1).unwrap().snapshot.as_ref().unwrap().key().unwrap())
    };
    let damaged = async |world: &World| change(world, &snapshot(world), |bytes| bytes[9] ^= 1).await;
    assert_eq!(kinds(&findings_after(LONG, damaged).await), [FindingKind::Snapshot]);
    let gone = async |world: &World| world.store.delete(&snapshot(world)).await.unwrap();
    assert_eq!(kinds(&findings_after(LONG, gone).await), [FindingKind::Missing]);
}

#[tokio::test]
async fn a_hole_in_the_metadata_log_is_found_by_what_lies_behind_it() {
    let hole = async |world: &World| {
        let version = world.metadata.image().version;
        let last = Path::from(format!("metadata/{:020}", version - 1));
        let bytes = world.store.get(&last).await.unwrap().bytes().await.unwrap();
        let behind = Path::from(format!("metadata/{:020}", version + 1));
        world.store.put(&behind, bytes.into()).await.unwrap();
    };
    let findings = findings_after(LONG, hole).await;
    assert_eq!(kinds(&findings), [FindingKind::LogHole]);
}

#[test]
fn ranges_that_overlap_or_run_backward_are_found() {
    let range = |base_offset, last_offset| SegmentRange {
        topic_id: TOPIC,
        partition: 0,
        object: ObjectId(Uuid::nil()),
        base_offset,
        last_offset,
        max_timestamp_ms: 0,
        position: 0,
        length: 1,
        checksum: 0,
    };
    let found =
        |ranges: &[SegmentRange]| misplaced(ranges).map(|range| range.base_offset).collect::<Vec<_>>();
    assert_eq!(found(&[range(0, 9), range(10, 19), range(30, 39)]), [0_i64; 0]);
    assert_eq!(found(&[range(0, 10), range(10, 19), range(15, 15)]), [10, 15]);
    assert_eq!(found(&[range(5, 4)]), [5]);
}

#[tokio::test]
async fn an_index_that_contradicts_itself_is_found() {
    let (world, _) = world(0).await;
    let mut image = Image::clone(&world.metadata.image());
    assert_eq!(image_findings(&image), []);
    let objects = Arc::make_mut(&mut image.objects);
    objects.values_mut().for_each(|held| held.live_ranges += u32::from(held.live_ranges > 0));
    assert_eq!(kinds(&image_findings(&image)), [FindingKind::Count; 3]);
    let nowhere = ObjectId(Uuid::from_u128(3));
    let held = crate::metadata::ObjectImage { size_bytes: 1, live_ranges: 2, generation: 0, layer: 0 };
    let mut image = Image::clone(&world.metadata.image());
    Arc::make_mut(&mut image.objects).insert(nowhere, held);
    let found = image_findings(&image);
    assert_eq!(kinds(&found), [FindingKind::Count]);
    assert_eq!(found[0].object, SegmentStore::segment_key(nowhere));
}

#[tokio::test]
async fn a_store_without_a_cluster_is_told_as_that_and_not_made_one() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let refused = audit(store.clone(), Env::real(), LONG).await.unwrap_err();
    assert!(matches!(refused, AuditError::NoCluster) && refused.to_string().contains("fix:"));
    assert_eq!(futures::StreamExt::count(store.list(None)).await, 0);
}
