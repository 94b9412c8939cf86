//! Reads raw batches from one source broker by long poll and hands them on undecoded.
//!
//! One connection and one fetch in flight per broker. Positions move on as soon as an answer is here, so that
//! the next fetch overlaps the target's append of this one; what is in flight is bounded by bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio_util::sync::CancellationToken;
use towpath_env::retry::RetryPolicy;
use towpath_wire::batch::{self, BatchError};
use towpath_wire::client::{ClientError, Connection, To};
use uuid::Uuid;

use super::pace::Pace;
use crate::link::mirror::{Mirror, Placed};
use crate::link::replicator::{FetchAt, Halt, SourceAnswer};
use crate::sink::Chunk;

/// From this Fetch version on partitions are named by topic id, so that a re-created topic cannot be mistaken.
const FETCH_BY_TOPIC_ID: i16 = 13;
/// From this Fetch version on the leader compares the epoch of the last fetched batch and reports truncation.
const FETCH_TRUNCATION_CHECK: i16 = 12;
/// Highest Fetch version whose partitions carry everything read here and nothing more.
const FETCH_VERSION_MAX: i16 = 16;
/// Pause before asking again when no partition of the broker can be read.
const NOTHING_TO_READ: Duration = Duration::from_millis(200);

/// Reads all partitions that `broker` leads until `stop`.
pub async fn run(mirror: Arc<Mirror>, broker: i32, stop: CancellationToken) {
    let mut delays = RetryPolicy::FOREVER.delays(&mirror.env);
    let mut pace = Pace::new(mirror.bandwidth_bytes_per_s);
    while !stop.is_cancelled() {
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = read_until_error(&mirror, broker, &mut pace) => result,
        };
        match result {
            Ok(()) => delays.reset(),
            Err(error) => {
                tracing::info!(broker, %error, "source broker not readable; trying again");
                mirror.metrics.source_errors.inc();
                mirror.placement_stale();
                let delay = delays.next_delay().unwrap_or(NOTHING_TO_READ);
                mirror.env.sleep(delay).await;
            }
        }
    }
}

async fn read_until_error(mirror: &Arc<Mirror>, broker: i32, pace: &mut Pace) -> Result<(), ClientError> {
    let connection = mirror.source.connection(To::Broker(broker)).await?;
    let offered = connection.version::<FetchRequest>()?;
    let version = offered.min(FETCH_VERSION_MAX);
    loop {
        let wanted = mirror.placed_on(broker);
        let asked: Vec<(Placed, FetchAt)> = wanted
            .into_iter()
            .filter_map(|placed| placed.replicator.fetch_at().map(|at| (placed, at)))
            .collect();
        if asked.is_empty() {
            mirror.env.sleep(NOTHING_TO_READ).await;
            continue;
        }
        let started = mirror.env.elapsed();
        let response = fetch(mirror, &connection, version, &asked).await?;
        let latency = mirror.env.elapsed() - started;
        ClientError::check("Fetch", || format!("source broker {broker}"), response.error_code, None)?;
        let bytes = deliver(mirror, &asked, response).await;
        mirror.metrics.fetched_bytes.inc_by(bytes);
        mirror.metrics.fetch_seconds.observe(latency.as_secs_f64());
        let wait = pace.after(bytes, latency, mirror.env.elapsed());
        if !wait.is_zero() {
            mirror.metrics.held_back_seconds.inc_by(wait.as_secs_f64());
            mirror.env.sleep(wait).await;
        }
    }
}

async fn fetch(
    mirror: &Mirror,
    connection: &Connection,
    version: i16,
    asked: &[(Placed, FetchAt)],
) -> Result<FetchResponse, ClientError> {
    let limits = &mirror.limits;
    let mut topics: BTreeMap<(&str, Uuid), Vec<FetchPartition>> = BTreeMap::new();
    for (placed, at) in asked {
        let id = &placed.replicator.id;
        let mut partition = FetchPartition::default()
            .with_partition(id.partition)
            .with_current_leader_epoch(placed.leader_epoch)
            .with_fetch_offset(at.offset)
            .with_partition_max_bytes(limits.fetch_partition_bytes_max as i32);
        if version >= FETCH_TRUNCATION_CHECK {
            partition.last_fetched_epoch = at.last_epoch;
        }
        topics.entry((&id.topic, placed.replicator.source_topic_id)).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|((name, id), partitions)| {
        let topic = FetchTopic::default().with_partitions(partitions);
        match version >= FETCH_BY_TOPIC_ID {
            true => topic.with_topic_id(id),
            false => topic.with_topic(TopicName(StrBytes::from_string(name.to_owned()))),
        }
    });
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(limits.fetch_wait_ms as i32)
        .with_min_bytes(1)
        .with_max_bytes(limits.fetch_bytes_max as i32)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    let limit = Duration::from_millis(limits.fetch_wait_ms) + FETCH_ANSWER_MAX;
    connection.begin(&request, version).await?.wait_within(limit).await
}

/// How much longer than the long poll itself an answer may take before the connection counts as dead.
const FETCH_ANSWER_MAX: Duration = Duration::from_secs(30);

/// Sends on what came, in the order of the answer; waits while too much is in flight. Returns the bytes read.
async fn deliver(mirror: &Arc<Mirror>, asked: &[(Placed, FetchAt)], response: FetchResponse) -> u64 {
    let mut by_id: BTreeMap<(&str, i32), &(Placed, FetchAt)> = BTreeMap::new();
    let mut by_topic_id: BTreeMap<(Uuid, i32), &(Placed, FetchAt)> = BTreeMap::new();
    for entry in asked {
        let id = &entry.0.replicator.id;
        by_id.insert((&id.topic, id.partition), entry);
        by_topic_id.insert((entry.0.replicator.source_topic_id, id.partition), entry);
    }
    let mut bytes = 0;
    for topic in response.responses {
        for partition in topic.partitions {
            let index = partition.partition_index;
            let entry = match topic.topic_id.is_nil() {
                true => by_id.get(&(topic.topic.0.as_str(), index)),
                false => by_topic_id.get(&(topic.topic_id, index)),
            };
            let Some((placed, at)) = entry else { continue };
            bytes += partition.records.as_ref().map_or(0, |records| records.len() as u64);
            if let Some(chunk) = take(mirror, placed, *at, partition).await {
                mirror.send(chunk).await;
            }
        }
    }
    bytes
}

/// Turns one partition's answer into a chunk for the target, or deals with its error.
async fn take(mirror: &Arc<Mirror>, placed: &Placed, at: FetchAt, data: PartitionData) -> Option<Chunk> {
    let replicator = &placed.replicator;
    if let Some(error) = ResponseError::try_from_code(data.error_code) {
        on_error(mirror, placed, at, error).await;
        return None;
    }
    if data.diverging_epoch.epoch >= 0 {
        replicator.halt(Halt {
            reason: format!(
                "the source cut {} back to offset {} in leader epoch {} (unclean election or restore); the mirror \
                 holds records up to offset {} that the source no longer has",
                replicator.id, data.diverging_epoch.end_offset, data.diverging_epoch.epoch, at.offset
            ),
            fix: "decide which records count; then `towpath cancel` and link again under a fresh target topic".into(),
            since_ms: mirror.env.now_ms(),
        });
        return None;
    }
    let records = data.records.unwrap_or_default();
    let whole = match Whole::of(records, at.offset) {
        Ok(whole) => whole,
        Err(problem) => {
            replicator.halt(Halt {
                reason: format!("{} at offset {}: the source sent {problem}", replicator.id, at.offset),
                fix: "check that partition's log on the source (kafka-dump-log); then `towpath resume`"
                    .into(),
                since_ms: mirror.env.now_ms(),
            });
            return None;
        }
    };
    let answer = SourceAnswer {
        log_start: data.log_start_offset,
        high_watermark: data.high_watermark,
        end: whole.end.map(|end| (end, whole.leader_epoch)),
    };
    let stretch = replicator.fetched(at, answer, mirror.env.now_ms())?;
    let permit = mirror.reserve(whole.records.len()).await;
    Some(Chunk {
        replicator: replicator.clone(),
        stretch,
        records: whole.records,
        timestamp_ms: whole.timestamp_ms,
        leader_epoch: placed.leader_epoch.max(whole.leader_epoch),
        source_log_start: data.log_start_offset,
        source_high_watermark: data.high_watermark,
        permit,
    })
}

async fn on_error(mirror: &Arc<Mirror>, placed: &Placed, at: FetchAt, error: ResponseError) {
    let replicator = &placed.replicator;
    match error {
        ResponseError::OffsetOutOfRange => mirror.resolve_out_of_range(replicator, at).await,
        // Leadership moved, or the topic was deleted or re-created: the next look at the metadata tells which.
        _ => {
            tracing::info!(partition = %replicator.id, ?error, "source partition moved; looking it up again");
            mirror.placement_stale();
            mirror.placement_refreshed().await;
        }
    }
}

/// The whole batches of one answer; a batch cut off by the size limit at its end is left for the next fetch.
struct Whole {
    records: Bytes,
    /// Offset after the last whole batch.
    end: Option<i64>,
    leader_epoch: i32,
    timestamp_ms: i64,
}

impl Whole {
    fn of(records: Bytes, from: i64) -> Result<Whole, String> {
        let mut whole = Whole { records: Bytes::new(), end: None, leader_epoch: -1, timestamp_ms: -1 };
        let mut length = 0;
        for batch in batch::split(records.clone()) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(error.to_string()),
            };
            if whole.end.is_some_and(|end| batch.base_offset() < end) {
                return Err(format!("a batch at offset {} behind one that ends later", batch.base_offset()));
            }
            length += batch.size_bytes();
            whole.end = Some(batch.next_offset());
            whole.leader_epoch = batch.leader_epoch();
            whole.timestamp_ms = whole.timestamp_ms.max(batch.max_timestamp_ms());
        }
        if whole.end.is_some_and(|end| end <= from) {
            return Err(format!("only batches below offset {from}"));
        }
        whole.records = records.slice(..length);
        Ok(whole)
    }
}

/// The API key of Fetch, for [`towpath_wire::client::Client::supports`].
pub const FETCH_KEY: i16 = ApiKey::Fetch as i16;
