//! The data path of one link: which partitions are read from where, the tasks that move them, and their bounds.
//!
//! Owned by the link; [`super::follow`] decides which partitions exist, fetchers and sinks move the bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_env::Env;
use towpath_wire::client::admin::{OffsetSpec, list_offsets};
use towpath_wire::client::{Client, ClientError, TopicPartition};

use super::replicator::{FetchAt, Halt, Replicator};
use crate::config::Limits;
use crate::metrics::LinkMetrics;
use crate::sink::{self, Chunk};
use crate::source::fetcher;

/// Chunks that may wait for one target broker; their bytes are bounded by the link's bytes in flight.
const CHUNKS_QUEUED_MAX: usize = 1_024;

/// One mirrored partition and where it is read and written.
#[derive(Clone)]
pub struct Placed {
    /// Its state.
    pub replicator: Arc<Replicator>,
    /// Source broker that leads it.
    pub source_broker: i32,
    /// The leader's epoch as the source's metadata has it; −1: unknown.
    pub leader_epoch: i32,
    /// Target broker that leads it.
    pub target_broker: i32,
}

/// What a mirror is made of.
pub struct MirrorSpec {
    /// Name of the link: the family.
    pub link: String,
    /// Clock.
    pub env: Env,
    /// The source cluster and its id.
    pub source: Client,
    /// The source cluster's id, as it was when the link was made.
    pub source_cluster_id: String,
    /// The target cluster.
    pub target: Client,
    /// Bounds of the service.
    pub limits: Limits,
    /// Bytes per second from each source broker; 0: no bound.
    pub bandwidth_bytes_per_s: u64,
    /// Counters of this link.
    pub metrics: LinkMetrics,
}

/// The running data path of one link.
pub struct Mirror {
    pub(crate) link: String,
    pub(crate) env: Env,
    pub(crate) source: Client,
    pub(crate) source_cluster_id: String,
    pub(crate) target: Client,
    pub(crate) limits: Limits,
    pub(crate) bandwidth_bytes_per_s: u64,
    pub(crate) metrics: LinkMetrics,
    /// Counts acknowledgements, so that a drain can wait for progress.
    pub(crate) acknowledged: watch::Sender<u64>,
    in_flight: Arc<Semaphore>,
    partitions: RwLock<BTreeMap<TopicPartition, Placed>>,
    stale: Notify,
    refreshes: watch::Sender<u64>,
    running: Mutex<Running>,
}

/// The tasks of a mirror that is not paused.
#[derive(Default)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
    fetchers: HashMap<i32, CancellationToken>,
    sinks: HashMap<i32, mpsc::Sender<Chunk>>,
}

impl Mirror {
    /// A mirror of nothing yet; see [`Mirror::place`].
    pub fn new(spec: MirrorSpec) -> Arc<Mirror> {
        Arc::new(Mirror {
            link: spec.link,
            env: spec.env,
            source: spec.source,
            source_cluster_id: spec.source_cluster_id,
            target: spec.target,
            bandwidth_bytes_per_s: spec.bandwidth_bytes_per_s,
            metrics: spec.metrics,
            acknowledged: watch::Sender::new(0),
            in_flight: Arc::new(Semaphore::new(spec.limits.mirror_in_flight_bytes_max)),
            limits: spec.limits,
            partitions: RwLock::default(),
            stale: Notify::new(),
            refreshes: watch::Sender::new(0),
            running: Mutex::default(),
        })
    }

    /// Adds a partition or moves it to other brokers.
    pub fn place(self: &Arc<Self>, placed: Placed) {
        let source_broker = placed.source_broker;
        self.partitions.write().insert(placed.replicator.id.clone(), placed);
        let mut running = self.running.lock();
        if running.stop.is_cancelled() || running.fetchers.contains_key(&source_broker) {
            return;
        }
        let stop = running.stop.child_token();
        running.fetchers.insert(source_broker, stop.clone());
        running.tasks.spawn(fetcher::run(self.clone(), source_broker, stop));
    }

    /// Stops reading and writing; what is in flight is settled or read again later.
    pub async fn pause(&self) {
        let tasks = {
            let running = self.running.lock();
            running.stop.cancel();
            running.tasks.clone()
        };
        tasks.close();
        tasks.wait().await;
        for placed in self.partitions.read().values() {
            if let Some(at) = placed.replicator.fetch_at() {
                placed.replicator.rewind(at.generation);
            }
        }
    }

    /// Starts again after [`Mirror::pause`].
    pub fn resume(self: &Arc<Self>) {
        *self.running.lock() = Running::default();
        let all: Vec<Placed> = self.partitions.read().values().cloned().collect();
        for placed in all {
            self.place(placed);
        }
    }

    /// Every partition, in order of topic and index.
    pub fn partitions(&self) -> Vec<Placed> {
        self.partitions.read().values().cloned().collect()
    }

    /// One partition.
    pub fn partition(&self, id: &TopicPartition) -> Option<Placed> {
        self.partitions.read().get(id).cloned()
    }

    /// Changes whenever the target acknowledged something.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    pub(crate) fn placed_on(&self, source_broker: i32) -> Vec<Placed> {
        self.partitions
            .read()
            .values()
            .filter(|placed| placed.source_broker == source_broker)
            .cloned()
            .collect()
    }

    /// Asks for another look at the source's metadata.
    pub(crate) fn placement_stale(&self) {
        self.stale.notify_one();
    }

    /// Resolves at the next request for a look at the metadata.
    pub(crate) async fn placement_wanted(&self) {
        self.stale.notified().await;
    }

    /// Says that the metadata was looked at.
    pub(crate) fn placement_done(&self) {
        self.refreshes.send_modify(|count| *count += 1);
    }

    /// Waits until the metadata was looked at once more.
    pub(crate) async fn placement_refreshed(&self) {
        // The sender lives as long as `self`.
        let _ = self.refreshes.subscribe().changed().await;
    }

    /// Waits for room for `bytes` in flight. One chunk larger than the whole bound takes all of it.
    pub(crate) async fn reserve(&self, bytes: usize) -> OwnedSemaphorePermit {
        let share = bytes.min(self.limits.mirror_in_flight_bytes_max) as u32;
        // The semaphore is never closed.
        #[allow(clippy::expect_used)]
        self.in_flight.clone().acquire_many_owned(share).await.expect("the semaphore stays open")
    }

    /// Queues a chunk for the broker that leads its partition at the target.
    pub(crate) async fn send(self: &Arc<Self>, chunk: Chunk) {
        let Some(placed) = self.partition(&chunk.replicator.id) else { return };
        let queue = {
            let mut running = self.running.lock();
            let running = &mut *running;
            let (tasks, stop) = (&running.tasks, &running.stop);
            running
                .sinks
                .entry(placed.target_broker)
                .or_insert_with(|| {
                    let (queue, queued) = mpsc::channel(CHUNKS_QUEUED_MAX);
                    tasks.spawn(sink::mirror::run(
                        self.clone(),
                        placed.target_broker,
                        queued,
                        stop.child_token(),
                    ));
                    queue
                })
                .clone()
        };
        let (replicator, generation) = (chunk.replicator.clone(), chunk.stretch.generation);
        if queue.send(chunk).await.is_err() {
            replicator.rewind(generation);
        }
    }

    /// The source no longer has, or does not have yet, the offset that was asked for: start, or halt with the
    /// exact range.
    pub(crate) async fn resolve_out_of_range(&self, replicator: &Replicator, at: FetchAt) {
        let id = &replicator.id;
        let (first, end) = match self.source_range(id).await {
            Ok(range) => range,
            Err(error) => {
                tracing::info!(partition = %id, %error, "cannot list the source's offsets; trying again");
                return;
            }
        };
        let held = replicator.positions();
        let fresh = held.target_log_end == 0;
        if at.offset < first && fresh {
            replicator.start_at(first);
        } else if at.offset < first {
            replicator.halt(Halt {
                reason: format!(
                    "{id}: the source deleted offsets {} to {} before they were mirrored ({} offsets lost to the \
                     mirror: retention passed it)",
                    at.offset,
                    first - 1,
                    first - at.offset
                ),
                fix: format!(
                    "raise the source topic's retention; then `towpath resume --accept-loss {id}` to go on from {first}"
                ),
                since_ms: self.env.now_ms(),
            });
        } else if at.offset > end {
            replicator.halt(Halt {
                reason: format!(
                    "{id}: the source ends at offset {end}, the mirror already holds up to {}: the source lost records \
                     (unclean election, restore, or a re-created topic)",
                    at.offset
                ),
                fix: "decide which records count; then `towpath cancel` and link again under a fresh target topic"
                    .into(),
                since_ms: self.env.now_ms(),
            });
        }
    }

    async fn source_range(&self, id: &TopicPartition) -> Result<(i64, i64), ClientError> {
        let first = one_offset(&self.source, id, OffsetSpec::Earliest).await?;
        let end = one_offset(&self.source, id, OffsetSpec::Latest).await?;
        Ok((first, end))
    }
}

/// One offset of one partition.
pub(crate) async fn one_offset(
    client: &Client,
    id: &TopicPartition,
    spec: OffsetSpec,
) -> Result<i64, ClientError> {
    let mut listed = list_offsets(client, std::slice::from_ref(id), spec).await?;
    match listed.remove(id) {
        Some(listed) => Ok(listed?.offset),
        None => Err(ClientError::NoBroker { what: format!("leader of {id}") }),
    }
}
