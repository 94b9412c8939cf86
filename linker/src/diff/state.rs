//! How far each partition of a family is compared, and what was found: what the cache keeps between starts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use towpath_plans::diff::{OffsetRange, PartitionProgress, RangeDigest};
use towpath_plans::evidence::{DifferenceSample, PartitionCompared, RangeCompared};
use towpath_plans::gates::{DiffObserved, Verdict};
use towpath_wire::client::TopicPartition;
use uuid::Uuid;

use super::comparison::{Compared, Found};

/// Bytes of a value that evidence may show of a sampled difference.
const CONTENTS_BYTES_MAX: usize = 1_024;

/// What the cache keeps of one partition, under [`Note::key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Ids of the topic on both sides: another incarnation is another comparison.
    pub(super) topic_ids: (Uuid, Uuid),
    /// How far, and what was found.
    pub(super) progress: PartitionProgress,
    /// The first differences, as evidence shows them.
    pub(super) samples: Vec<DifferenceSample>,
    /// When it was compared through the source's high watermark of that moment, ms since the epoch.
    pub(super) reached_ms: Option<i64>,
}

impl Note {
    /// Nothing compared yet.
    pub(super) fn new(id: &TopicPartition, topic_ids: (Uuid, Uuid), from: i64, samples_max: u64) -> Note {
        let progress = PartitionProgress::new(&id.topic, id.partition, from, samples_max);
        Note { topic_ids, progress, samples: Vec::new(), reached_ms: None }
    }

    /// Where the cache keeps it.
    pub(super) fn key(family: &str, id: &TopicPartition) -> String {
        format!("diff/{family}/{}/{}", id.topic, id.partition)
    }
}

/// One partition under comparison.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) note: Note,
    /// Compared and not yet in evidence.
    unwritten: Vec<(RangeDigest, RangeDigest)>,
    /// Whether the cache's note is older.
    pub(super) changed: bool,
    /// Bytes and offsets compared in this process: how much a stretch may be expected to weigh.
    weighed: (u64, u64),
    /// What the source held, and when, ms since the epoch: where the comparison must come to next.
    goal: Option<(i64, i64)>,
}

/// How samples are shown.
pub(super) struct Showing<'a> {
    /// The name of a key under the family's secret.
    pub(super) key_name: &'a (dyn Fn(&[u8]) -> String + Sync),
    /// Whether the plan allows to show what records contain.
    pub(super) contents: bool,
}

impl Partition {
    pub(super) fn new(note: Note) -> Partition {
        Partition { note, unwritten: Vec::new(), changed: true, weighed: (0, 0), goal: None }
    }

    /// Notes that the source ended at `end` at `seen_ms`. The goal stays put until it is reached: the very end of a
    /// partition that is written to all the time is never reached, what it held a moment ago is.
    pub(super) fn aim(&mut self, end: i64, seen_ms: i64) {
        let goal = self.goal.filter(|(goal, _)| *goal <= end).unwrap_or((end, seen_ms));
        self.goal = Some(if self.reached(goal) { (end, seen_ms) } else { goal });
        self.reached((end, seen_ms));
    }

    /// Notes that everything that the source held at a moment is compared, if it is.
    pub(super) fn reached(&mut self, (end, seen_ms): (i64, i64)) -> bool {
        let reached = self.note.progress.through >= end;
        if reached && self.note.reached_ms.is_none_or(|before| before < seen_ms) {
            self.changed |= self.note.reached_ms.is_none();
            self.note.reached_ms = Some(seen_ms);
        }
        reached
    }

    /// Takes in the next outcome.
    pub(super) fn take(&mut self, compared: Compared, showing: &Showing<'_>, now_ms: i64) {
        let progress = &mut self.note.progress;
        match compared {
            Compared::Expired(range) => {
                self.changed |= progress.expired(range, now_ms);
            }
            Compared::Range { source, target, found, bytes } => {
                let range = OffsetRange { from: source.from, to: source.to };
                let differences: Vec<_> = found.iter().map(|found| found.difference.clone()).collect();
                if !progress.compared(range, source.records, &differences, now_ms) {
                    return;
                }
                self.changed = true;
                self.unwritten.push((source, target));
                self.weighed = (self.weighed.0 + bytes, self.weighed.1 + range.offsets());
                let room = (progress.samples_max as usize).saturating_sub(self.note.samples.len());
                let (topic, partition) = (progress.topic.clone(), progress.partition);
                let samples = found.into_iter().take(room);
                self.note.samples.extend(samples.map(|found| sample(&topic, partition, found, showing)));
            }
        }
    }

    /// Bytes of one offset, as far as known.
    pub(super) fn bytes_per_offset(&self) -> Option<u64> {
        (self.weighed.1 > 0).then(|| (self.weighed.0 / self.weighed.1).max(1))
    }

    /// Ranges that evidence does not have yet.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// What evidence does not have yet: equal ranges that follow each other as one (their digest is then that of the
    /// row of digests), the others one by one. Each with how many of the compared ranges it stands for: they wait
    /// until [`Partition::written`] says that they are stored.
    pub(super) fn to_write(&self) -> Vec<(RangeCompared, usize)> {
        let mut runs: Vec<(Vec<RangeDigest>, Vec<RangeDigest>)> = Vec::new();
        for &(source, target) in &self.unwritten {
            match runs.last_mut() {
                Some((sources, targets))
                    if source == target && sources.last() == targets.last() && {
                        sources.last().is_some_and(|last| last.to == source.from)
                    } =>
                {
                    sources.push(source);
                    targets.push(target);
                }
                _ => runs.push((vec![source], vec![target])),
            }
        }
        let progress = &self.note.progress;
        let one = |(sources, targets): (Vec<RangeDigest>, Vec<RangeDigest>)| {
            let whole = |parts: &[RangeDigest]| match parts {
                [only] => Some(*only),
                parts => RangeDigest::combine(parts),
            };
            let (source, target) = (whole(&sources)?, whole(&targets)?);
            let range = RangeCompared {
                topic: progress.topic.clone(),
                partition: progress.partition,
                from: source.from,
                to: source.to,
                source_records: source.records,
                target_records: target.records,
                source_digest: source.hex(),
                target_digest: target.hex(),
            };
            Some((range, sources.len()))
        };
        runs.into_iter().filter_map(one).collect()
    }

    /// Evidence has the first `count` of the ranges that waited.
    pub(super) fn written(&mut self, count: usize) {
        self.unwritten.drain(..count.min(self.unwritten.len()));
    }

    /// What the gates see.
    pub(super) fn observed(&self, source_high_watermark: i64, now_ms: i64, since_ms: i64) -> DiffObserved {
        let progress = &self.note.progress;
        let differences = progress.counts.total();
        let uncompared = (source_high_watermark - progress.through).max(0) as u64;
        let verdict = match (differences, self.note.reached_ms) {
            (1.., _) => Verdict::Fail,
            (0, Some(_)) => Verdict::Pass,
            (0, None) => Verdict::Inconclusive,
        };
        let uncompared_ms = match (uncompared, self.note.reached_ms) {
            (0, Some(_)) => 0,
            (_, reached_ms) => (now_ms - reached_ms.unwrap_or(since_ms)).max(0) as u64,
        };
        DiffObserved {
            topic: progress.topic.clone(),
            partition: progress.partition,
            verdict,
            compared_records: progress.records,
            differences,
            compared_through: progress.through,
            uncompared_records: uncompared,
            uncompared_ms,
        }
    }

    /// What evidence says of how far it came.
    pub(super) fn compared(&self) -> PartitionCompared {
        let progress = &self.note.progress;
        PartitionCompared {
            topic: progress.topic.clone(),
            partition: progress.partition,
            from: progress.from,
            through: progress.through,
            records: progress.records,
            at_ms: progress.at_ms,
        }
    }
}

fn sample(topic: &str, partition: i32, found: Found, showing: &Showing<'_>) -> DifferenceSample {
    let (key, value) = found.record.map_or((None, None), |record| (record.key, record.value));
    let contents = value
        .filter(|_| showing.contents)
        .map(|value| BASE64.encode(&value[..value.len().min(CONTENTS_BYTES_MAX)]));
    DifferenceSample {
        topic: topic.to_owned(),
        partition,
        offset: found.difference.offset,
        sentence: found.difference.to_string(),
        key: key.map(|key| (showing.key_name)(&key)),
        contents,
    }
}

#[cfg(test)]
mod tests {
    use towpath_plans::diff::{Difference, DifferenceKind};

    use super::super::comparison::Contents;
    use super::*;

    fn range(from: i64, to: i64, digest: u8) -> RangeDigest {
        RangeDigest { from, to, records: (to - from) as u64, digest: [digest; 32] }
    }

    fn partition() -> Partition {
        let id = TopicPartition::new("views", 3);
        Partition::new(Note::new(&id, (Uuid::nil(), Uuid::nil()), 0, 1))
    }

    fn take(partition: &mut Partition, source: RangeDigest, target: RangeDigest, found: Vec<Found>) {
        let key_name = |key: &[u8]| format!("key of {} bytes", key.len());
        let showing = Showing { key_name: &key_name, contents: false };
        partition.take(Compared::Range { source, target, found, bytes: 100 }, &showing, 7);
    }

    #[test]
    fn evidence_has_equal_ranges_joined_and_unequal_ones_by_themselves() {
        let mut partition = partition();
        for (source, target) in [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6)] {
            let from = partition.note.progress.through;
            take(&mut partition, range(from, from + 10, source), range(from, from + 10, target), vec![]);
        }
        let written = partition.to_write();
        let spans: Vec<_> = written
            .iter()
            .map(|(range, count)| (range.from, range.to, range.source_records, *count))
            .collect();
        assert_eq!(spans, [(0, 20, 20, 2), (20, 30, 10, 1), (30, 50, 20, 2)]);
        assert_eq!(written[0].0.source_digest, written[0].0.target_digest);
        assert_ne!(written[1].0.source_digest, written[1].0.target_digest);
        assert_eq!(partition.bytes_per_offset(), Some(10));
    }

    #[test]
    fn ranges_wait_for_evidence_until_they_are_stored() {
        let mut partition = partition();
        for digest in [1, 2] {
            let from = partition.note.progress.through;
            take(&mut partition, range(from, from + 10, digest), range(from, from + 10, 7), vec![]);
        }
        let first = partition.to_write();
        assert_eq!(partition.to_write(), first, "what could not be stored is handed over again");
        // The first was stored, then the store failed, and more was compared meanwhile.
        partition.written(first[0].1);
        take(&mut partition, range(20, 30, 3), range(20, 30, 7), vec![]);
        let left: Vec<_> = partition.to_write().into_iter().map(|(range, _)| range.from).collect();
        assert_eq!((left, partition.unwritten()), (vec![10, 20], 2));
    }

    #[test]
    fn a_sample_names_the_key_and_never_shows_it() {
        let mut partition = partition();
        let found = |offset| Found {
            difference: Difference { offset, kind: DifferenceKind::Missing },
            record: Some(Contents { key: Some(b"secret".to_vec()), value: Some(b"too".to_vec()) }),
        };
        take(&mut partition, range(0, 9, 1), range(0, 9, 2), vec![found(1), found(4)]);
        let [sample] = &partition.note.samples[..] else { panic!("{:?}", partition.note.samples) };
        assert_eq!(sample.sentence, "offset 1 is missing on the target");
        assert_eq!((sample.key.as_deref(), &sample.contents), (Some("key of 6 bytes"), &None));
        assert_eq!(partition.note.progress.counts.missing, 2);
    }

    #[test]
    fn a_partition_that_never_rests_is_compared_as_of_a_moment_ago() {
        let mut partition = partition();
        partition.aim(10, 100);
        take(&mut partition, range(0, 10, 1), range(0, 10, 1), vec![]);
        partition.aim(15, 200);
        assert_eq!(partition.note.reached_ms, Some(100));
        take(&mut partition, range(10, 14, 1), range(10, 14, 1), vec![]);
        partition.aim(20, 300);
        assert_eq!(partition.note.reached_ms, Some(100));
        take(&mut partition, range(14, 20, 1), range(14, 20, 1), vec![]);
        partition.aim(20, 400);
        assert_eq!(partition.note.reached_ms, Some(400));
        // A source that was cut back has another end to be compared through.
        partition.aim(50, 500);
        partition.aim(20, 600);
        assert_eq!(partition.note.reached_ms, Some(600));
    }

    #[test]
    fn what_was_never_compared_to_its_end_is_inconclusive_and_ages() {
        let mut partition = partition();
        take(&mut partition, range(0, 10, 1), range(0, 10, 1), vec![]);
        let seen = partition.observed(25, 1_000, 400);
        assert_eq!(
            (seen.verdict, seen.uncompared_records, seen.uncompared_ms),
            (Verdict::Inconclusive, 15, 600)
        );
        partition.note.reached_ms = Some(900);
        let seen = partition.observed(25, 1_000, 400);
        assert_eq!((seen.verdict, seen.uncompared_ms), (Verdict::Pass, 100));
        assert_eq!(partition.observed(10, 5_000, 400).uncompared_ms, 0);
    }
}
