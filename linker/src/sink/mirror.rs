//! Appends chunks to mirror topics of the bundled broker through its private MirrorAppend call.
//!
//! One connection per target broker with several requests in flight; the broker appends them in order and
//! answers when they are durable. The target refuses a chunk whose predecessor failed, so order needs no wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use towpath_env::retry::RetryPolicy;
use towpath_wire::client::{ClientError, Connection, PendingRaw, To};
use towpath_wire::private::{
    MIRROR_APPEND, MirrorAppendPartition, MirrorAppendPartitionResponse, MirrorAppendRequest,
    MirrorAppendResponse, MirrorAppendTopic, code,
};

use super::Chunk;
use crate::error::{LinkerError, Side};
use crate::link::mirror::{Mirror, Placed};
use crate::link::replicator::{Halt, TargetAnswer};

/// Requests to one target broker that may wait for their answers at once.
const REQUESTS_IN_FLIGHT_MAX: usize = 8;
/// Bytes gathered into one request, at the most one chunk over.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// How long the target may take to make one request durable before it answers with a time-out.
const APPEND_TIMEOUT_MS: i32 = 30_000;

/// Appends what arrives on `chunks` to `broker` until `stop`.
pub async fn run(
    mirror: Arc<Mirror>,
    broker: i32,
    mut chunks: mpsc::Receiver<Chunk>,
    stop: CancellationToken,
) {
    let mut delays = RetryPolicy::FOREVER.delays(&mirror.env);
    let mut held = None;
    while !stop.is_cancelled() {
        let connection = tokio::select! {
            () = stop.cancelled() => return,
            connection = mirror.target.connection(To::Broker(broker)) => connection,
        };
        let result = match connection {
            Ok(connection) => {
                delays.reset();
                let waiting = FuturesOrdered::new();
                let mut writer = Writer { mirror: &mirror, connection, waiting, not_before: Duration::ZERO };
                tokio::select! {
                    () = stop.cancelled() => return,
                    result = writer.run(&mut chunks, &mut held) => result,
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => return,
            Err(error) => {
                tracing::info!(broker, %error, "target broker not writable; trying again");
                mirror.metrics.target_errors.inc();
                // It may have moved, or come back under another address.
                mirror.placement_stale();
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = mirror.env.sleep(delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max)) => {}
                }
            }
        }
    }
}

struct Writer<'a> {
    mirror: &'a Arc<Mirror>,
    connection: Arc<Connection>,
    waiting: FuturesOrdered<futures::future::BoxFuture<'a, Answered>>,
    /// The target asked to be spared until then, on the environment's clock.
    not_before: Duration,
}

/// One request's chunks with what became of them.
struct Answered {
    chunks: Vec<Chunk>,
    result: Result<MirrorAppendResponse, ClientError>,
}

impl Writer<'_> {
    /// Ends with `Ok` when the channel is closed. After an error every chunk that was not acknowledged has been
    /// rewound.
    async fn run(
        &mut self,
        chunks: &mut mpsc::Receiver<Chunk>,
        held: &mut Option<Chunk>,
    ) -> Result<(), ClientError> {
        let result = self.pump(chunks, held).await;
        // What still waits is lost with the connection: each is read again from what the target holds.
        while let Some(answered) = self.waiting.next().await {
            let _ = self.settle(answered);
        }
        result
    }

    async fn pump(
        &mut self,
        chunks: &mut mpsc::Receiver<Chunk>,
        held: &mut Option<Chunk>,
    ) -> Result<(), ClientError> {
        let env = &self.mirror.env;
        loop {
            let wait = self.not_before.saturating_sub(env.elapsed());
            let may_send = wait.is_zero() && self.waiting.len() < REQUESTS_IN_FLIGHT_MAX;
            if may_send && let Some(chunk) = held.take() {
                self.append(chunk, chunks, held).await?;
                continue;
            }
            tokio::select! {
                biased;
                Some(answered) = self.waiting.next(), if !self.waiting.is_empty() => self.settle(answered)?,
                () = env.sleep(wait), if !wait.is_zero() => {}
                chunk = chunks.recv(), if may_send => match chunk {
                    Some(chunk) => self.append(chunk, chunks, held).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Sends `first` and whatever else is queued, up to the request bound and one chunk per partition.
    async fn append(
        &mut self,
        first: Chunk,
        queued: &mut mpsc::Receiver<Chunk>,
        held: &mut Option<Chunk>,
    ) -> Result<(), ClientError> {
        let mut bytes = first.records.len();
        let mut taken = HashSet::from([first.replicator.id.clone()]);
        let mut chunks = vec![first];
        while bytes < REQUEST_BYTES_MAX {
            let Ok(chunk) = queued.try_recv() else { break };
            if !taken.insert(chunk.replicator.id.clone()) {
                *held = Some(chunk);
                break;
            }
            bytes += chunk.records.len();
            chunks.push(chunk);
        }
        chunks.retain(|chunk| chunk.replicator.is_current(chunk.stretch.generation));
        if chunks.is_empty() {
            return Ok(());
        }
        let body = request(self.mirror, &chunks).encode();
        match self.connection.begin_raw("MirrorAppend", MIRROR_APPEND, 0, body).await {
            Ok(pending) => {
                self.waiting.push_back(Box::pin(answer(
                    self.connection.address().to_owned(),
                    chunks,
                    pending,
                )));
                Ok(())
            }
            Err(error) => {
                rewind_all(&chunks);
                Err(error)
            }
        }
    }

    fn settle(&mut self, answered: Answered) -> Result<(), ClientError> {
        let Answered { chunks, result } = answered;
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                rewind_all(&chunks);
                return Err(error);
            }
        };
        for chunk in &chunks {
            let id = &chunk.replicator.id;
            let topic = response.topics.iter_mut().find(|topic| topic.name == id.topic);
            let partition = topic.and_then(|topic| {
                topic
                    .partitions
                    .iter()
                    .position(|partition| partition.index == id.partition)
                    .map(|at| topic.partitions.swap_remove(at))
            });
            match partition {
                Some(partition) => settle_one(self.mirror, chunk, partition),
                None => chunk.replicator.rewind(chunk.stretch.generation),
            }
        }
        let throttle = Duration::from_millis(response.throttle_time_ms.max(0) as u64);
        let not_before = self.mirror.env.elapsed() + throttle;
        if !throttle.is_zero() && not_before > self.not_before {
            let longer = not_before - self.not_before.max(self.mirror.env.elapsed());
            self.mirror.metrics.target_held_back_seconds.inc_by(longer.as_secs_f64());
            self.not_before = not_before;
        }
        Ok(())
    }
}

async fn answer(address: String, chunks: Vec<Chunk>, pending: PendingRaw) -> Answered {
    let result = match pending.wait().await {
        Ok(frame) => MirrorAppendResponse::decode(frame).map_err(|error| ClientError::Malformed {
            address,
            api: "MirrorAppend",
            reason: error.to_string(),
        }),
        Err(error) => Err(error),
    };
    Answered { chunks, result }
}

fn rewind_all(chunks: &[Chunk]) {
    for chunk in chunks {
        chunk.replicator.rewind(chunk.stretch.generation);
    }
}

fn request(mirror: &Mirror, chunks: &[Chunk]) -> MirrorAppendRequest {
    let mut topics: Vec<MirrorAppendTopic> = Vec::new();
    for chunk in chunks {
        let id = &chunk.replicator.id;
        let partition = MirrorAppendPartition {
            index: id.partition,
            from_offset: chunk.stretch.from,
            source_leader_epoch: chunk.leader_epoch,
            source_log_start: chunk.source_log_start,
            source_high_watermark: chunk.source_high_watermark,
            log_end: chunk.stretch.to,
            records: chunk.records.clone(),
        };
        match topics.iter_mut().find(|topic| topic.name == id.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(MirrorAppendTopic {
                name: id.topic.clone(),
                source_topic_id: chunk.replicator.source_topic_id,
                partitions: vec![partition],
            }),
        }
    }
    MirrorAppendRequest {
        link: mirror.link.clone(),
        source_cluster_id: mirror.source_cluster_id.clone(),
        timeout_ms: APPEND_TIMEOUT_MS,
        topics,
    }
}

fn settle_one(mirror: &Mirror, chunk: &Chunk, answer: MirrorAppendPartitionResponse) {
    let replicator = &chunk.replicator;
    let now_ms = mirror.env.now_ms();
    if answer.error_code == 0 {
        let bytes = chunk.records.len() as u64;
        mirror.metrics.mirrored_bytes.inc_by(bytes);
        let timestamp_ms = chunk.timestamp_ms;
        let last_epoch = chunk.stretch.last_epoch;
        let (log_start, log_end) = (answer.log_start, answer.log_end);
        let target = TargetAnswer { log_start, log_end, timestamp_ms, last_epoch, bytes };
        replicator.acknowledged(target);
        mirror.acknowledged.send_modify(|count| *count += 1);
        return;
    }
    let said = answer.error_message.unwrap_or_else(|| name(answer.error_code));
    if is_final(answer.error_code) {
        replicator.halt(Halt {
            reason: format!("{} at offset {}: the target refused: {said}", replicator.id, chunk.stretch.from),
            fix: fix_of(answer.error_code).into(),
            since_ms: now_ms,
        });
    } else {
        tracing::info!(partition = %replicator.id, offset = chunk.stretch.from, said, "append refused; reading again");
        mirror.metrics.target_errors.inc();
        // Those that follow in the same generation fail for this one's sake: one failure is one delay.
        if replicator.is_current(chunk.stretch.generation) {
            replicator.put_off(&mirror.env);
        }
        match answer.log_end {
            log_end if log_end >= 0 => replicator.rewind_to(chunk.stretch.generation, log_end),
            _ => replicator.rewind(chunk.stretch.generation),
        }
    }
}

/// Tells the target that a person accepts why it halted a partition; gives its end.
///
/// # Errors
/// The target cannot be asked, or refuses: its topic is not this link's mirror of this source topic.
pub async fn lift_halt(mirror: &Mirror, placed: &Placed) -> Result<i64, LinkerError> {
    let id = &placed.replicator.id;
    let partition = MirrorAppendPartition {
        index: id.partition,
        from_offset: MirrorAppendPartition::LIFT_HALT,
        source_leader_epoch: -1,
        source_log_start: -1,
        source_high_watermark: -1,
        log_end: -1,
        records: Bytes::new(),
    };
    let request = MirrorAppendRequest {
        link: mirror.link.clone(),
        source_cluster_id: mirror.source_cluster_id.clone(),
        timeout_ms: APPEND_TIMEOUT_MS,
        topics: vec![MirrorAppendTopic {
            name: id.topic.clone(),
            source_topic_id: placed.replicator.source_topic_id,
            partitions: vec![partition],
        }],
    };
    let answer = mirror.target.mirror_append(To::Leader(id.topic.clone(), id.partition), &request).await;
    let answer = answer.map_err(LinkerError::cluster(Side::Target, format!("lift the halt of {id}")))?;
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    match partition {
        Some(partition) if partition.error_code == 0 => Ok(partition.log_end),
        partition => {
            let code = partition.as_ref().map_or(-1, |partition| partition.error_code);
            let said = partition.and_then(|partition| partition.error_message).unwrap_or_else(|| name(code));
            let problem = format!("the halt of {id} cannot be lifted: {said}");
            Err(LinkerError::Answer { side: Side::Target, problem, fix: fix_of(code).into() })
        }
    }
}

fn is_final(error_code: i16) -> bool {
    matches!(
        error_code,
        code::NOT_MIRROR_TOPIC
            | code::MIRROR_IDENTITY_CHANGED
            | code::MIRROR_OFFSET_BACKWARD
            | code::MIRROR_MISMATCH
            | code::MIRROR_HALTED
            | code::PRODUCER_ID_RESERVED
    )
}

fn fix_of(error_code: i16) -> &'static str {
    match error_code {
        code::MIRROR_MISMATCH | code::MIRROR_HALTED => {
            "run `towpath diff` to see which records differ; then cancel and link again under a fresh topic, or \
             `towpath resume --accept-loss TOPIC-PARTITION` to keep what the target has and go on behind it"
        }
        code::MIRROR_IDENTITY_CHANGED => {
            "the target topic mirrors another source topic: cancel, delete it, link again"
        }
        code::NOT_MIRROR_TOPIC => {
            "the target topic was promoted or created by someone else: rename one of the two"
        }
        code::PRODUCER_ID_RESERVED => {
            "the source uses producer ids above 2^62; no supported Kafka version does"
        }
        _ => "cancel the family and link again under a fresh topic",
    }
}

fn name(error_code: i16) -> String {
    ResponseError::try_from_code(error_code)
        .map_or_else(|| format!("error {error_code}"), |error| format!("{error:?} ({error_code})"))
}
