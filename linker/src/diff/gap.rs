//! Proof that a partition holds nothing up to an offset.

use std::time::Duration;

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::protocol::StrBytes;
use towpath_wire::client::{Client, ClientError, To, TopicPartition};

/// The last Fetch version that names topics by name; offered by every broker from 2.7 on.
const FETCH_VERSION: i16 = 12;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whether the offsets `[at, to)` of a partition are all below its high watermark and hold no batch: compacted away
/// together with whatever followed, so that librdkafka, which learns the end from the batch before it, waits for
/// ever.
///
/// # Errors
/// The leader cannot be asked.
pub(super) async fn reaches(
    client: &Client,
    id: &TopicPartition,
    at: i64,
    to: i64,
) -> Result<bool, ClientError> {
    let leader = To::Leader(id.topic.clone(), id.partition);
    let connection = client.connection(leader).await?;
    let partition = FetchPartition::default()
        .with_partition(id.partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(at)
        .with_partition_max_bytes(1);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(id.topic.clone())))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let answer = connection.begin(&request, FETCH_VERSION).await?.wait_within(ANSWER_MAX).await?;
    // A throttled broker answers nothing at all, which proves nothing.
    if answer.throttle_time_ms > 0 || answer.error_code != 0 {
        return Ok(false);
    }
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.last().is_some_and(|partition| {
        partition.error_code == 0
            && partition.high_watermark >= to
            && partition.records.as_ref().is_none_or(|records| records.is_empty())
    }))
}
