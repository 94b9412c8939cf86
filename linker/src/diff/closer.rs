//! A closer look at ranges whose digests differ: read again, narrowed down, compared record by record.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use towpath_plans::diff::{
    Bisection, CompactedDiff, Difference, DifferenceKind, OffsetRange, RangeDigest, Record, Unsorted,
    compare, compare_common,
};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::describe_topic_configs;

use super::bounds;
use super::comparison::{Compared, Comparison, Contents, Found, Held, Pair};
use super::jobs;
use super::reader::{ReadError, Reader, Stretch};
use super::session::Manner;
use crate::error::{LinkerError, Side};

/// Bytes of keys and values of both sides that are held in memory to be compared record by record.
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// Keys of a compacted topic that are looked for in one reading; about 200 bytes each. More are looked for in
/// several readings.
const KEYS_MAX: usize = 1 << 20;

type Failed = (Side, ReadError);

/// Looks at unequal ranges on behalf of a comparison.
pub(super) struct Closer<'a> {
    pub(super) comparison: &'a Comparison,
    pub(super) manner: Manner,
}

/// What record by record comparison of some windows gave.
struct Finding {
    range: OffsetRange,
    differences: Vec<Difference>,
    /// Records by offset, for samples: the source's where it has one.
    sampled: BTreeMap<i64, Contents>,
    /// Keys of records that one side holds alone; only on compacted topics.
    lonely: HashSet<[u8; 32]>,
}

impl Closer<'_> {
    /// Takes a closer look at the unequal ranges of one stretch; the outcomes cover all of its ranges, in order.
    pub(super) async fn close(&self, stretch: &Stretch, ranges: &[Held]) -> Result<Vec<Compared>, Failed> {
        let id = &stretch.id;
        let compacted = self.is_compacted(&id.topic).await?;
        let mut findings = Vec::new();
        for unequal in ranges.iter().filter_map(Held::unequal) {
            findings.push(self.look(id, unequal, compacted).await?);
        }
        if let Some(Held::Unequal(last)) = ranges.iter().rfind(|held| held.unequal().is_some()) {
            self.check_held(id, range_of(last)?.to).await?;
        }
        self.look_for_lonely(id, &mut findings).await?;
        let start = self.start(id).await?;
        let mut findings = findings.into_iter();
        let mut outcomes = Vec::new();
        for held in ranges {
            match held {
                Held::Equal(pair) => outcomes.push(pair.outcome()),
                Held::Unequal(pairs) => {
                    let Some(finding) = findings.next() else { continue };
                    outcomes.extend(self.outcomes((id, compacted), start, pairs, finding).await?);
                }
            }
        }
        Ok(outcomes)
    }

    /// Reads adjacent unequal ranges again and compares them record by record.
    async fn look(&self, id: &TopicPartition, pairs: &[Pair], compacted: bool) -> Result<Finding, Failed> {
        let range = range_of(pairs)?;
        let bytes: u64 = pairs.iter().map(|pair| pair.source.bytes + pair.target.bytes).sum();
        let samples_max = self.comparison.spec.samples_max as usize;
        let mut finding = Finding::new(range);
        for window in self.windows(id, range, bytes).await? {
            let (source, target) = self.both(id, window, jobs::records).await?;
            finding.take(&source, &target, compacted).map_err(went_back)?;
            finding.keep_samples(samples_max, &source, &target);
        }
        Ok(finding)
    }

    /// Leaves out what expired on one side meanwhile, and answers the rest.
    async fn outcomes(
        &self,
        (id, compacted): (&TopicPartition, bool),
        start: i64,
        pairs: &[Pair],
        mut finding: Finding,
    ) -> Result<Vec<Compared>, Failed> {
        let range = finding.range;
        let from = start.clamp(range.from, range.to);
        let mut outcomes = Vec::new();
        if from > range.from {
            outcomes.push(Compared::Expired(OffsetRange { from: range.from, to: from }));
            finding.differences.retain(|difference| difference.offset >= from);
        }
        if from == range.to {
            return Ok(outcomes);
        }
        let rest = OffsetRange { from, to: range.to };
        let (source, target) = match from == range.from && (compacted || !finding.differences.is_empty()) {
            true => combined(pairs)?,
            // What expired is part of the digests, or nothing was found behind them: look again.
            false => self.both(id, rest, jobs::digest_whole).await?,
        };
        if !compacted && source != target && finding.differences.is_empty() {
            return Err(changing(id, rest));
        }
        finding.differences.sort_by_key(|difference| difference.offset);
        let found = finding.differences.into_iter().map(|difference| {
            let record = finding.sampled.remove(&difference.offset);
            Found { difference, record }
        });
        let bytes = pairs.iter().map(|pair| pair.source.bytes).sum();
        outcomes.push(Compared::Range { source, target, found: found.collect(), bytes });
        Ok(outcomes)
    }

    /// The parts of an unequal range that are unequal and fit into memory.
    async fn windows(
        &self,
        id: &TopicPartition,
        range: OffsetRange,
        bytes: u64,
    ) -> Result<Vec<OffsetRange>, Failed> {
        if bytes <= WINDOW_BYTES_MAX {
            return Ok(vec![range]);
        }
        let offsets_max = (range.offsets().saturating_mul(WINDOW_BYTES_MAX) / bytes).max(1);
        let mut bisection = Bisection::new(&[range], offsets_max);
        while let Some(half) = bisection.next() {
            let (source, target) = self.both(id, half, jobs::digest_whole).await?;
            bisection.answer(source == target);
        }
        Ok(bisection.small())
    }

    /// Does the same on both sides at once.
    async fn both<T: Send + 'static>(
        &self,
        id: &TopicPartition,
        range: OffsetRange,
        job: fn(&super::session::Session, &Stretch, &Manner) -> Result<T, ReadError>,
    ) -> Result<(T, T), Failed> {
        let one = async |reader: &Reader| {
            let stretch = Stretch { id: id.clone(), from: range.from, to: range.to };
            let manner = self.manner.clone();
            let done = reader.run(move |session| job(session, &stretch, &manner)).await;
            done.map_err(|error| (reader.side, error))
        };
        tokio::try_join!(one(&self.comparison.source), one(&self.comparison.target))
    }

    /// Looks in both partitions, whole, for the latest records of keys that one side has alone.
    async fn look_for_lonely(&self, id: &TopicPartition, findings: &mut [Finding]) -> Result<(), Failed> {
        let lonely: HashSet<[u8; 32]> = findings.iter_mut().flat_map(|one| one.lonely.drain()).collect();
        if lonely.is_empty() {
            return Ok(());
        }
        let from = self.start(id).await?;
        let (source_end, target_end) =
            bounds::ends(&self.comparison.spec, id).await.map_err(|error| (Side::Source, error.into()))?;
        let whole = Stretch { id: id.clone(), from, to: source_end.min(target_end) };
        let lonely: Vec<[u8; 32]> = lonely.into_iter().collect();
        for keys in lonely.chunks(KEYS_MAX) {
            let keys: Arc<HashSet<[u8; 32]>> = Arc::new(keys.iter().copied().collect());
            let one = async |reader: &Reader| {
                let (whole, manner, keys) = (whole.clone(), self.manner.clone(), keys.clone());
                let done = reader.run(move |session| jobs::latest(session, &whole, &keys, &manner)).await;
                done.map_err(|error| (reader.side, error))
            };
            let (source, target) =
                tokio::try_join!(one(&self.comparison.source), one(&self.comparison.target))?;
            for difference in source.join(target).finish() {
                // One that lies elsewhere is found when it is that range's turn.
                if let Some(finding) = findings.iter_mut().find(|finding| finding.holds(&difference)) {
                    finding.differences.push(difference);
                }
            }
        }
        Ok(())
    }

    async fn is_compacted(&self, topic: &str) -> Result<bool, Failed> {
        let spec = &self.comparison.spec;
        let mut compacted = false;
        for (side, cluster) in [(Side::Source, &spec.source), (Side::Target, &spec.target)] {
            let what = format!("describe configs of {topic}");
            let failed = |error| (side, LinkerError::cluster(side, what.clone())(error).into());
            let mut described = describe_topic_configs(&cluster.client, &[topic]).await.map_err(failed)?;
            let Some(configs) = described.remove(topic) else { continue };
            let policy = configs.map_err(failed)?.remove("cleanup.policy").and_then(|config| config.value);
            compacted |= policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "compact"));
        }
        Ok(compacted)
    }

    /// The later of the two log starts.
    async fn start(&self, id: &TopicPartition) -> Result<i64, Failed> {
        let starts = bounds::starts(&self.comparison.spec, std::slice::from_ref(id)).await;
        let starts = starts.map_err(|error| (Side::Source, error.into()))?;
        Ok(starts.get(id).copied().unwrap_or(0))
    }

    /// Both sides must reach `to`: a side that does not yet is behind, not different.
    async fn check_held(&self, id: &TopicPartition, to: i64) -> Result<(), Failed> {
        let ends = bounds::ends(&self.comparison.spec, id).await;
        let (source, target) = ends.map_err(|error| (Side::Source, error.into()))?;
        for (side, end) in [(Side::Source, source), (Side::Target, target)] {
            if end < to {
                let problem = format!("{id} ends at offset {end}, it was to be compared through {to}");
                let fix = "wait for the mirror; a source that went back has lost records".into();
                return Err((side, LinkerError::Answer { side, problem, fix }.into()));
            }
        }
        Ok(())
    }
}

impl Finding {
    fn new(range: OffsetRange) -> Finding {
        Finding { range, differences: Vec::new(), sampled: BTreeMap::new(), lonely: HashSet::new() }
    }

    fn holds(&self, difference: &Difference) -> bool {
        (self.range.from..self.range.to).contains(&difference.offset)
    }

    fn take(&mut self, source: &[Record], target: &[Record], compacted: bool) -> Result<(), Unsorted> {
        if !compacted {
            self.differences.extend(compare(source, target)?);
            return Ok(());
        }
        self.differences.extend(compare_common(source, target)?.0);
        for (records, others) in [(source, target), (target, source)] {
            let offsets: HashSet<i64> = others.iter().map(|record| record.offset).collect();
            let alone = records.iter().filter(|record| !offsets.contains(&record.offset));
            self.lonely.extend(alone.filter_map(|record| record.key.as_deref().map(CompactedDiff::key_name)));
        }
        Ok(())
    }

    /// Keeps the records of the first differences, and of all others no more than that they are.
    fn keep_samples(&mut self, samples_max: usize, source: &[Record], target: &[Record]) {
        let mut wanted: BTreeSet<i64> =
            self.differences.iter().take(samples_max).map(|difference| difference.offset).collect();
        for difference in self.differences.iter_mut().skip(samples_max) {
            if let DifferenceKind::Altered { changes } = &mut difference.kind {
                *changes = Vec::new();
            }
        }
        if !self.lonely.is_empty() {
            // Which of those that one side has alone are differences is known only later.
            let ours: BTreeSet<i64> = source.iter().map(|record| record.offset).collect();
            let theirs: BTreeSet<i64> = target.iter().map(|record| record.offset).collect();
            wanted.extend(ours.symmetric_difference(&theirs).take(samples_max));
        }
        for record in source.iter().chain(target).filter(|record| wanted.contains(&record.offset)) {
            let contents = || Contents { key: record.key.clone(), value: record.value.clone() };
            self.sampled.entry(record.offset).or_insert_with(contents);
        }
    }
}

fn range_of(pairs: &[Pair]) -> Result<OffsetRange, Failed> {
    match (pairs.first(), pairs.last()) {
        (Some(first), Some(last)) => {
            Ok(OffsetRange { from: first.source.range.from, to: last.source.range.to })
        }
        _ => Err((Side::Source, LinkerError::Bug("a run of no ranges".into()).into())),
    }
}

fn combined(pairs: &[Pair]) -> Result<(RangeDigest, RangeDigest), Failed> {
    let source: Vec<RangeDigest> = pairs.iter().map(|pair| pair.source.range).collect();
    let target: Vec<RangeDigest> = pairs.iter().map(|pair| pair.target.range).collect();
    match (RangeDigest::combine(&source), RangeDigest::combine(&target)) {
        (Some(source), Some(target)) => Ok((source, target)),
        _ => Err((Side::Source, LinkerError::Bug("ranges of one stretch do not join".into()).into())),
    }
}

fn went_back(error: Unsorted) -> Failed {
    (Side::Source, LinkerError::Bug(format!("librdkafka: {error}")).into())
}

/// Without compaction, other digests mean a difference; none was found because a side changed meanwhile.
fn changing(id: &TopicPartition, range: OffsetRange) -> Failed {
    let error = LinkerError::Answer {
        side: Side::Target,
        problem: format!("{id} changed between offsets {} and {} while it was read", range.from, range.to),
        fix: "run the diff again; if it repeats, check both brokers' logs of that partition".into(),
    };
    (Side::Target, error.into())
}
