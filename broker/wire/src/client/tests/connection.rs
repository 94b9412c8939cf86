//! One connection: order, bounds, time limits, what a lost answer means.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse, ProduceRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::mock::{Call, Mock, Reply, answer};
use crate::client::codec::decode;
use crate::client::{Client, ClientConfig, ClientError, To};
use towpath_env::Env;

/// Answers each heartbeat with its own generation as the throttle time, so that answers can be told apart.
fn echo(call: &Call) -> Option<Reply> {
    (call.api == ApiKey::Heartbeat).then(|| {
        let generation = call.read::<HeartbeatRequest>().generation_id;
        let response = HeartbeatResponse::default().with_throttle_time_ms(generation);
        answer::<HeartbeatRequest>(call.version, &response)
    })
}

fn heartbeat(generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_generation_id(generation).with_member_id(StrBytes::from_static_str("m"))
}

#[tokio::test]
async fn requests_go_out_before_answers_come_and_each_gets_its_own() {
    let mock = Mock::start(echo).await;
    let connection = mock.client().await.connection(To::Any).await.unwrap();
    let mut pending = Vec::new();
    for generation in 0..20 {
        pending.push(connection.begin(&heartbeat(generation), 4).await.unwrap());
    }
    // A caller that goes away takes only its own answer with it.
    drop(pending.remove(7));
    let mut answered = Vec::new();
    for each in pending {
        answered.push(each.wait().await.unwrap().throttle_time_ms);
    }
    let expected: Vec<i32> = (0..20).filter(|&generation| generation != 7).collect();
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let mock = Mock::start(|call: &Call| (call.api == ApiKey::Heartbeat).then_some(Reply::Silence)).await;
    let config = ClientConfig { in_flight_max: 2, ..mock.config() };
    let connection = mock.connect(config).await.unwrap().connection(To::Any).await.unwrap();
    let _first = connection.begin(&heartbeat(1), 4).await.unwrap();
    let _second = connection.begin(&heartbeat(2), 4).await.unwrap();
    let error = connection.begin(&heartbeat(3), 4).await.err().unwrap();
    assert!(matches!(error, ClientError::Busy { in_flight_max: 2, .. }), "{error}");
    assert!(error.is_retriable());
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_an_unknown_outcome_and_ends_the_connection() {
    let mock = Mock::start(|call: &Call| (call.api == ApiKey::Heartbeat).then_some(Reply::Silence)).await;
    let connection = mock.client().await.connection(To::Any).await.unwrap();
    let behind = connection.begin(&heartbeat(1), 4).await.unwrap();
    let pending = connection.begin(&heartbeat(2), 4).await.unwrap();
    let error = pending.wait_within(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.to_string().contains("50 ms"), "{error}");
    // The other one was written too.
    assert!(behind.wait().await.unwrap_err().is_outcome_unknown());
    assert!(!connection.is_usable());
    let late = connection.send_version(heartbeat(3), 4).await.unwrap_err();
    assert!(matches!(late, ClientError::Disconnected { .. }), "{late}");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_an_unknown_outcome() {
    let mock = Mock::start(|call: &Call| (call.api == ApiKey::Heartbeat).then_some(Reply::Close)).await;
    let connection = mock.client().await.connection(To::Any).await.unwrap();
    let error = connection.send_version(heartbeat(1), 4).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_retriable(), "{error}");
    assert!(connection.closed().await.contains("closed"));
}

#[tokio::test]
async fn answers_out_of_order_and_answers_too_large_end_the_connection() {
    for (reply, words) in [(true, "correlation id"), (false, "more than this client reads")] {
        let mock = Mock::start(move |call: &Call| {
            let wrong = if reply { Reply::Confused } else { Reply::Raw(b"\x7f\0\0\0") };
            (call.api == ApiKey::Heartbeat).then_some(wrong)
        })
        .await;
        let connection = mock.client().await.connection(To::Any).await.unwrap();
        let error = connection.send_version(heartbeat(1), 4).await.unwrap_err();
        assert!(error.is_outcome_unknown() && error.to_string().contains(words), "{error}");
        assert!(!connection.is_usable());
    }
}

#[tokio::test]
async fn an_answer_that_does_not_decode_ends_the_connection() {
    let mock = Mock::start(|call: &Call| {
        (call.api == ApiKey::Heartbeat).then(|| Reply::Answer(Bytes::from_static(b"\0\0\0")))
    })
    .await;
    let connection = mock.client().await.connection(To::Any).await.unwrap();
    let error = connection.send_version(heartbeat(1), 4).await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { api: "Heartbeat", .. }), "{error}");
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_produce_that_would_never_be_answered_is_refused() {
    let mock = Mock::start(echo).await;
    let connection = mock.client().await.connection(To::Any).await.unwrap();
    let error = connection.send(ProduceRequest::default().with_acks(0)).await.unwrap_err();
    assert!(error.fix().is_some() && mock.count(ApiKey::Produce) == 0, "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_says_so_with_a_fix() {
    let mock = Mock::start(echo).await;
    let address = mock.address.clone();
    let config = mock.config();
    drop(mock);
    // The accepting task is aborted when it is polled next; a connection made before that is dropped unserved.
    let error = Client::connect(config, Env::real()).await.unwrap_err();
    assert!(error.fix().is_some() && error.to_string().contains(&address), "{error}");
}

#[test]
fn fetched_records_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 100_000]);
    let data = PartitionData::default().with_records(Some(records));
    let topic = FetchableTopicResponse::default().with_partitions(vec![data]);
    for version in [11, 12] {
        let mut frame = BytesMut::new();
        if version >= 12 {
            frame.put_u8(0);
        }
        FetchResponse::default().with_responses(vec![topic.clone()]).encode(&mut frame, version).unwrap();
        let frame = frame.freeze();
        let response = decode::<FetchRequest>(version, frame.clone()).unwrap();
        let found = response.responses[0].partitions[0].records.as_ref().unwrap();
        let (whole, part) = (frame.as_ptr_range(), found.as_ptr_range());
        assert!(whole.start <= part.start && part.end <= whole.end && found.len() == 100_000);
    }
}
