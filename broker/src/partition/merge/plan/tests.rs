//! Plans against images of any shape, applied until nothing is left to merge.

use proptest::prelude::*;

use super::*;
use crate::metadata::{LogStartAdvanced, SegmentCommitted, SegmentsMerged, TopicCreated};

const PARTITIONS: usize = 5;
const TOPICS: [Uuid; 2] = [Uuid::from_u128(9), Uuid::from_u128(4)];

fn rules() -> Rules {
    Rules { layers_max: 5, bytes_max: 64_000, run_bytes: 16_000, generations_max: 2 }
}

/// An image after uploads whose partitions (of both topics) had so many bytes each; 0: nothing.
fn uploaded(uploads: &[[u32; 2 * PARTITIONS]]) -> Image {
    let mut image = Image::default();
    for (number, id) in TOPICS.into_iter().enumerate() {
        let (partitions, configs) = (PARTITIONS as i32, BTreeMap::new());
        let name = format!("topic-{number}");
        image.apply(&TopicCreated { name, id, partitions, configs, internal: false }.into()).unwrap();
    }
    for (number, lengths) in uploads.iter().enumerate() {
        let object = ObjectId(Uuid::from_u128(1_000 + number as u128));
        let mut position = 0;
        let mut ranges = Vec::new();
        // In the order of topic ids, which is not that of their creation.
        for (at, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let (topic_id, partition) = (TOPICS[1 - at / PARTITIONS], (at % PARTITIONS) as i32);
            let held = image.segments(topic_id, partition).unwrap();
            let base_offset = held.end().unwrap_or(0);
            let last_offset = base_offset + i64::from(*length) - 1;
            let (max_timestamp_ms, checksum, length) = (0, 0, *length);
            ranges.push(SegmentRange {
                topic_id,
                partition,
                object,
                base_offset,
                last_offset,
                max_timestamp_ms,
                position,
                length,
                checksum,
            });
            position += u64::from(length);
        }
        let entry = SegmentCommitted { object, born: number as u64, size_bytes: position, ranges, wal: None };
        image.version = number as u64;
        image.apply(&entry.into()).unwrap();
    }
    image
}

/// What executing a job would commit.
fn execute(image: &mut Image, job: &Job, number: &mut u128) {
    for slice in &job.slices {
        *number += 1;
        let object = ObjectId(Uuid::from_u128(*number << 64));
        let mut position = 0;
        let mut ranges = Vec::new();
        for run in &slice.runs {
            let (first, last) = (run[0], run[run.len() - 1]);
            let length = run.iter().map(|range| range.length).sum::<u32>();
            ranges.push(SegmentRange { object, position, length, last_offset: last.last_offset, ..first });
            position += u64::from(length);
        }
        let (born, size_bytes) = (image.version, position);
        let (generation, replaced) = (job.generation, job.sources.clone());
        image.version += 1;
        let entry = SegmentsMerged { object, born, generation, size_bytes, ranges, replaced };
        image.apply(&entry.into()).unwrap();
    }
}

/// Offsets and bytes of each partition, whatever ranges they lie in.
fn contents(image: &Image) -> Vec<(i64, i64, u64)> {
    let spans = image.partitions_in_order().into_iter().map(|(_, _, held)| {
        let ranges = held.ranges();
        assert!(ranges.windows(2).all(|pair| pair[0].last_offset + 1 == pair[1].base_offset));
        let first = ranges.first().map_or(0, |range| range.base_offset);
        (first, held.end().unwrap_or(0), held.size_bytes())
    });
    spans.collect()
}

fn check(image: &Image, job: &Job, rules: &Rules) {
    assert!(job.generation <= rules.generations_max);
    for slice in &job.slices {
        assert!(slice.bytes() <= rules.bytes_max, "{}", slice.bytes());
        assert_eq!(slice.bytes(), slice.areas.iter().map(|area| area.end - area.start).sum::<u64>());
        let keys: Vec<_> = slice.runs.iter().map(|run| (run[0].topic_id, run[0].partition)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        for range in slice.runs.iter().flatten() {
            assert!(job.sources.contains(&range.object));
            let inside = slice.areas.iter().filter(|area| {
                let end = range.position + u64::from(range.length);
                area.object == range.object && area.start <= range.position && end <= area.end
            });
            assert!(inside.count() >= 1, "{range:?} is read by no area");
            assert_eq!(image.objects[&range.object].generation + 1, job.generation);
        }
    }
}

/// Layers of a generation that hold small ranges, those of one partition apart.
fn small_layers(image: &Image, rules: &Rules, generation: u8, but: Option<(Uuid, i32)>) -> usize {
    let small = |object: &ObjectId| {
        let others = image.partitions_in_order().into_iter().filter(|(id, at, _)| but != Some((*id, *at)));
        let mut all = others.flat_map(|(_, _, held)| held.ranges());
        all.any(|range| range.object == *object && rules.is_small(range))
    };
    let of = image.objects.iter().filter(|(_, held)| held.generation == generation);
    let layers: HashSet<u64> = of.filter(|(id, _)| small(id)).map(|(_, held)| held.layer).collect();
    layers.len()
}

fn lengths() -> impl Strategy<Value = Vec<[u32; 2 * PARTITIONS]>> {
    let length = prop_oneof![2 => Just(0_u32), 4 => 1..200_u32, 3 => 200..6_000_u32, 1 => 6_000..90_000_u32];
    proptest::collection::vec(proptest::array::uniform10(length), 1..40)
}

proptest! {
    #[test]
    fn any_image_is_merged_within_the_bounds_to_an_end_and_loses_nothing(
        uploads in lengths(), starts in proptest::collection::vec((0..10_usize, 0..50_000_i64), 0..5),
    ) {
        let rules = rules();
        let mut image = uploaded(&uploads);
        for (at, offset) in starts {
            let (topic_id, partition) = (TOPICS[at % 2], (at / 2) as i32);
            let _ = image.apply(&LogStartAdvanced { node_id: 1, epoch: 0, topic_id, partition, offset }.into());
        }
        let before = contents(&image);
        let mut number = 0;
        let mut jobs = 0;
        while let Some(job) = plan(&image, &rules, &Excluded::default()) {
            check(&image, &job, &rules);
            execute(&mut image, &job, &mut number);
            prop_assert_eq!(&contents(&image), &before);
            jobs += 1;
            prop_assert!(jobs <= 4 * uploads.len(), "merging does not end");
        }
        // Of no generation below the last are there layers enough for another merge.
        for generation in 0..rules.generations_max {
            prop_assert!(small_layers(&image, &rules, generation, None) < rules.layers_max);
        }
    }

    #[test]
    fn a_partition_that_is_compacted_is_left_alone_and_all_others_are_merged_to_an_end(
        uploads in lengths(), at in 0..2 * PARTITIONS,
    ) {
        let rules = rules();
        let id = (TOPICS[1 - at / PARTITIONS], (at % PARTITIONS) as i32);
        let excluded = Excluded { partition: Some(id), ..Excluded::default() };
        let mut image = uploaded(&uploads);
        let (before, held) = (contents(&image), image.segments(id.0, id.1).cloned());
        let (mut number, mut jobs) = (0, 0);
        while let Some(job) = plan(&image, &rules, &excluded) {
            check(&image, &job, &rules);
            prop_assert!(!job.partitions().contains(&id));
            execute(&mut image, &job, &mut number);
            jobs += 1;
            prop_assert!(jobs <= 4 * uploads.len(), "merging does not end");
        }
        prop_assert_eq!(image.segments(id.0, id.1).cloned(), held);
        for generation in 0..rules.generations_max {
            prop_assert!(small_layers(&image, &rules, generation, Some(id)) < rules.layers_max);
        }
        while let Some(job) = plan(&image, &rules, &Excluded::default()) {
            execute(&mut image, &job, &mut number);
        }
        prop_assert_eq!(contents(&image), before, "and what was left is merged afterwards");
    }

    #[test]
    fn what_cannot_be_read_is_never_asked_for(uploads in lengths(), bad in any::<prop::sample::Index>()) {
        let image = uploaded(&uploads);
        let bad = HashSet::from([ObjectId(Uuid::from_u128(1_000 + bad.index(uploads.len()) as u128))]);
        let excluded = Excluded { objects: bad.clone(), ..Excluded::default() };
        if let Some(job) = plan(&image, &rules(), &excluded) {
            prop_assert!(job.sources.iter().all(|source| !bad.contains(source)));
            let mut areas = job.slices.iter().flat_map(|slice| &slice.areas);
            prop_assert!(areas.all(|area| !bad.contains(&area.object)));
        }
    }
}

#[test]
fn six_partitions_are_merged_three_uploads_at_once_with_one_read_per_object_and_slice() {
    // As 32 MiB to 64 MiB and 16 MiB, a thousandth of it.
    let mut upload = [0; 10];
    upload[2..8].fill(5_400);
    let mut image = uploaded(&[upload; 6]);
    let job = plan(&image, &rules(), &Excluded::default()).unwrap();
    assert_eq!((job.sources.len(), job.slices.len(), job.generation), (3, 2, 1));
    assert!(job.slices.iter().all(|slice| slice.areas.len() == 3 && slice.runs.len() == 3));
    let mut number = 0;
    execute(&mut image, &job, &mut number);
    let sources = job.sources.iter().filter(|source| image.objects[*source].live_ranges > 0);
    assert_eq!(sources.count(), 0, "nothing refers to the sources any more");
    let second = plan(&image, &rules(), &Excluded::default()).unwrap();
    execute(&mut image, &second, &mut number);
    assert_eq!(plan(&image, &rules(), &Excluded::default()), None, "runs of the target size are left alone");
}

#[test]
fn a_large_range_beside_small_ones_is_not_moved_and_tiny_ones_are() {
    let mut upload = [0; 10];
    (upload[1], upload[4], upload[7]) = (30_000, 10, 10);
    let image = uploaded(&[upload; 5]);
    let job = plan(&image, &rules(), &Excluded::default()).unwrap();
    let moved: Vec<u32> =
        job.slices.iter().flat_map(|slice| slice.runs.iter().flatten()).map(|r| r.length).collect();
    assert_eq!(moved, [10; 10]);
}

#[test]
fn merging_is_off_below_two_layers() {
    let mut upload = [0; 10];
    upload[0] = 10;
    let image = uploaded(&[upload; 30]);
    assert!(plan(&image, &rules(), &Excluded::default()).is_some());
    assert_eq!(plan(&image, &Rules { layers_max: 0, ..rules() }, &Excluded::default()), None);
}
