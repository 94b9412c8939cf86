//! What is repeated, where, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::mock::{Call, Mock, Reply, answer};
use crate::client::{ClientConfig, ClientError, To};

fn list_offsets() -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// One partition for each code.
fn listed(call: &Call, codes: &[i16]) -> Reply {
    let partitions = codes
        .iter()
        .map(|&code| ListOffsetsPartitionResponse::default().with_error_code(code).with_offset(9));
    let topic = ListOffsetsTopicResponse::default().with_name(topic()).with_partitions(partitions.collect());
    answer::<ListOffsetsRequest>(call.version, &ListOffsetsResponse::default().with_topics(vec![topic]))
}

/// Answers ListOffsets by `codes` of the first, second, … call; the last one stays.
async fn answering(codes: &'static [&'static [i16]]) -> Mock {
    let calls = AtomicUsize::new(0);
    Mock::start(move |call: &Call| {
        (call.api == ApiKey::ListOffsets).then(|| {
            let index = calls.fetch_add(1, Ordering::Relaxed).min(codes.len() - 1);
            listed(call, codes[index])
        })
    })
    .await
}

const NOT_LEADER: i16 = 6;
const UNKNOWN_TOPIC: i16 = 3;
const NOT_COORDINATOR: i16 = 16;
const NOT_AUTHORIZED: i16 = 29;

async fn codes_of(mock: &Mock) -> Vec<i16> {
    let client = mock.client().await;
    let response = client.send(To::Leader("t".to_owned(), 0), list_offsets()).await.unwrap();
    response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

#[tokio::test]
async fn a_leader_that_moved_is_looked_up_again() {
    let mock = answering(&[&[NOT_LEADER], &[0]]).await;
    assert_eq!(codes_of(&mock).await, [0]);
    // On connecting, where the mock tells of its topic unasked, and when the leader had moved.
    assert_eq!((mock.count(ApiKey::Metadata), mock.count(ApiKey::ListOffsets)), (2, 2));
}

#[tokio::test]
async fn what_cannot_pass_is_handed_back_at_once() {
    let mock = answering(&[&[NOT_AUTHORIZED]]).await;
    assert_eq!(codes_of(&mock).await, [NOT_AUTHORIZED]);
    assert_eq!(mock.count(ApiKey::ListOffsets), 1);
}

#[tokio::test]
async fn an_answer_that_succeeded_in_part_is_not_repeated() {
    let mock = answering(&[&[NOT_LEADER, 0]]).await;
    assert_eq!(codes_of(&mock).await, [NOT_LEADER, 0]);
    assert_eq!(mock.count(ApiKey::ListOffsets), 1);
}

#[tokio::test]
async fn when_time_runs_out_the_last_answer_is_handed_back() {
    let mock = answering(&[&[NOT_LEADER]]).await;
    let config = ClientConfig { request_timeout: Duration::from_millis(300), ..mock.config() };
    let client = mock.connect(config).await.unwrap();
    let response = client.send(To::Leader("t".to_owned(), 0), list_offsets()).await.unwrap();
    assert_eq!(response.topics[0].partitions[0].error_code, NOT_LEADER);
    assert!(mock.count(ApiKey::ListOffsets) >= 2);
}

#[tokio::test]
async fn an_unknown_topic_is_waited_for_only_briefly() {
    let mock = answering(&[&[UNKNOWN_TOPIC]]).await;
    let config = ClientConfig { request_timeout: Duration::from_secs(60), ..mock.config() };
    let client = mock.connect(config).await.unwrap();
    let sent = client.send(To::Leader("t".to_owned(), 0), list_offsets());
    let response =
        tokio::time::timeout(Duration::from_secs(20), sent).await.expect("gives up early").unwrap();
    assert_eq!(response.topics[0].partitions[0].error_code, UNKNOWN_TOPIC);
}

#[tokio::test]
async fn a_coordinator_that_moved_is_looked_up_again() {
    let calls = AtomicUsize::new(0);
    let mock = Mock::start(move |call: &Call| {
        (call.api == ApiKey::Heartbeat).then(|| {
            let code = if calls.fetch_add(1, Ordering::Relaxed) == 0 { NOT_COORDINATOR } else { 0 };
            answer::<HeartbeatRequest>(call.version, &HeartbeatResponse::default().with_error_code(code))
        })
    })
    .await;
    let client = mock.client().await;
    for _ in 0..2 {
        let response = client.send(To::Coordinator("g".to_owned()), HeartbeatRequest::default()).await;
        assert_eq!(response.unwrap().error_code, 0);
    }
    // Twice for the first call, from the cache for the second.
    assert_eq!((mock.count(ApiKey::FindCoordinator), mock.count(ApiKey::Heartbeat)), (2, 3));
}

#[tokio::test]
async fn a_connection_about_to_lose_its_authentication_is_replaced() {
    let mock = answering(&[&[0]]).await;
    let client = mock.client().await;
    client.inner.pool.any().unwrap().set_lifetime(Duration::ZERO);
    // What the broker offers is remembered all the same.
    assert!(client.supports(ApiKey::ListOffsets as i16, 7));
    client.send(To::Leader("t".to_owned(), 0), list_offsets()).await.unwrap();
    assert_eq!(mock.calls(ApiKey::ListOffsets)[0].connection, 1);
}

/// Ends the connection at the first call of `api`, once it has been read.
async fn losing(api: ApiKey) -> Mock {
    let calls = Arc::new(AtomicUsize::new(0));
    Mock::start(move |call: &Call| {
        if call.api != api {
            return None;
        }
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        Some(match api {
            _ if first => Reply::Close,
            ApiKey::ListOffsets => listed(call, &[0]),
            _ => {
                let created = CreatableTopicResult::default().with_name(topic());
                let response = CreateTopicsResponse::default().with_topics(vec![created]);
                answer::<CreateTopicsRequest>(call.version, &response)
            }
        })
    })
    .await
}

#[tokio::test]
async fn a_lost_answer_to_a_question_is_asked_again_on_a_new_connection() {
    let mock = losing(ApiKey::ListOffsets).await;
    assert_eq!(codes_of(&mock).await, [0]);
    let connections: Vec<usize> =
        mock.calls(ApiKey::ListOffsets).iter().map(|call| call.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn a_lost_answer_to_a_change_is_an_unknown_outcome_and_the_change_is_not_repeated() {
    let mock = losing(ApiKey::CreateTopics).await;
    let client = mock.client().await;
    let error = client.send(To::Controller, CreateTopicsRequest::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { api: "CreateTopics", .. }), "{error}");
    assert_eq!(mock.count(ApiKey::CreateTopics), 1);
    // The client itself goes on.
    client.send(To::Controller, CreateTopicsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn many_callers_share_one_connection() {
    let mock = answering(&[&[0]]).await;
    let client = mock.client().await;
    let sends = (0..50).map(|_| client.send(To::Leader("t".to_owned(), 0), list_offsets()));
    for outcome in futures::future::join_all(sends).await {
        outcome.unwrap();
    }
    assert!(mock.calls(ApiKey::ListOffsets).iter().all(|call| call.connection == 0));
}
