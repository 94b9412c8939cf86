//! What is merged next. Pure: an image in, a job out.
//!
//! Objects of one generation are merged by age: all objects of the oldest few layers at once, so that every
//! partition's neighbouring ranges meet and the sources are left without references. The job is cut into slices:
//! partitions that follow one another in every object, so that one request per object reads all of a slice.
//!
//! Requests per GiB, with segments of S, n layers at once and slices of at most B: a job of n·S bytes reads
//! ⌈n·S/B⌉ slices with n requests each, and writes one object per slice. With S = 32 MiB and B = 96 MiB:
//!
//! ```text
//!                               6 partitions   24 partitions          1,000 partitions
//! range as uploaded             5.3 MiB        1.3 MiB                33 KiB
//! layers at once                none: enough   5 (the bound)          5 (the bound)
//! slices of one job                            2                      2
//! reads  per generation                        5·2 of 160 MiB = 64    5·2 of 160 MiB = 64
//! writes per generation                        2   of 160 MiB = 13    2   of 160 MiB = 13
//! commits per generation                       1   of 160 MiB = 6     1   of 160 MiB = 6
//! generations                   0              1                      2 (the bound)
//! merging, per GiB              0              83                     166
//! uploading: segment, commit    64             64                     64 (and 64 for snapshots too large for the
//!                                                                     commit)
//! ```
//! Half of a run (4 MiB) is what one read-ahead asks for. Merging runs of that length would save a reader nothing, and
//! cost the broker a read and a write of every byte: at 300 MB/s, twice the CPU time of all else.
//! Bars, deletions and strikes come once per `maintenance_interval` at most, whatever their number. A read costs a
//! twelfth of a write on S3.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::metadata::{Image, ObjectId, PartitionSegments, SegmentRange};
use crate::storage::StorageConfig;

/// Bytes between two ranges of a slice are read along up to here: that costs less than a request.
const GAP_BYTES_MAX: u64 = 256 * 1024;

/// The bounds of merging.
#[derive(Clone, Copy, Debug)]
pub(in crate::partition) struct Rules {
    /// So many layers at most are merged at once; below two, none.
    pub layers_max: usize,
    /// Bytes that a slice reads at most.
    pub bytes_max: u64,
    /// What a run of one partition should grow to. From half of it on it is left alone.
    pub run_bytes: u64,
    /// No byte is merged more often.
    pub generations_max: u8,
}

impl Rules {
    /// Those of this configuration.
    pub fn of(config: &StorageConfig) -> Rules {
        Rules {
            layers_max: config.merge_layers_max,
            bytes_max: config.merge_bytes_max as u64,
            run_bytes: config.merge_run_bytes as u64,
            generations_max: config.merge_generations_max,
        }
    }

    fn is_small(&self, range: &SegmentRange) -> bool {
        u64::from(range.length) < (self.run_bytes / 2).min(self.bytes_max)
    }
}

/// Consecutive ranges of one partition that become one.
pub(in crate::partition) type Run = Vec<SegmentRange>;

/// A stretch of an object that one request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::partition) struct Area {
    pub object: ObjectId,
    pub start: u64,
    pub end: u64,
}

/// What becomes one object: runs in the order of topic id and partition, each partition once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::partition) struct Slice {
    pub runs: Vec<Run>,
    pub areas: Vec<Area>,
    last_area: HashMap<ObjectId, usize>,
    bytes: u64,
}

/// A merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::partition) struct Job {
    /// Of the objects that it makes.
    pub generation: u8,
    /// All objects that it is made of.
    pub sources: Vec<ObjectId>,
    pub slices: Vec<Slice>,
}

/// Objects and ranges of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::partition) struct Count {
    pub objects: i64,
    pub ranges: i64,
}

/// What is left alone.
#[derive(Clone, Debug, Default)]
pub(in crate::partition) struct Excluded {
    /// Objects that are damaged or missing: they stay as they are until somebody mends them.
    pub objects: HashSet<ObjectId>,
    /// The partition that is being compacted.
    pub partition: Option<(Uuid, i32)>,
}

/// How much of each object is worth merging.
#[derive(Clone, Copy, Default)]
struct Weight {
    live_bytes: u64,
    small_bytes: u64,
    /// Sum of the squares of the small ranges' lengths: large ones decide how much is enough.
    small_squares: u128,
}

/// Counts what the image refers to, by generation.
pub(in crate::partition) fn census(image: &Image) -> BTreeMap<u8, Count> {
    let mut counts = BTreeMap::<u8, Count>::new();
    for held in image.objects.values() {
        let count = counts.entry(held.generation).or_default();
        count.objects += 1;
        count.ranges += i64::from(held.live_ranges);
    }
    counts
}

/// The next job, if one is worth it.
pub(in crate::partition) fn plan(image: &Image, rules: &Rules, excluded: &Excluded) -> Option<Job> {
    if rules.layers_max < 2 {
        return None;
    }
    let mut counts = census(image).into_iter().filter(|(generation, _)| *generation < rules.generations_max);
    if !counts.any(|(_, count)| count.objects >= 2) {
        return None;
    }
    let weights = weigh(image, rules, excluded.partition);
    let oldest = |generation| oldest_layers(image, rules, generation, (&excluded.objects, &weights));
    let (generation, sources) =
        (0..rules.generations_max).find_map(|generation| Some((generation, oldest(generation)?)))?;
    let whole = sources.iter().map(|object| {
        let weight = weights.get(object).copied().unwrap_or_default();
        // What little would be left alone goes along, or it would keep the rest from being deleted.
        (*object, weight.small_bytes * 2 >= weight.live_bytes)
    });
    let slices = slices(image, rules, (&whole.collect(), excluded.partition));
    (!slices.is_empty()).then_some(Job { generation: generation + 1, sources, slices })
}

fn weigh(image: &Image, rules: &Rules, excluded: Option<(Uuid, i32)>) -> HashMap<ObjectId, Weight> {
    let mut weights = HashMap::<ObjectId, Weight>::new();
    let all = image.partitions_in_order().into_iter().flat_map(|(_, _, held)| held.ranges());
    for range in all {
        let length = u64::from(range.length);
        let weight = weights.entry(range.object).or_default();
        weight.live_bytes += length;
        // What may not be moved now is no reason to merge: else it would be planned over and over.
        if rules.is_small(range) && excluded != Some((range.topic_id, range.partition)) {
            // An empty range counts for something, or it would stay for ever.
            weight.small_bytes += length.max(1);
            weight.small_squares += u128::from(length) * u128::from(length);
        }
    }
    weights
}

/// All objects of the oldest layers of a generation, if there are enough for a run of the target size, or as many
/// as the bound allows.
fn oldest_layers(
    image: &Image,
    rules: &Rules,
    generation: u8,
    (excluded, weights): (&HashSet<ObjectId>, &HashMap<ObjectId, Weight>),
) -> Option<Vec<ObjectId>> {
    let mut layers = BTreeMap::<u64, Vec<ObjectId>>::new();
    for (object, held) in image.objects.iter().filter(|(_, held)| held.generation == generation) {
        let small = weights.get(object).is_some_and(|weight| weight.small_bytes > 0);
        if small && !excluded.contains(object) {
            layers.entry(held.layer).or_default().push(*object);
        }
    }
    let oldest: Vec<Vec<ObjectId>> = layers.into_values().take(rules.layers_max).collect();
    let considered = oldest.iter().flatten().filter_map(|object| weights.get(object));
    let (bytes, squares) = considered.fold((0, 0), |(bytes, squares), weight| {
        (bytes + u128::from(weight.small_bytes), squares + weight.small_squares)
    });
    // The length of the range that a byte typically lies in; an eighth less than the target is near enough.
    let typical = (squares / bytes.max(1)).max(1);
    let enough = (u128::from(rules.run_bytes) * 7 / 8).div_ceil(typical);
    let wanted = usize::try_from(enough).unwrap_or(usize::MAX).clamp(2, rules.layers_max);
    if oldest.len() < wanted {
        return None;
    }
    let mut sources: Vec<ObjectId> = oldest.into_iter().take(wanted).flatten().collect();
    sources.sort_unstable();
    Some(sources)
}

/// Cuts what moves out of `sources` (each with whether all of it does) into slices.
fn slices(
    image: &Image,
    rules: &Rules,
    (sources, excluded): (&HashMap<ObjectId, bool>, Option<(Uuid, i32)>),
) -> Vec<Slice> {
    let moves = |range: &SegmentRange| {
        let whole = sources.get(&range.object);
        u64::from(range.length) <= rules.bytes_max
            && whole.is_some_and(|whole| *whole || rules.is_small(range))
    };
    let mut slices: Vec<Slice> = Vec::new();
    let partitions = image.partitions_in_order().into_iter();
    for (topic_id, partition, held) in partitions.filter(|(id, index, _)| excluded != Some((*id, *index))) {
        for run in first_run(held, rules.bytes_max, moves) {
            let fits = slices.last().is_some_and(|slice| slice.fits(topic_id, partition, &run, rules));
            if !fits {
                slices.push(Slice::default());
            }
            if let Some(slice) = slices.last_mut() {
                slice.push(run);
            }
        }
    }
    slices
}

/// The first run of ranges that move, in pieces of at most `bytes_max`. What lies behind a range that stays is a
/// later job's: one object holds no partition twice.
fn first_run(held: &PartitionSegments, bytes_max: u64, moves: impl Fn(&SegmentRange) -> bool) -> Vec<Run> {
    let mut pieces: Vec<Run> = Vec::new();
    let mut bytes = 0;
    let moving = held.ranges().iter().skip_while(|range| !moves(range)).take_while(|range| moves(range));
    for range in moving {
        let length = u64::from(range.length);
        match pieces.last_mut() {
            Some(piece) if bytes + length <= bytes_max => piece.push(*range),
            _ => {
                pieces.push(vec![*range]);
                bytes = 0;
            }
        }
        bytes += length;
    }
    pieces
}

impl Job {
    /// The partitions of which something moves.
    pub fn partitions(&self) -> HashSet<(Uuid, i32)> {
        let runs = self.slices.iter().flat_map(|slice| &slice.runs).filter_map(|run| run.first());
        runs.map(|range| (range.topic_id, range.partition)).collect()
    }
}

impl Slice {
    fn fits(&self, topic_id: Uuid, partition: i32, run: &Run, rules: &Rules) -> bool {
        let last = self.runs.last().and_then(|run| run.first());
        let twice = last.is_some_and(|last| (last.topic_id, last.partition) == (topic_id, partition));
        let more: u64 = run.iter().map(|range| self.gap(range).unwrap_or(0) + u64::from(range.length)).sum();
        !twice && self.bytes + more <= rules.bytes_max
    }

    /// Bytes between a range and what is read of its object before, if that is near.
    fn gap(&self, range: &SegmentRange) -> Option<u64> {
        let area = self.areas[*self.last_area.get(&range.object)?];
        range.position.checked_sub(area.end).filter(|gap| *gap <= GAP_BYTES_MAX)
    }

    fn push(&mut self, run: Run) {
        for range in &run {
            let end = range.position + u64::from(range.length);
            match (self.gap(range), self.last_area.get(&range.object)) {
                (Some(_), Some(at)) => {
                    self.bytes += end - self.areas[*at].end;
                    self.areas[*at].end = end;
                }
                _ => {
                    self.last_area.insert(range.object, self.areas.len());
                    self.areas.push(Area { object: range.object, start: range.position, end });
                    self.bytes += u64::from(range.length);
                }
            }
        }
        self.runs.push(run);
    }

    /// Bytes that are in memory while the slice is merged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
