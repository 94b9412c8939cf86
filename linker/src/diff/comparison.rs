//! Two clusters, stretches of their partitions, and what is different between them.
//!
//! Both readers run at once and cut what they read into ranges; ranges with equal digests are done. The others wait
//! until the reading is over and are then looked at record by record ([`super::closer`]).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_plans::diff::{Difference, OffsetRange, RangeDigest};

use super::bounds;
use super::closer::Closer;
use super::jobs::{self, Cut};
use super::metrics::DiffMetrics;
use super::reader::{ReadError, Reader, Stretch};
use super::session::Manner;
use crate::cluster::Cluster;
use crate::error::{LinkerError, Side};

/// Digests that may wait to be paired.
const CUTS_QUEUED_MAX: usize = 1_024;
/// Unequal ranges after which a reading stops to look at them.
const UNEQUAL_RANGES_MAX: usize = 256;
/// Ranges behind an unequal one that may wait for it.
const RANGES_HELD_MAX: usize = 1 << 16;

/// What a comparison is made of.
#[derive(Clone)]
pub struct ComparisonSpec {
    /// The side that is right.
    pub source: Cluster,
    /// The side that must be like it.
    pub target: Cluster,
    /// Clock.
    pub env: Env,
    /// Offsets per range digest.
    pub range_offsets: u64,
    /// Differences of one stretch that are kept with their record.
    pub samples_max: u64,
    /// Counters.
    pub metrics: DiffMetrics,
}

/// One difference, with what the record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where and what.
    pub difference: Difference,
    /// The record on the source, where it has none on the target; beyond `samples_max` `None`.
    pub record: Option<Contents>,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is null.
    pub value: Option<Vec<u8>>,
}

/// One outcome about a stretch. Outcomes of one stretch come in the order of its offsets, without holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// A range was compared.
    Range {
        /// The source's records.
        source: RangeDigest,
        /// The target's records; another digest without a difference is what compaction leaves.
        target: RangeDigest,
        /// What is different.
        found: Vec<Found>,
        /// Bytes of the source's keys and values.
        bytes: u64,
    },
    /// A range that one side no longer holds.
    Expired(OffsetRange),
}

/// How a comparison reads.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Bytes per second from each side; 0: no bound.
    pub bytes_per_s: u64,
    /// Gives the comparison up: outcomes so far stand.
    pub stop: CancellationToken,
}

/// Both sides' readers, connected. One comparison at a time.
pub struct Comparison {
    pub(super) spec: ComparisonSpec,
    pub(super) source: Reader,
    pub(super) target: Reader,
}

impl Comparison {
    /// Makes the readers; they connect in the background.
    ///
    /// # Errors
    /// librdkafka refuses a cluster's settings.
    pub fn open(spec: ComparisonSpec) -> Result<Comparison, LinkerError> {
        let source = Reader::open(&spec.source, Side::Source, &spec.env)?;
        let target = Reader::open(&spec.target, Side::Target, &spec.env)?;
        Ok(Comparison { spec, source, target })
    }

    /// Compares every stretch and tells `tell` its outcomes with the stretch's index. Both sides must hold every
    /// stretch up to its end. Returns early, without an error, when it was stopped, when a prefix expired under it, or
    /// when there is much that differs: compare the rest again.
    ///
    /// # Errors
    /// A side cannot be read; outcomes told before stand.
    pub async fn compare(
        &self,
        stretches: &[Stretch],
        terms: &Terms,
        tell: &mut (dyn FnMut(usize, Compared) + Send),
    ) -> Result<(), LinkerError> {
        let stretches: Arc<[Stretch]> = stretches.into();
        let mut pairing = Pairing::new(&stretches);
        let enough = terms.stop.child_token();
        let read = self.read(&stretches, terms, &enough, &mut pairing, tell).await;
        match read {
            Ok(()) => {}
            Err((_, ReadError::Stopped)) if terms.stop.is_cancelled() => return Ok(()),
            Err((_, ReadError::Stopped)) => {}
            Err((side, ReadError::OutOfRange)) => return self.expire(side, &stretches, &pairing, tell).await,
            Err((side, error)) => return Err(error.into_error(side)),
        }
        let manner = Manner { bytes_per_s: terms.bytes_per_s, stop: terms.stop.clone() };
        let closer = Closer { comparison: self, manner };
        for (index, lane) in pairing.lanes.into_iter().enumerate() {
            if lane.held.is_empty() {
                continue;
            }
            match closer.close(&stretches[index], &joined(lane.held)).await {
                Ok(outcomes) => outcomes.into_iter().for_each(|outcome| tell(index, outcome)),
                Err((_, ReadError::Stopped)) => return Ok(()),
                Err((side, error)) => return Err(error.into_error(side)),
            }
        }
        Ok(())
    }

    /// Lets both readers digest and pairs what comes.
    async fn read(
        &self,
        stretches: &Arc<[Stretch]>,
        terms: &Terms,
        enough: &CancellationToken,
        pairing: &mut Pairing,
        tell: &mut (dyn FnMut(usize, Compared) + Send),
    ) -> Result<(), (Side, ReadError)> {
        let manner = Manner { bytes_per_s: terms.bytes_per_s, stop: enough.clone() };
        let range_offsets = self.spec.range_offsets;
        let (source_done, mut source_cuts) = digesting(&self.source, stretches, range_offsets, &manner);
        let (target_done, mut target_cuts) = digesting(&self.target, stretches, range_offsets, &manner);
        let metrics = &self.spec.metrics;
        let pair = async {
            loop {
                let (side, cut) = tokio::select! {
                    Some(cut) = source_cuts.recv() => (Side::Source, cut),
                    Some(cut) = target_cuts.recv() => (Side::Target, cut),
                    else => return,
                };
                metrics.read(side, cut.range.records, cut.bytes);
                pairing.take(side, cut, tell);
                if pairing.unequal >= UNEQUAL_RANGES_MAX || pairing.held >= RANGES_HELD_MAX {
                    enough.cancel();
                }
            }
        };
        let (source, target, ()) = tokio::join!(source_done, target_done, pair);
        // The side that failed says more than the one that was stopped for it.
        match (source, target) {
            (Err((_, ReadError::Stopped)), target) => target.and(Err((Side::Source, ReadError::Stopped))),
            (source, target) => source.and(target),
        }
    }

    /// A side no longer holds what was asked for: tells what expired.
    async fn expire(
        &self,
        side: Side,
        stretches: &[Stretch],
        pairing: &Pairing,
        tell: &mut (dyn FnMut(usize, Compared) + Send),
    ) -> Result<(), LinkerError> {
        let ids: Vec<_> = stretches.iter().map(|stretch| stretch.id.clone()).collect();
        let starts = bounds::starts(&self.spec, &ids).await?;
        let mut any = false;
        for (index, stretch) in stretches.iter().enumerate() {
            let from = pairing.lanes[index].told;
            let start = starts.get(&stretch.id).copied().unwrap_or(from).min(stretch.to);
            if start > from {
                any = true;
                tell(index, Compared::Expired(OffsetRange { from, to: start }));
            }
        }
        match any {
            true => Ok(()),
            false => Err(LinkerError::Answer {
                side,
                problem: "an offset that both sides list as held cannot be read".into(),
                fix: "check the partitions of the family with kafka-get-offsets on both sides".into(),
            }),
        }
    }
}

/// Lets one reader digest; a failure stops the other one.
fn digesting(
    reader: &Reader,
    stretches: &Arc<[Stretch]>,
    range_offsets: u64,
    manner: &Manner,
) -> (impl Future<Output = Result<(), (Side, ReadError)>>, mpsc::Receiver<Cut>) {
    let (cuts, coming) = mpsc::channel(CUTS_QUEUED_MAX);
    let (stretches, manner) = (stretches.clone(), manner.clone());
    let stop = manner.stop.clone();
    let done = async move {
        let job =
            reader.run(move |session| jobs::digest(session, &stretches, range_offsets, &manner, &cuts)).await;
        if job.is_err() {
            stop.cancel();
        }
        job.map_err(|error| (reader.side, error))
    };
    (done, coming)
}

/// The same range of both sides.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: Cut,
    pub(super) target: Cut,
}

impl Pair {
    fn is_equal(&self) -> bool {
        self.source.range == self.target.range
    }

    /// What to tell of two equal ranges.
    pub(super) fn outcome(&self) -> Compared {
        Compared::Range {
            source: self.source.range,
            target: self.target.range,
            found: Vec::new(),
            bytes: self.source.bytes,
        }
    }
}

/// The ranges of one stretch that wait for their other side, or for an unequal one before them.
struct Lane {
    source: VecDeque<Cut>,
    target: VecDeque<Cut>,
    held: Vec<Pair>,
    /// Told through here.
    told: i64,
}

struct Pairing {
    lanes: Vec<Lane>,
    unequal: usize,
    held: usize,
}

impl Pairing {
    fn new(stretches: &[Stretch]) -> Pairing {
        let lane = |stretch: &Stretch| Lane {
            source: VecDeque::new(),
            target: VecDeque::new(),
            held: Vec::new(),
            told: stretch.from,
        };
        Pairing { lanes: stretches.iter().map(lane).collect(), unequal: 0, held: 0 }
    }

    fn take(&mut self, side: Side, cut: Cut, tell: &mut (dyn FnMut(usize, Compared) + Send)) {
        let index = cut.index;
        let lane = &mut self.lanes[index];
        match side {
            Side::Source => lane.source.push_back(cut),
            Side::Target => lane.target.push_back(cut),
        }
        while let (Some(_), Some(_)) = (lane.source.front(), lane.target.front()) {
            let (Some(source), Some(target)) = (lane.source.pop_front(), lane.target.pop_front()) else {
                break;
            };
            let pair = Pair { source, target };
            let equal = pair.is_equal();
            if equal && lane.held.is_empty() {
                lane.told = pair.source.range.to;
                tell(index, pair.outcome());
                continue;
            }
            self.unequal += usize::from(!equal);
            self.held += 1;
            lane.held.push(pair);
        }
    }
}

/// What waits for a closer look, in order.
pub(super) enum Held {
    /// An equal range behind an unequal one.
    Equal(Pair),
    /// Adjacent unequal ranges.
    Unequal(Vec<Pair>),
}

impl Held {
    pub(super) fn unequal(&self) -> Option<&[Pair]> {
        match self {
            Held::Equal(_) => None,
            Held::Unequal(pairs) => Some(pairs),
        }
    }
}

/// Adjacent unequal ranges together: what moved from one to the next is then seen as moved.
fn joined(pairs: Vec<Pair>) -> Vec<Held> {
    let mut joined = Vec::new();
    for pair in pairs {
        match (pair.is_equal(), joined.last_mut()) {
            (true, _) => joined.push(Held::Equal(pair)),
            (false, Some(Held::Unequal(run))) => run.push(pair),
            (false, _) => joined.push(Held::Unequal(vec![pair])),
        }
    }
    joined
}
