use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};
use tokio::time::timeout;
use towpath_wire::batch::views;
use uuid::Uuid;

use super::*;
use crate::server::tests::{PATIENCE, request_frame};

const LONG_WAIT_MS: i32 = 30_000;

fn wanted(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20)
}

fn request(partitions: &[FetchPartition]) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(name("orders")).with_partitions(partitions.to_vec());
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(Vec::from([topic]))
}

fn found(response: &FetchResponse, index: i32) -> &PartitionData {
    let partitions = &response.responses[0].partitions;
    partitions.iter().find(|partition| partition.partition_index == index).unwrap()
}

/// Base offset and size of each batch.
fn batches(partition: &PartitionData) -> Vec<(i64, usize)> {
    let records = partition.records.as_ref().unwrap();
    views(records)
        .map(|batch| batch.unwrap())
        .map(|batch| (batch.base_offset(), batch.size_bytes()))
        .collect()
}

#[tokio::test]
async fn every_version_reads_what_was_produced() {
    let (broker, mut client, _directory) = shop().await;
    let size = batch(3, 10).len();
    for _ in 0..2 {
        produce(&mut client, 1, batch(3, 10)).await;
    }
    let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await.unwrap();
    let topic_id = metadata.topics[0].topic_id;
    assert_ne!(topic_id, Uuid::nil());
    for version in 4..=17 {
        let mut request = request(&[wanted(1, 0)]);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = topic_id;
        }
        let response = client.call(version, &request).await.unwrap();
        let partition = found(&response, 1);
        assert_eq!(batches(partition), [(0, size), (3, size)], "v{version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (6, 6));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_fetch_at_the_end_waits_and_is_woken_by_an_append() {
    let (broker, mut client, _directory) = shop().await;
    let mut producer = RawClient::connect(&broker).await;
    client
        .send(&request_frame(11, &request(&[wanted(0, 0), wanted(1, 0)]).with_max_wait_ms(LONG_WAIT_MS)))
        .await;
    produce(&mut producer, 1, batch(1, 10)).await;
    assert!(client.receive().await.is_some());
    broker.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_until_min_bytes_are_there() {
    let (broker, mut client, _directory) = shop().await;
    let mut producer = RawClient::connect(&broker).await;
    let size = batch(1, 100).len();
    let waiting = request(&[wanted(0, 0)]).with_max_wait_ms(LONG_WAIT_MS).with_min_bytes(3 * size as i32);
    let answered = client.call(11, &waiting);
    let produced = async {
        for _ in 0..3 {
            produce(&mut producer, 0, batch(1, 100)).await;
        }
    };
    let (answered, ()) = timeout(PATIENCE, async { tokio::join!(answered, produced) }).await.unwrap();
    assert_eq!(batches(found(&answered.unwrap(), 0)), [(0, size), (1, size), (2, size)]);
    // And answers with less once the wait is over.
    let short = request(&[wanted(0, 0)]).with_max_wait_ms(1).with_min_bytes(1 << 20);
    assert_eq!(batches(found(&client.call(11, &short).await.unwrap(), 0)).len(), 3);
    broker.stop().await;
}

#[tokio::test]
async fn stopping_answers_a_fetch_that_waits() {
    let (broker, mut client, _directory) = shop().await;
    client.send(&request_frame(11, &request(&[wanted(0, 0)]).with_max_wait_ms(LONG_WAIT_MS))).await;
    // Taken for sure: its bytes are in flight.
    let taken = || broker.shared.metrics.request_bytes_inflight.get() > 0;
    timeout(PATIENCE, async {
        while !taken() {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    timeout(PATIENCE, broker.stop()).await.unwrap();
    assert!(client.receive().await.is_some());
}

#[tokio::test]
async fn the_first_batch_comes_however_large_and_limits_hold_for_the_rest() {
    let (broker, mut client, _directory) = shop().await;
    let size = batch(1, 1_000).len();
    for index in [0, 0, 0, 1] {
        produce(&mut client, index, batch(1, 1_000)).await;
    }
    let tiny = request(&[wanted(0, 0).with_partition_max_bytes(1), wanted(1, 0)]).with_max_bytes(1);
    let response = client.call(11, &tiny).await.unwrap();
    assert_eq!((batches(found(&response, 0)), batches(found(&response, 1))), ([(0, size)].into(), [].into()));
    let two = request(&[wanted(0, 0).with_partition_max_bytes(2 * size as i32 + 10), wanted(1, 0)]);
    let response = client.call(11, &two).await.unwrap();
    assert_eq!((batches(found(&response, 0)).len(), batches(found(&response, 1)).len()), (2, 1));
    broker.stop().await;
}

#[tokio::test]
async fn a_fetch_takes_no_more_than_the_budget_has_left_and_gives_it_back() {
    let limits = Limits { inflight_fetch_bytes_max: 150_000, ..Limits::default() };
    let (broker, _directory) = broker(limits).await;
    let mut client = RawClient::connect(&broker).await;
    create(&mut client, "orders", 1).await;
    for _ in 0..10 {
        produce(&mut client, 0, batch(1, 40_000)).await;
    }
    let mut offset = 0;
    while offset < 10 {
        let response = client.call(11, &request(&[wanted(0, offset)])).await.unwrap();
        let read = batches(found(&response, 0)).len();
        assert!((1..=3).contains(&read), "{read} batches at {offset}");
        offset += read as i64;
    }
    let held = &broker.shared.metrics.fetch_bytes_inflight;
    timeout(PATIENCE, async {
        while held.get() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn a_wrong_offset_epoch_or_partition_is_told_at_once() {
    let (broker, mut client, _directory) = shop().await;
    produce(&mut client, 0, batch(2, 10)).await;
    let cases = [
        (wanted(0, 3), ResponseError::OffsetOutOfRange),
        (wanted(0, -1), ResponseError::OffsetOutOfRange),
        (wanted(7, 0), ResponseError::UnknownTopicOrPartition),
        (wanted(0, 0).with_current_leader_epoch(1), ResponseError::UnknownLeaderEpoch),
    ];
    for (wanted, expected) in cases {
        let index = wanted.partition;
        let waiting = request(&[wanted]).with_max_wait_ms(LONG_WAIT_MS);
        let response = timeout(PATIENCE, client.call(11, &waiting)).await.unwrap().unwrap();
        assert_eq!(found(&response, index).error_code, expected.code(), "{expected:?}");
    }
    // At the very end there is nothing yet, and no error.
    assert_eq!(found(&client.call(11, &request(&[wanted(0, 2)])).await.unwrap(), 0).error_code, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_session_tells_only_what_is_new() {
    let (broker, mut client, _directory) = shop().await;
    produce(&mut client, 0, batch(1, 10)).await;
    let opening = request(&[wanted(0, 0), wanted(1, 0)]).with_session_epoch(0);
    let opened = client.call(11, &opening).await.unwrap();
    assert_ne!(opened.session_id, 0);
    let mut next = request(&[wanted(0, 1)]).with_session_id(opened.session_id).with_session_epoch(1);
    assert!(client.call(11, &next).await.unwrap().responses.is_empty());
    // Any connection may go on with it.
    let mut other = RawClient::connect(&broker).await;
    produce(&mut other, 1, batch(1, 10)).await;
    next = next.with_session_epoch(2).with_topics(Vec::new());
    let response = other.call(11, &next).await.unwrap();
    assert_eq!((response.responses[0].partitions.len(), batches(found(&response, 1)).len()), (1, 1));
    let stale = client.call(11, &next).await.unwrap();
    assert_eq!(stale.error_code, ResponseError::InvalidFetchSessionEpoch.code());
    broker.stop().await;
}

#[tokio::test]
async fn offsets_are_found_by_place_and_by_time() {
    let (broker, mut client, _directory) = shop().await;
    for _ in 0..2 {
        produce(&mut client, 0, batch(3, 10)).await;
    }
    let cases = [(-2, 0), (-1, 6), (-3, 2), (NOW_MS + 1, 1), (NOW_MS + 3, -1), (0, 0)];
    for (timestamp, expected) in cases {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic =
            ListOffsetsTopic::default().with_name(name("orders")).with_partitions(Vec::from([partition]));
        let request = ListOffsetsRequest::default().with_topics(Vec::from([topic]));
        let response = client.call(7, &request).await.unwrap();
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.offset), (0, expected), "{timestamp}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_epoch_that_goes_on_ends_at_the_logs_end() {
    use kafka_protocol::messages::offset_for_leader_epoch_request::{
        OffsetForLeaderPartition, OffsetForLeaderTopic,
    };
    let (broker, mut client, _directory) = shop().await;
    produce(&mut client, 0, batch(3, 10)).await;
    let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
    let topic =
        OffsetForLeaderTopic::default().with_topic(name("orders")).with_partitions(Vec::from([partition]));
    let request = OffsetForLeaderEpochRequest::default().with_topics(Vec::from([topic]));
    let response = client.call(4, &request).await.unwrap();
    let end = &response.topics[0].partitions[0];
    assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, 0, 3));
    broker.stop().await;
}
