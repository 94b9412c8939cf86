//! The running diff of one family.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use towpath_env::retry::RetryPolicy;
use towpath_plans::diff::{PartitionProgress, verdict_of};
use towpath_plans::evidence::Body;
use towpath_plans::gates::{DiffObserved, Verdict};
use towpath_wire::client::TopicPartition;

use super::comparison::{Comparison, ComparisonSpec};
use super::metrics::DiffMetrics;
use super::round::Urgent;
use super::state::Partition;
use super::verify;
use crate::error::LinkerError;
use crate::link::Link;
use crate::operation::Operation;

/// Between the begins of two rounds: what comes in meanwhile is read in one go.
const ROUND_SPACING: Duration = Duration::from_millis(500);
/// How often a diff that has nothing to compare looks again even if the mirror tells of no progress.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// How often what was compared goes into evidence.
const EVIDENCE_EVERY: Duration = Duration::from_secs(60);
/// Ranges that may wait for evidence.
const UNWRITTEN_RANGES_MAX: usize = 4_096;

/// What `towpath diff` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffReport {
    /// Over all partitions.
    pub verdict: Verdict,
    /// Records of the source that were compared.
    pub records: u64,
    /// Differences of all kinds.
    pub differences: u64,
    /// Each partition: how far, counts, samples.
    pub partitions: Vec<PartitionProgress>,
}

/// What closing the tail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailReport {
    /// Partitions that have differences, with how many.
    pub differing: BTreeMap<TopicPartition, u64>,
    /// Records compared in the tail.
    pub records: u64,
}

/// Compares a family while it is mirrored. One per link.
pub struct Diff {
    pub(super) link: Arc<Link>,
    pub(super) comparison: Comparison,
    pub(super) metrics: DiffMetrics,
    pub(super) partitions: Mutex<BTreeMap<TopicPartition, Partition>>,
    /// One comparison at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Those who wait for the turn and must not wait long.
    pub(super) urgent: AtomicUsize,
    /// Held while ranges go into evidence.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Gives up the round under way.
    pub(super) under_way: Mutex<CancellationToken>,
    opened_ms: i64,
}

impl Diff {
    /// Takes up where the cache says that it stopped. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The cache fails, or librdkafka refuses a cluster's settings.
    pub fn open(link: Arc<Link>) -> Result<Arc<Diff>, LinkerError> {
        let metrics = DiffMetrics::register(&link.mirror.metrics.registry, link.family())
            .map_err(|error| LinkerError::Bug(format!("metrics of the diff: {error}")))?;
        let comparison = Comparison::open(ComparisonSpec {
            source: link.source.clone(),
            target: link.target.clone(),
            env: link.env.clone(),
            range_offsets: link.plan.diff.range_offsets,
            samples_max: link.plan.diff.samples_max,
            metrics: metrics.clone(),
        })?;
        let opened_ms = link.env.now_ms();
        Ok(Arc::new(Diff {
            link,
            comparison,
            metrics,
            partitions: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            urgent: AtomicUsize::new(0),
            writing: tokio::sync::Mutex::default(),
            under_way: Mutex::default(),
            opened_ms,
        }))
    }

    /// Compares what the mirror holds, again and again, within the plan's bandwidth, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let env = &self.link.env;
        let mut progress = self.link.mirror.progress();
        let mut delays = RetryPolicy::FOREVER.delays(env);
        let mut written_at = env.elapsed();
        while !stop.is_cancelled() {
            progress.mark_unchanged();
            let wait = match self.round(None, &stop).await {
                Ok(more) => {
                    delays.reset();
                    if more { Duration::ZERO } else { ROUND_SPACING }
                }
                Err(error) => {
                    self.metrics.errors.inc();
                    tracing::info!(family = self.link.family(), %error, "the diff cannot read; trying again");
                    delays.next_delay().unwrap_or(IDLE_LOOK)
                }
            };
            self.publish();
            if env.elapsed() - written_at >= EVIDENCE_EVERY || self.unwritten() > UNWRITTEN_RANGES_MAX {
                written_at = env.elapsed();
                if let Err(error) = self.write_evidence().await {
                    tracing::info!(family = self.link.family(), %error, "ranges not yet in evidence; trying again");
                }
            }
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = env.sleep(wait) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = env.sleep(if self.knows_all() { IDLE_LOOK } else { ROUND_SPACING }) => {}
                // The mirror lives as long as the link.
                _ = progress.changed() => {}
            }
        }
    }

    /// What the gates see of `topics` now.
    pub fn observed(&self, topics: &[String]) -> Vec<DiffObserved> {
        let now_ms = self.link.env.now_ms();
        let partitions = self.partitions.lock();
        let mut observed = Vec::new();
        for placed in self.link.mirror.partitions() {
            let id = &placed.replicator.id;
            if !topics.contains(&id.topic) {
                continue;
            }
            let end = placed.replicator.positions().source_high_watermark;
            observed.push(match partitions.get(id) {
                Some(partition) => partition.observed(end, now_ms, self.opened_ms),
                None => DiffObserved {
                    topic: id.topic.clone(),
                    partition: id.partition,
                    verdict: Verdict::Inconclusive,
                    compared_records: 0,
                    differences: 0,
                    compared_through: 0,
                    uncompared_records: end.max(0) as u64,
                    uncompared_ms: (now_ms - self.opened_ms).max(0) as u64,
                },
            });
        }
        observed
    }

    /// What has been compared so far. A partition that was once compared to its end passes while it keeps up.
    pub fn report(&self) -> DiffReport {
        let partitions = self.partitions.lock();
        let ends = self.link.mirror.partitions().into_iter().map(|placed| {
            let end = match partitions.get(&placed.replicator.id) {
                Some(partition) if partition.note.reached_ms.is_some() => partition.note.progress.through,
                _ => placed.replicator.positions().source_high_watermark,
            };
            (placed.replicator.id.clone(), end)
        });
        report_of(&partitions, &ends.collect())
    }

    /// `towpath diff`: compares through the source's high watermarks of now and answers; `anew` forgets what was
    /// compared and reads everything again. Tells its progress to `operation`.
    ///
    /// # Errors
    /// A side cannot be read.
    pub async fn verify(&self, anew: bool, operation: &Operation) -> Result<DiffReport, LinkerError> {
        verify::verify(self, anew, operation).await
    }

    /// What evidence says about the comparison through these ends: what a move rests on.
    pub fn evidence(&self, ends: &BTreeMap<TopicPartition, i64>) -> Body {
        verify::entry(self, ends)
    }

    /// Compares each partition through the given source offset (exclusive), without regard to bandwidth: the tail
    /// that a move closes behind the fence. The mirror must hold it already.
    ///
    /// # Errors
    /// A side cannot be read, or does not hold a partition up to its end.
    pub async fn close_tail(&self, ends: &BTreeMap<TopicPartition, i64>) -> Result<TailReport, LinkerError> {
        let started = self.link.env.elapsed();
        let before = self.records(ends.keys());
        if !self.tail(ends).is_empty() {
            let _urgent = Urgent::begin(&self.urgent);
            self.under_way.lock().cancel();
            self.close_under_turn(ends).await?;
        }
        let partitions = self.partitions.lock();
        let differing = ends.keys().filter_map(|id| {
            let differences = partitions.get(id)?.note.progress.counts.total();
            (differences > 0).then(|| (id.clone(), differences))
        });
        let differing = differing.collect();
        drop(partitions);
        let records = self.records(ends.keys()).saturating_sub(before);
        let took_ms = (self.link.env.elapsed() - started).as_millis() as u64;
        tracing::info!(family = self.link.family(), records, took_ms, "tail compared");
        Ok(TailReport { differing, records })
    }

    fn records<'a>(&self, ids: impl Iterator<Item = &'a TopicPartition>) -> u64 {
        let partitions = self.partitions.lock();
        ids.filter_map(|id| Some(partitions.get(id)?.note.progress.records)).sum()
    }

    fn unwritten(&self) -> usize {
        self.partitions.lock().values().map(Partition::unwritten).sum()
    }

    /// Brings the gauges up to date.
    fn publish(&self) {
        let topics: BTreeSet<String> = self
            .link
            .mirror
            .partitions()
            .into_iter()
            .map(|placed| placed.replicator.id.topic.clone())
            .collect();
        let observed = self.observed(&topics.into_iter().collect::<Vec<_>>());
        let sum = |each: fn(&DiffObserved) -> u64| observed.iter().map(each).sum::<u64>() as i64;
        self.metrics.differences.set(sum(|one| one.differences));
        self.metrics.uncompared_records.set(sum(|one| one.uncompared_records));
        let oldest = observed.iter().map(|one| one.uncompared_ms).max().unwrap_or(0);
        self.metrics.uncompared_ms.set(oldest as i64);
    }
}

/// The report over the partitions of `ends`, each with the end that it has to reach.
pub(super) fn report_of(
    partitions: &BTreeMap<TopicPartition, Partition>,
    ends: &BTreeMap<TopicPartition, i64>,
) -> DiffReport {
    let all: Vec<(PartitionProgress, i64)> = ends
        .iter()
        .map(|(id, end)| match partitions.get(id) {
            Some(partition) => (partition.note.progress.clone(), *end),
            None => (PartitionProgress::new(&id.topic, id.partition, 0, 0), *end),
        })
        .collect();
    DiffReport {
        verdict: verdict_of(all.iter().map(|(progress, end)| (progress, *end))),
        records: all.iter().map(|(progress, _)| progress.records).sum(),
        differences: all.iter().map(|(progress, _)| progress.counts.total()).sum(),
        partitions: all.into_iter().map(|(progress, _)| progress).collect(),
    }
}
