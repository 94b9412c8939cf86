use bytes::Buf;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceResponse, TransactionalId};
use kafka_protocol::protocol::Decodable;

use super::*;
use crate::metadata::PRODUCER_ID_FIRST;
use crate::server::tests::request_frame;

#[tokio::test]
async fn every_version_appends_and_is_told_its_offset() {
    let (broker, mut client, _directory) = shop().await;
    for (expected, version) in (3..=11).enumerate() {
        let request = produce_request(name("orders"), 1, -1, Some(batch(1, 10).freeze()));
        let response = client.call(version, &request).await.unwrap();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, expected as i64), "v{version}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn versions_that_the_crate_does_not_have_are_answered_in_their_own_shape() {
    let (broker, mut client, _directory) = shop().await;
    for version in 0..=2_u8 {
        let request = produce_request(name("orders"), 0, 1, Some(batch(1, 10).freeze()));
        // Version 3 without its transactional id (two bytes behind a header of 10) is what 0 to 2 are.
        let mut frame = request_frame(3, &request).to_vec();
        frame.drain(14..16);
        frame[3] -= 2;
        frame[7] = version;
        client.send(&frame).await;
        let mut answer = client.receive().await.unwrap();
        assert_eq!((answer.get_i32(), answer.get_i32()), (7, 1), "correlation id, topics");
        assert_eq!(answer.copy_to_bytes(2 + 6), &b"\0\x06orders"[..]);
        assert_eq!((answer.get_i32(), answer.get_i32(), answer.get_i16()), (1, 0, 0));
        assert_eq!(answer.get_i64(), i64::from(version), "base offset");
        if version >= 2 {
            assert_eq!(answer.get_i64(), -1, "log append time");
        }
        if version >= 1 {
            assert_eq!(answer.get_i32(), 0, "throttle");
        }
        assert!(answer.is_empty(), "v{version}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn produces_sent_without_waiting_are_appended_and_answered_in_order() {
    let (broker, mut client, _directory) = shop().await;
    let request = produce_request(name("orders"), 0, -1, Some(batch(3, 100).freeze()));
    let mut frames = Vec::new();
    for _ in 0..200 {
        frames.extend_from_slice(&request_frame(9, &request));
    }
    client.send(&frames).await;
    for expected in 0..200 {
        let mut answer = client.receive().await.unwrap();
        answer.advance(5);
        let response = ProduceResponse::decode(&mut answer, 9).unwrap();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, expected * 3);
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_appended_is_refused_with_kafkas_own_error() {
    let (broker, mut client, _directory) = shop().await;
    create(&mut client, "__consumer_offsets", 1).await;
    let good = || Some(batch(1, 10).freeze());
    let mut torn = batch(1, 10);
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let cases = [
        (produce_request(name("nowhere"), 0, -1, good()), ResponseError::UnknownTopicOrPartition),
        (produce_request(name("orders"), 2, -1, good()), ResponseError::UnknownTopicOrPartition),
        (produce_request(name("orders"), -1, -1, good()), ResponseError::UnknownTopicOrPartition),
        (produce_request(name("orders"), 0, 2, good()), ResponseError::InvalidRequiredAcks),
        (produce_request(name("orders"), 0, -1, None), ResponseError::InvalidRecord),
        (produce_request(name("orders"), 0, -1, Some(Bytes::new())), ResponseError::InvalidRecord),
        (produce_request(name("orders"), 0, -1, Some(torn.freeze())), ResponseError::CorruptMessage),
        (
            produce_request(name("orders"), 0, -1, Some(batch(1, 2_000_000).freeze())),
            ResponseError::MessageTooLarge,
        ),
        (produce_request(name("__consumer_offsets"), 0, -1, good()), ResponseError::InvalidTopicException),
    ];
    for (request, expected) in cases {
        let response = client.call(9, &request).await.unwrap();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, expected.code(), "{expected:?}: {:?}", partition.error_message);
        assert!(partition.error_message.is_some());
        assert_eq!(partition.base_offset, -1);
    }
    assert_eq!(produce(&mut client, 0, batch(1, 10)).await.base_offset, 0, "nothing was appended");
    broker.stop().await;
}

#[tokio::test]
async fn acks_0_gets_no_response_and_an_error_closes_the_connection() {
    let (broker, mut client, _directory) = shop().await;
    client.send(&request_frame(9, &produce_request(name("orders"), 0, 0, Some(batch(1, 10).freeze())))).await;
    // The next response is that of the next request.
    assert_eq!(produce(&mut client, 0, batch(1, 10)).await.base_offset, 1);
    client
        .send(&request_frame(9, &produce_request(name("nowhere"), 0, 0, Some(batch(1, 10).freeze()))))
        .await;
    assert_eq!(client.receive().await, None);
    broker.stop().await;
}

#[tokio::test]
async fn producer_ids_begin_at_2_to_the_62_and_no_two_are_the_same() {
    let (broker, mut client, _directory) = shop().await;
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1);
    for expected in 0..3 {
        let response = client.call(4, &request).await.unwrap();
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        assert_eq!(response.producer_id.0, PRODUCER_ID_FIRST + expected);
    }
    let id = TransactionalId(StrBytes::from_static_str("t"));
    let response = client.call(4, &request.with_transactional_id(Some(id))).await.unwrap();
    assert_eq!(response.error_code, ResponseError::TransactionalIdAuthorizationFailed.code());
    broker.stop().await;
}
