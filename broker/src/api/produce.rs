//! Produce: record batches into partitions, acknowledged once durable.
//!
//! The request is read here and not by the crate, which has no versions below 3: only the place of each records
//! field is noted, and the frame is then cut at those places without copying. The ordered part (append to the
//! log) runs before [`start`] returns; what it gives back waits for durability.

mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, ready};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::timeout;
use towpath_wire::convert;
use towpath_wire::frame::RequestHead;
use uuid::Uuid;

use self::request::{PartitionData, ProduceData, TopicRef};
use super::dispatch::{Call, encoded};
use super::topics::partition_of;
use crate::metadata::{Image, TopicImage};
use crate::partition::{Appended, Origin, Partition};
use crate::server::{Answer, CloseReason, Response, Shared, head};

/// Versions up to this one may carry message formats v0 and v1; later ones carry v2 only.
const OLD_FORMATS_VERSION_MAX: i16 = 2;
/// Versions from this one on name topics by id.
const TOPIC_ID_VERSION: i16 = 13;
/// Clients keep to a throttle by themselves from this version on (KIP-219).
const CLIENT_THROTTLE_VERSION: i16 = 6;
/// A client that waits longer than this for durability has given up long ago.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Appends, in the order of the connection, and gives back the wait for durability.
pub fn start(call: &Call, frame: BytesMut) -> BoxFuture<'static, Answer> {
    let version = call.head.api_version;
    let request = match request::read(&frame, call.head.body_start, version) {
        Ok(request) => request,
        Err(error) => return ready(Answer::Close(CloseReason::Request(error.to_string()))).boxed(),
    };
    let broker = Arc::clone(&call.broker);
    let acks = request.acks;
    let limit = Duration::from_millis(request.timeout_ms.max(1) as u64).min(TIMEOUT_MAX);
    let appended = append_all(&broker, version, request, frame);
    let head = call.head.clone();
    async move {
        let response = ProduceResponse::default().with_responses(settle_all(&broker, appended, limit).await);
        answer(&broker, &head, acks, response).await
    }
    .boxed()
}

struct TopicAppends {
    name: TopicName,
    id: Uuid,
    /// By partition index.
    partitions: Vec<(i32, Outcome)>,
}

/// What the ordered part gave one partition.
type Outcome = Result<(Arc<Partition>, Appended), Failure>;

struct Failure {
    code: i16,
    message: String,
}

impl Failure {
    fn new(error: ResponseError, message: impl Into<String>) -> Failure {
        Failure { code: error.code(), message: message.into() }
    }
}

fn append_all(broker: &Shared, version: i16, request: ProduceData, frame: BytesMut) -> Vec<TopicAppends> {
    let image = broker.metadata.image();
    let mut cutter = Cutter { rest: frame, cut: 0 };
    let topics = request.topics.into_iter().map(|topic| {
        let found = find(&image, &topic.topic);
        let partitions = topic.partitions.into_iter().map(|data| {
            let records = cutter.take(&data);
            let appended = match (&found, request.acks) {
                (Ok(topic), -1..=1) => append(broker, topic, &data, records, version),
                (Ok(_), acks) => Err(Failure::new(
                    ResponseError::InvalidRequiredAcks,
                    format!("acks={acks}: only -1, 0 and 1 are valid"),
                )),
                (Err(error), _) => Err(Failure::new(*error, "no such topic")),
            };
            (data.index, appended)
        });
        let partitions = partitions.collect();
        match topic.topic {
            TopicRef::Name(name) => {
                TopicAppends { name: TopicName(StrBytes::from_string(name)), id: Uuid::nil(), partitions }
            }
            TopicRef::Id(id) => TopicAppends { name: TopicName::default(), id, partitions },
        }
    });
    topics.collect()
}

fn find<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<TopicImage>, ResponseError> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
    }
}

fn append(
    broker: &Shared,
    topic: &TopicImage,
    data: &PartitionData,
    records: Option<BytesMut>,
    version: i16,
) -> Outcome {
    if topic.internal {
        let message = format!("topic '{}' belongs to the broker and can't be produced to", topic.name);
        return Err(Failure::new(ResponseError::InvalidTopicException, message));
    }
    let partition = partition_of(broker, topic, data.index).map_err(|error| {
        Failure::new(error, format!("no partition {} of topic '{}'", data.index, topic.name))
    })?;
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return Err(Failure::new(ResponseError::InvalidRecord, format!("{}: no records", partition.name())));
    };
    let records = if convert::needs_conversion(&records) {
        up_convert(broker, &partition, records, version)?
    } else {
        records
    };
    match partition.append(records, Origin::Client) {
        Ok(appended) => Ok((partition, appended)),
        Err(error) => Err(Failure { code: error.code(), message: error.to_string() }),
    }
}

fn up_convert(
    broker: &Shared,
    partition: &Partition,
    records: BytesMut,
    version: i16,
) -> Result<BytesMut, Failure> {
    if version > OLD_FORMATS_VERSION_MAX {
        let message = format!("{}: Produce v{version} carries message format v2 only", partition.name());
        return Err(Failure::new(ResponseError::InvalidRecord, message));
    }
    convert::up_convert(records.freeze(), broker.config.limits.decoded_bytes_max).map_err(|error| {
        Failure::new(ResponseError::CorruptMessage, format!("{}: {error}", partition.name()))
    })
}

/// Cuts the records fields out of a frame, in the order in which they lie there, without copying.
struct Cutter {
    rest: BytesMut,
    cut: usize,
}

impl Cutter {
    fn take(&mut self, data: &PartitionData) -> Option<BytesMut> {
        let range = data.records.clone()?;
        drop(self.rest.split_to(range.start - self.cut));
        self.cut = range.end;
        Some(self.rest.split_to(range.len()))
    }
}

async fn settle_all(
    broker: &Shared,
    topics: Vec<TopicAppends>,
    limit: Duration,
) -> Vec<TopicProduceResponse> {
    let waits = topics.into_iter().map(|topic| async move {
        let partitions = topic.partitions.into_iter().map(|(index, appended)| settle(index, appended, limit));
        TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.id)
            .with_partition_responses(join_all(partitions).await)
    });
    let settled = join_all(waits).await;
    for partition in settled.iter().flat_map(|topic| &topic.partition_responses) {
        if partition.error_code != 0 {
            let error = kafka_protocol::ResponseError::try_from_code(partition.error_code);
            let name = error.map_or_else(|| partition.error_code.to_string(), |error| format!("{error:?}"));
            broker.metrics.produce_errors.with_label_values(&[&name]).inc();
        }
    }
    settled
}

async fn settle(index: i32, appended: Outcome, limit: Duration) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default()
        .with_index(index)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1);
    let failed = |failure: Failure| {
        response
            .clone()
            .with_error_code(failure.code)
            .with_error_message(Some(StrBytes::from_string(failure.message)))
    };
    let (partition, appended) = match appended {
        Ok(appended) => appended,
        Err(failure) => return failed(failure),
    };
    match timeout(limit, appended.durable).await {
        Ok(Ok(())) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.log_append_time_ms.unwrap_or(-1))
            .with_log_start_offset(appended.log_start),
        Ok(Err(error)) => {
            failed(Failure::new(ResponseError::KafkaStorageError, format!("{}: {error}", partition.name())))
        }
        Err(_) => failed(Failure::new(
            ResponseError::RequestTimedOut,
            format!("{}: not durable after {limit:?}; it may become so later", partition.name()),
        )),
    }
}

async fn answer(broker: &Shared, head: &RequestHead, acks: i16, mut response: ProduceResponse) -> Answer {
    let refused =
        response.responses.iter().flat_map(|topic| &topic.partition_responses).find(|p| p.error_code != 0);
    if acks == 0 {
        // As in Kafka: with no response to carry the error, closing is what tells the producer.
        return match refused {
            Some(refused) => Answer::Close(CloseReason::Request(format!(
                "produce with acks=0 failed: {}",
                refused.error_message.as_deref().unwrap_or_default()
            ))),
            None => Answer::Silent,
        };
    }
    response.throttle_time_ms = broker.partitions.produce_throttle_ms();
    if response.throttle_time_ms > 0 && head.api_version < CLIENT_THROTTLE_VERSION {
        broker.env.sleep(Duration::from_millis(response.throttle_time_ms as u64)).await;
    }
    match head.api_version {
        0..=OLD_FORMATS_VERSION_MAX => Answer::Send(encode_old(head, &response)),
        version => encoded(head, version, &response),
    }
}

/// Versions 0 to 2, which the crate does not have. Version 2 has the shape of 3 and 4.
fn encode_old(request: &RequestHead, response: &ProduceResponse) -> Response {
    let version = request.api_version;
    let mut out = head(request.correlation_id, 0, 64);
    out.put_i32(response.responses.len() as i32);
    for topic in &response.responses {
        out.put_i16(topic.name.len() as i16);
        out.put_slice(topic.name.as_bytes());
        out.put_i32(topic.partition_responses.len() as i32);
        for partition in &topic.partition_responses {
            out.put_i32(partition.index);
            out.put_i16(partition.error_code);
            out.put_i64(partition.base_offset);
            if version >= 2 {
                out.put_i64(partition.log_append_time_ms);
            }
        }
    }
    if version >= 1 {
        out.put_i32(response.throttle_time_ms);
    }
    Response::frame(out, Vec::<Bytes>::new())
}
