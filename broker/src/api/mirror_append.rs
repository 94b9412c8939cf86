//! MirrorAppend: a link's batches into mirror topics, at their source offsets (DESIGN §5.5).
//!
//! Towpath's own API. Its ordered part (queueing for the WAL) may have to wait, so it is a future of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, ready};
use kafka_protocol::ResponseError;
use tokio::time::timeout;
use towpath_wire::private::{
    MirrorAppendPartition, MirrorAppendPartitionResponse, MirrorAppendRequest, MirrorAppendResponse,
    MirrorAppendTopicResponse,
};

use super::dispatch::Call;
use super::topics::partition_by_name;
use crate::metadata::Image;
use crate::mirror::{MirrorBatches, MirrorIdentity, Mirrored};
use crate::partition::{Partition, Refusal};
use crate::server::{Answer, CloseReason, Response, Shared, head};

/// Response header of the private APIs.
const HEADER_VERSION: i16 = 0;

type Appended = Result<(Arc<Partition>, Mirrored), Failure>;

struct Failure {
    error_code: i16,
    message: String,
    /// Where to go on from, where that mends it; −1.
    log_end: i64,
}

impl Failure {
    fn new(error_code: i16, message: String) -> Failure {
        Failure { error_code, message, log_end: -1 }
    }
}

/// Queues all batches, in the order of the connection, and gives back the wait for durability.
pub async fn start(call: Call, frame: Bytes) -> BoxFuture<'static, Answer> {
    let request = match MirrorAppendRequest::decode(frame.slice(call.head.body_start..)) {
        Ok(request) => request,
        Err(error) => return ready(Answer::Close(CloseReason::Request(error.to_string()))).boxed(),
    };
    let image = call.broker.metadata.image();
    let limit = Duration::from_millis(request.timeout_ms.max(1) as u64);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let identity = MirrorIdentity {
            link: request.link.clone(),
            source_cluster_id: request.source_cluster_id.clone(),
            source_topic_id: topic.source_topic_id,
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.index;
            partitions.push((index, append(&call.broker, &image, &identity, &topic.name, partition).await));
        }
        topics.push((topic.name, partitions));
    }
    settle_all(call, topics, limit).boxed()
}

async fn append(
    broker: &Shared,
    image: &Image,
    identity: &MirrorIdentity,
    topic: &str,
    asked: MirrorAppendPartition,
) -> Appended {
    let partition = partition_by_name(broker, image, topic, asked.index).map_err(|error| {
        let message =
            format!("{topic}-{}: no such partition here; fix: create the mirror topic", asked.index);
        Failure::new(error.code(), message)
    })?;
    let batches = MirrorBatches {
        from_offset: asked.from_offset,
        source_leader_epoch: asked.source_leader_epoch,
        source_log_start: asked.source_log_start,
        source_high_watermark: asked.source_high_watermark,
        log_end: asked.log_end,
        records: asked.records,
    };
    match partition.append_mirrored(identity, batches).await {
        Ok(mirrored) => Ok((partition, mirrored)),
        Err(error) => {
            let log_end = if let Refusal::Gap { log_end, .. } = error.reason { log_end } else { -1 };
            Err(Failure { error_code: error.code(), message: error.to_string(), log_end })
        }
    }
}

async fn settle_all(call: Call, topics: Vec<(String, Vec<(i32, Appended)>)>, limit: Duration) -> Answer {
    let topics = topics.into_iter().map(|(name, partitions)| async move {
        let settled = partitions.into_iter().map(|(index, appended)| settle(index, appended, limit));
        MirrorAppendTopicResponse { name, partitions: join_all(settled).await }
    });
    let response = MirrorAppendResponse {
        topics: join_all(topics).await,
        throttle_time_ms: call.broker.partitions.produce_throttle_ms(),
    };
    let head = head(call.head.correlation_id, HEADER_VERSION, 0);
    Answer::Send(Response::frame(head, response.encode()))
}

async fn settle(index: i32, appended: Appended, limit: Duration) -> MirrorAppendPartitionResponse {
    let failed = |failure: Failure| MirrorAppendPartitionResponse {
        index,
        error_code: failure.error_code,
        error_message: Some(failure.message),
        log_start: -1,
        log_end: failure.log_end,
        high_watermark: -1,
    };
    let (partition, mirrored) = match appended {
        Ok(appended) => appended,
        Err(failure) => return failed(failure),
    };
    let error = match timeout(limit, mirrored.durable).await {
        Ok(Ok(())) => {
            return MirrorAppendPartitionResponse {
                index,
                error_code: 0,
                error_message: None,
                log_start: mirrored.log_start,
                log_end: mirrored.log_end,
                high_watermark: partition.offsets().high_watermark,
            };
        }
        Ok(Err(error)) => (ResponseError::KafkaStorageError, error.to_string()),
        Err(_) => {
            (ResponseError::RequestTimedOut, format!("not durable after {limit:?}; it may become so later"))
        }
    };
    failed(Failure::new(error.0.code(), format!("{}: {}", partition.name(), error.1)))
}
