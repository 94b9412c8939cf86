//! Reads raw batches from one source broker by long poll and hands them on undecoded.
//!
//! One connection and one fetch in flight per broker. Positions move on as soon as an answer is here, so that
//! the next fetch overlaps the target's append of this one; what is in flight is bounded by bytes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio_util::sync::CancellationToken;
use towpath_env::retry::RetryPolicy;
use towpath_wire::client::{ClientError, Connection, To, TopicPartition};

use super::batches::Whole;
use super::pace::Pace;
use crate::link::mirror::{Mirror, Placed};
use crate::link::replicator::{FetchAt, Halt, Seen, SourceAnswer, Stretch};
use crate::sink::Chunk;

/// From this Fetch version on partitions are named by topic id, so that a re-created topic cannot be mistaken.
const FETCH_BY_TOPIC_ID: i16 = 13;
/// From this Fetch version on the leader compares the epoch of the last fetched batch and reports truncation.
const FETCH_TRUNCATION_CHECK: i16 = 12;
/// Highest Fetch version whose partitions carry everything read here and nothing more.
const FETCH_VERSION_MAX: i16 = 16;
/// Pause before asking again when no partition of the broker can be read.
const NOTHING_TO_READ: Duration = Duration::from_millis(50);
/// How much longer than the long poll itself an answer may take before the connection counts as dead.
const FETCH_ANSWER_MAX: Duration = Duration::from_secs(30);
/// One fetch brings at most what the bandwidth bound allows in this part of a second, so that it stays smooth.
const FETCHES_PER_S: u64 = 4;
/// Smaller fetches cost the source more than they spare it.
const FETCH_BYTES_MIN: u64 = 64 << 10;

/// Reads all partitions that `broker` leads until it leads none, or until `stop`.
pub async fn run(mirror: Arc<Mirror>, broker: i32, stop: CancellationToken) {
    let mut delays = RetryPolicy::FOREVER.delays(&mirror.env);
    let mut pace = Pace::new(mirror.bandwidth_bytes_per_s);
    while !stop.is_cancelled() {
        let mut fetcher = Fetcher { mirror: &mirror, broker, starved: HashSet::new() };
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = fetcher.read_until_error(&mut pace, &mut delays) => result,
        };
        let Err(error) = result else { return };
        tracing::info!(broker, %error, "source broker not readable; trying again");
        mirror.metrics.source_errors.inc();
        mirror.placement_stale();
        tokio::select! {
            () = stop.cancelled() => return,
            () = mirror.env.sleep(delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max)) => {}
        }
    }
}

struct Fetcher<'a> {
    mirror: &'a Arc<Mirror>,
    broker: i32,
    /// Partitions that had more to give than the last answers had room for: they go first.
    starved: HashSet<TopicPartition>,
}

/// One partition of a request.
struct Asked {
    placed: Placed,
    at: FetchAt,
}

impl Fetcher<'_> {
    /// `Ok`: the broker leads nothing any more.
    async fn read_until_error(
        &mut self,
        pace: &mut Pace,
        delays: &mut towpath_env::retry::Delays,
    ) -> Result<(), ClientError> {
        let mirror = self.mirror;
        let connection = mirror.source.connection(To::Broker(self.broker)).await?;
        let version = connection.version::<FetchRequest>()?.min(FETCH_VERSION_MAX);
        loop {
            let asked = self.choose();
            if asked.is_empty() {
                if mirror.retire_fetcher(self.broker) {
                    return Ok(());
                }
                mirror.env.sleep(NOTHING_TO_READ).await;
                continue;
            }
            // Otherwise it waits for news, which says nothing of the broker's health.
            let at_once = asked.iter().any(|asked| asked.placed.replicator.has_more());
            let started = mirror.env.elapsed();
            let response = fetch(mirror, &connection, version, &asked).await?;
            let latency = mirror.env.elapsed() - started;
            let what = || format!("source broker {}", self.broker);
            ClientError::check("Fetch", what, response.error_code, None)?;
            delays.reset();
            let throttled = Duration::from_millis(response.throttle_time_ms.max(0) as u64);
            let bytes = self.deliver(asked, response).await;
            mirror.metrics.fetched_bytes.inc_by(bytes);
            mirror.metrics.fetch_seconds.observe(latency.as_secs_f64());
            // What a quota of the source asks for counts as much as our own bound.
            let measured = at_once.then_some(latency);
            let wait = pace.after(bytes, measured, mirror.env.elapsed()).max(throttled);
            if !wait.is_zero() {
                mirror.metrics.held_back_seconds.inc_by(wait.as_secs_f64());
                mirror.env.sleep(wait).await;
            }
        }
    }

    /// What to ask for next: all that may be read, those that got nothing last time first; or one alone.
    fn choose(&self) -> Vec<Asked> {
        let now = self.mirror.env.elapsed();
        let placed = self.mirror.placed_on(self.broker).into_iter();
        let mut asked: Vec<Asked> = placed
            .filter_map(|placed| placed.replicator.fetch_at(now).map(|at| Asked { placed, at }))
            .collect();
        if let Some(index) = asked.iter().position(|asked| asked.at.alone) {
            return vec![asked.swap_remove(index)];
        }
        asked.sort_by_key(|asked| !self.starved.contains(&asked.placed.replicator.id));
        asked
    }

    /// Sends on what came, in the order of the answer; waits while too much is in flight. Returns the bytes read.
    async fn deliver(&mut self, asked: Vec<Asked>, response: FetchResponse) -> u64 {
        let mut by_name = HashMap::with_capacity(asked.len());
        let mut by_id = HashMap::with_capacity(asked.len());
        for asked in &asked {
            let replicator = &asked.placed.replicator;
            by_name.insert((replicator.id.topic.as_str(), replicator.id.partition), asked);
            by_id.insert((replicator.source_topic_id, replicator.id.partition), asked);
        }
        let mut bytes = 0;
        for topic in response.responses {
            for data in topic.partitions {
                let index = data.partition_index;
                let asked = match topic.topic_id.is_nil() {
                    true => by_name.get(&(topic.topic.as_str(), index)),
                    false => by_id.get(&(topic.topic_id, index)),
                };
                let Some(asked) = asked else { continue };
                let length = data.records.as_ref().map_or(0, |records| records.len());
                bytes += length as u64;
                let id = &asked.placed.replicator.id;
                if length == 0 && data.high_watermark > asked.at.offset {
                    self.starved.insert(id.clone());
                } else {
                    self.starved.remove(id);
                }
                if let Some(chunk) = take(self.mirror, asked, data).await {
                    self.mirror.send(chunk).await;
                }
            }
        }
        bytes
    }
}

async fn fetch(
    mirror: &Mirror,
    connection: &Connection,
    version: i16,
    asked: &[Asked],
) -> Result<FetchResponse, ClientError> {
    let limits = &mirror.limits;
    let alone = asked.len() == 1;
    let bytes_max = match mirror.bandwidth_bytes_per_s {
        0 => limits.fetch_bytes_max,
        bound => limits.fetch_bytes_max.min((bound / FETCHES_PER_S).max(FETCH_BYTES_MIN) as usize),
    };
    let partition_bytes_max = if alone { bytes_max } else { limits.fetch_partition_bytes_max.min(bytes_max) };
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for Asked { placed, at } in asked {
        let replicator = &placed.replicator;
        let mut partition = FetchPartition::default()
            .with_partition(replicator.id.partition)
            .with_current_leader_epoch(placed.leader_epoch)
            .with_fetch_offset(at.offset)
            .with_partition_max_bytes(partition_bytes_max as i32);
        if version >= FETCH_TRUNCATION_CHECK {
            partition.last_fetched_epoch = at.last_epoch;
        }
        let name = replicator.id.topic.as_str();
        let index = *place.entry(name).or_insert_with(|| {
            topics.push(match version >= FETCH_BY_TOPIC_ID {
                true => FetchTopic::default().with_topic_id(replicator.source_topic_id),
                false => FetchTopic::default().with_topic(TopicName(StrBytes::from_string(name.to_owned()))),
            });
            topics.len() - 1
        });
        topics[index].partitions.push(partition);
    }
    let wait_ms = if alone && asked[0].at.alone { 0 } else { limits.fetch_wait_ms };
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms as i32)
        .with_min_bytes(1)
        .with_max_bytes(bytes_max as i32)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics);
    let limit = Duration::from_millis(wait_ms) + FETCH_ANSWER_MAX;
    connection.begin(&request, version).await?.wait_within(limit).await
}

/// Turns one partition's answer into a chunk for the target, or deals with its error.
async fn take(mirror: &Arc<Mirror>, asked: &Asked, data: PartitionData) -> Option<Chunk> {
    let (replicator, at) = (&asked.placed.replicator, asked.at);
    if let Some(error) = ResponseError::try_from_code(data.error_code) {
        on_error(mirror, asked, error).await;
        return None;
    }
    if data.diverging_epoch.epoch >= 0 {
        diverged(mirror, asked, (data.diverging_epoch.epoch, data.diverging_epoch.end_offset)).await;
        return None;
    }
    let whole = match Whole::of(data.records.unwrap_or_default(), at.offset) {
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
        end: whole.end,
    };
    let stretch: Stretch = match replicator.fetched(at, answer, mirror.env.now_ms()) {
        Seen::Stretch(stretch) => stretch,
        Seen::Nothing => {
            if at.alone && whole.end.is_none() {
                replicator.put_off(&mirror.env);
            }
            return None;
        }
        Seen::Gap { end } => {
            replicator.put_off(&mirror.env);
            if !mirror.is_gap(replicator, at).await {
                return None;
            }
            tracing::info!(partition = %replicator.id, from = at.offset, to = end, "the source's log ends in a gap");
            replicator.pass_gap(at, end)?
        }
    };
    let permit = mirror.reserve(whole.records.len()).await;
    Some(Chunk {
        replicator: replicator.clone(),
        stretch,
        records: whole.records,
        timestamp_ms: whole.timestamp_ms,
        leader_epoch: asked.placed.leader_epoch.max(whole.end.map_or(-1, |(_, epoch)| epoch)),
        source_log_start: data.log_start_offset,
        source_high_watermark: data.high_watermark,
        permit,
    })
}

async fn on_error(mirror: &Arc<Mirror>, asked: &Asked, error: ResponseError) {
    let replicator = &asked.placed.replicator;
    match error {
        ResponseError::OffsetOutOfRange => mirror.resolve_out_of_range(replicator, asked.at).await,
        // Leadership moved, or the topic was deleted or re-created: the next look at the metadata tells which.
        _ => {
            tracing::info!(partition = %replicator.id, ?error, "source partition not readable; looking it up again");
            replicator.put_off(&mirror.env);
            mirror.placement_stale();
        }
    }
}

/// The source's last batch of our last batch's epoch (or of the one before, if it has none of that epoch) ends at
/// `end_offset`.
async fn diverged(mirror: &Mirror, asked: &Asked, (epoch, end_offset): (i32, i64)) {
    let (replicator, at) = (&asked.placed.replicator, asked.at);
    if end_offset >= at.offset {
        // It has everything up to here, only not the epoch: an election without a record behind it.
        return replicator.forget_epoch(at.generation);
    }
    if !mirror.is_same_topic(replicator).await {
        return replicator.put_off(&mirror.env);
    }
    replicator.halt(Halt {
        reason: format!(
            "the source cut {} back to offset {end_offset} in leader epoch {epoch} (unclean election or restore); the \
             mirror holds records up to offset {} that the source no longer has",
            replicator.id, at.offset
        ),
        fix: "decide which records count; then `towpath cancel` and link again under a fresh target topic".into(),
        since_ms: mirror.env.now_ms(),
    });
}
