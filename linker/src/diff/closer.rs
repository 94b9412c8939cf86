//! A closer look at ranges whose digests differ: read again, narrowed down, compared record by record.

use std::collections::{BTreeMap, HashSet};

use towpath_plans::diff::{
    Bisection, CompactedDiff, Difference, OffsetRange, RangeDigest, Record, Unsorted, compare, compare_common,
};
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::describe_topic_configs;

use super::bounds;
use super::comparison::{Compared, Comparison, Contents, Found, Pair};
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
#[derive(Default)]
struct Finding {
    differences: Vec<Difference>,
    /// Records by offset, for samples: the source's where it has one.
    sampled: BTreeMap<i64, Contents>,
    /// Keys of records that one side holds alone; only on compacted topics.
    lonely: HashSet<[u8; 32]>,
}

impl Closer<'_> {
    /// Compares adjacent unequal ranges of one stretch. The outcomes cover them without holes.
    pub(super) async fn close(&self, stretch: &Stretch, pairs: &[Pair]) -> Result<Vec<Compared>, Failed> {
        let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else { return Ok(Vec::new()) };
        let range = OffsetRange { from: first.source.range.from, to: last.source.range.to };
        let bytes: u64 = pairs.iter().map(|pair| pair.source.bytes + pair.target.bytes).sum();
        let id = &stretch.id;
        let compacted = self.is_compacted(&id.topic).await?;
        let mut finding = Finding::default();
        for window in self.windows(id, range, bytes).await? {
            let both = self.both(id, window, jobs::records).await?;
            finding.take(&both.0, &both.1, compacted).map_err(went_back)?;
            finding.keep_samples(self.comparison.spec.samples_max, &both.0, &both.1);
        }
        self.check_held(id, range.to).await?;
        if !finding.lonely.is_empty() {
            self.look_for_lonely(id, range, &mut finding).await?;
        }
        let outcomes = self.outcomes(id, range, pairs, finding).await?;
        match outcomes.last() {
            Some(Compared::Range { source, target, found, .. })
                if !compacted && source != target && found.is_empty() =>
            {
                Err(changing(id, range))
            }
            _ => Ok(outcomes),
        }
    }

    /// Leaves out what expired on one side meanwhile, and answers the rest.
    async fn outcomes(
        &self,
        id: &TopicPartition,
        range: OffsetRange,
        pairs: &[Pair],
        mut finding: Finding,
    ) -> Result<Vec<Compared>, Failed> {
        let start = self.start(id).await?;
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
        let (source, target) = match from == range.from && !finding.differences.is_empty() {
            true => combined(pairs)?,
            // What expired is part of the digests, or nothing was found behind them: look again.
            false => self.both(id, rest, jobs::digest_whole).await?,
        };
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
    async fn look_for_lonely(
        &self,
        id: &TopicPartition,
        range: OffsetRange,
        finding: &mut Finding,
    ) -> Result<(), Failed> {
        let from = self.start(id).await?;
        let (source_end, target_end) =
            bounds::ends(&self.comparison.spec, id).await.map_err(|error| (Side::Source, error.into()))?;
        let whole = Stretch { id: id.clone(), from, to: source_end.min(target_end) };
        let lonely: Vec<[u8; 32]> = finding.lonely.drain().collect();
        for keys in lonely.chunks(KEYS_MAX) {
            let keys: std::sync::Arc<HashSet<[u8; 32]>> = std::sync::Arc::new(keys.iter().copied().collect());
            let one = async |reader: &Reader| {
                let (whole, manner, keys) = (whole.clone(), self.manner.clone(), keys.clone());
                let done = reader.run(move |session| jobs::latest(session, &whole, &keys, &manner)).await;
                done.map_err(|error| (reader.side, error))
            };
            let (source, target) =
                tokio::try_join!(one(&self.comparison.source), one(&self.comparison.target))?;
            // Those behind this range are found when it is their turn.
            let here =
                |difference: &Difference| difference.offset >= range.from && difference.offset < range.to;
            finding.differences.extend(source.join(target).finish().into_iter().filter(here));
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

    fn keep_samples(&mut self, samples_max: u64, source: &[Record], target: &[Record]) {
        // On a compacted topic the differences are known only later: any record that one side has alone may be one.
        let wanted: HashSet<i64> = match self.lonely.is_empty() {
            true => self.differences.iter().take(samples_max as usize).map(|one| one.offset).collect(),
            false => {
                let all: HashSet<i64> = source.iter().map(|record| record.offset).collect();
                let others: HashSet<i64> = target.iter().map(|record| record.offset).collect();
                all.symmetric_difference(&others).copied().collect()
            }
        };
        for record in source.iter().chain(target).filter(|record| wanted.contains(&record.offset)) {
            if self.lonely.is_empty() || self.sampled.len() < samples_max as usize {
                self.sampled
                    .entry(record.offset)
                    .or_insert_with(|| Contents { key: record.key.clone(), value: record.value.clone() });
            }
        }
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
