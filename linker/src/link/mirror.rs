//! The data path of one link: which partitions are read from where, the tasks that move them, and their bounds.
//!
//! Owned by the link; [`super::follow`] decides which partitions exist, fetchers and sinks move the bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_env::Env;
use towpath_wire::client::admin::{OffsetSpec, list_offsets};
use towpath_wire::client::{Client, ClientError, TopicPartition};

use super::replicator::{FetchAt, Halt, Replicator};
use crate::config::Limits;
use crate::error::{LinkerError, Side};
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

    /// Asks its tasks to end, without waiting for them: nothing new is read or written.
    pub fn stop(&self) {
        self.running.lock().stop.cancel();
    }

    /// Whether nothing is read or written: it is paused, or its tasks have ended.
    pub fn is_idle(&self) -> bool {
        self.running.lock().tasks.is_empty()
    }

    /// Stops reading and writing; what is in flight is settled or read again later.
    pub async fn pause(&self) {
        self.stop();
        let tasks = self.running.lock().tasks.clone();
        tasks.close();
        tasks.wait().await;
        for placed in self.partitions.read().values() {
            placed.replicator.rewind_all();
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

    /// Ends the fetcher of a source broker that leads nothing any more; `false` while it leads something.
    pub(crate) fn retire_fetcher(&self, source_broker: i32) -> bool {
        // `place` adds the partition before it looks for a fetcher under this lock.
        let mut running = self.running.lock();
        let idle = self.placed_on(source_broker).is_empty();
        if idle {
            running.fetchers.remove(&source_broker);
        }
        idle
    }

    /// Sets the gauges from what is known now.
    pub fn observe(&self) {
        let (now_ms, fresh_ms) = (self.env.now_ms(), self.fresh_ms());
        let (mut halted, mut messages, mut oldest) = (0, 0, Some(0));
        for placed in self.partitions.read().values() {
            halted += i64::from(placed.replicator.halted().is_some());
            let positions = placed.replicator.positions();
            messages += positions.lag_messages();
            // `None`, never caught up, is the worst there is.
            oldest = oldest.and_then(|worst: i64| Some(worst.max(positions.lag_ms(now_ms, fresh_ms)?)));
        }
        self.metrics.halted_partitions.set(halted);
        self.metrics.lag_messages.set(messages);
        self.metrics.lag_ms.set(oldest.unwrap_or(-1));
        let in_flight = self.limits.mirror_in_flight_bytes_max - self.in_flight.available_permits();
        self.metrics.in_flight_bytes.set(in_flight as i64);
    }

    /// How long ago a source may have answered to count as answering: two long polls and some.
    pub fn fresh_ms(&self) -> i64 {
        2 * self.limits.fetch_wait_ms as i64 + ANSWER_SLACK_MS
    }

    /// The source no longer has, or does not have yet, the offset that was asked for: start, or halt with the
    /// exact range.
    pub(crate) async fn resolve_out_of_range(&self, replicator: &Replicator, at: FetchAt) {
        let id = &replicator.id;
        let (first, end) = match self.source_range(id).await {
            Ok(range) => range,
            Err(error) => {
                tracing::info!(partition = %id, %error, "cannot list the source's offsets; trying again");
                return replicator.put_off(&self.env);
            }
        };
        let fresh = replicator.positions().target_log_end == 0;
        let (reason, fix) = if at.offset < first && fresh {
            return replicator.start_at(first);
        } else if at.offset < first {
            lost(id, at.offset, first)
        } else if at.offset > end {
            if !self.is_same_topic(replicator).await {
                return replicator.put_off(&self.env);
            }
            ahead(id, at.offset, end)
        } else {
            // The offset is there: it was the epoch that the source does not know, of our own making or expired.
            replicator.forget_epoch(at.generation);
            return replicator.put_off(&self.env);
        };
        replicator.halt(Halt { reason, fix, since_ms: self.env.now_ms() });
    }

    /// Whether the source still has the very topic that is mirrored. One of the same name that was created again
    /// looks as if records had been cut off; the look at the metadata that this asks for says what it is.
    pub(crate) async fn is_same_topic(&self, replicator: &Replicator) -> bool {
        let topic = &replicator.id.topic;
        let same = match self.source.metadata(&[topic]).await {
            Ok(found) => {
                found.topics.get(topic).is_some_and(|found| found.topic_id == replicator.source_topic_id)
            }
            Err(error) => {
                tracing::info!(partition = %replicator.id, %error, "cannot look up the topic; trying again");
                false
            }
        };
        if !same {
            self.placement_stale();
        }
        same
    }

    /// Asked alone again and again the source gave nothing from `at` on: whether its newest record by time lies
    /// before it too. A broker that cannot reach its tiered storage answers empty without an error.
    pub(crate) async fn is_gap(&self, replicator: &Replicator, at: FetchAt) -> bool {
        match one_offset(&self.source, &replicator.id, OffsetSpec::MaxTimestamp).await {
            Ok(newest) => newest < at.offset,
            // Before Kafka 3.0, which has no tiered storage either.
            Err(ClientError::Unsupported { .. }) => true,
            Err(error) if error.code() == Some(ResponseError::UnsupportedForMessageFormat) => true,
            Err(error) => {
                tracing::info!(partition = %replicator.id, %error, "cannot look for newer records; trying again");
                false
            }
        }
    }

    /// A person accepts what a halted partition has lost (`towpath resume --accept-loss`): the target takes its
    /// batches again, and the mirror goes on at the first offset that both sides allow.
    ///
    /// # Errors
    /// The partition is not mirrored or not halted, or a side cannot be asked. It stays halted then.
    pub async fn accept_loss(&self, id: &TopicPartition) -> Result<(), LinkerError> {
        let Some(placed) = self.partition(id) else {
            return Err(LinkerError::refused(
                format!("{id} is not mirrored"),
                "name a topic and partition that `towpath status` lists",
            ));
        };
        let replicator = &placed.replicator;
        if replicator.halted().is_none() {
            return Err(LinkerError::refused(format!("{id} is not halted"), "leave it out"));
        }
        let on_source = |what: &str| LinkerError::cluster(Side::Source, format!("{what} of {id}"));
        let source = self.source.metadata(&[&id.topic]).await.map_err(on_source("look up the topic"))?;
        let source_topic_id = source.topics.get(&id.topic).map(|topic| topic.topic_id);
        if source_topic_id != Some(replicator.source_topic_id) {
            return Err(LinkerError::refused(
                format!("{id}: the source's topic of that name is another one, or gone"),
                "`towpath cancel`, delete the target topic, link again",
            ));
        }
        let held = sink::mirror::lift_halt(self, &placed).await?;
        let (first, end) = self.source_range(id).await.map_err(on_source("list offsets"))?;
        if end < held {
            return Err(LinkerError::refused(
                format!(
                    "{id}: the source ends at offset {end}, the target at {held}: nothing can be mirrored before \
                         the source is past that"
                ),
                "`towpath cancel`, and link again under a fresh target topic",
            ));
        }
        replicator.clear_from(first.max(held));
        Ok(())
    }

    async fn source_range(&self, id: &TopicPartition) -> Result<(i64, i64), ClientError> {
        let first = one_offset(&self.source, id, OffsetSpec::Earliest).await?;
        let end = one_offset(&self.source, id, OffsetSpec::Latest).await?;
        Ok((first, end))
    }
}

/// Scheduling on a busy machine, beyond the long polls themselves.
const ANSWER_SLACK_MS: i64 = 500;

/// Reason and fix of a halt because retention passed the mirror.
fn lost(id: &TopicPartition, from: i64, first: i64) -> (String, String) {
    let reason = format!(
        "{id}: the source deleted offsets {from} to {} before they were mirrored ({} offsets lost to the mirror: \
         retention passed it)",
        first - 1,
        first - from
    );
    let fix = format!(
        "raise the source topic's retention; then `towpath resume --accept-loss {id}` to go on from {first}"
    );
    (reason, fix)
}

/// Reason and fix of a halt because the source ends before the mirror.
fn ahead(id: &TopicPartition, held: i64, end: i64) -> (String, String) {
    let reason = format!(
        "{id}: the source ends at offset {end}, the mirror already holds up to {held}: the source lost records \
         (unclean election, restore, or a re-created topic)"
    );
    let fix = "decide which records count; then `towpath cancel` and link again under a fresh target topic"
        .to_owned();
    (reason, fix)
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
