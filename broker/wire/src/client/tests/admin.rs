//! Admin verbs: one request per broker, an outcome for each item.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::*;
use parking_lot::Mutex;

use super::mock::{Call, Mock, Reply, answer, metadata};
use crate::client::TopicPartition;
use crate::client::admin::{OffsetSpec, list_offsets, offset_fetch_all};

/// Answers each partition with its index as the offset; `code` may fail some.
fn offsets(call: &Call, code: impl Fn(i32) -> i16) -> Reply {
    let request = call.read::<ListOffsetsRequest>();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_offset(i64::from(index))
                .with_error_code(code(index))
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    answer::<ListOffsetsRequest>(call.version, &ListOffsetsResponse::default().with_topics(topics.collect()))
}

#[tokio::test]
async fn many_partitions_take_one_request_per_broker_and_only_what_failed_is_repeated() {
    let second_calls = AtomicUsize::new(0);
    let second = Mock::start(move |call: &Call| {
        (call.api == ApiKey::ListOffsets).then(|| {
            let first = second_calls.fetch_add(1, Ordering::Relaxed) == 0;
            offsets(call, |index| if first && index == 3 { 6 } else { 0 })
        })
    })
    .await;
    let addresses = Arc::new(Mutex::new(Vec::<String>::new()));
    let known = addresses.clone();
    let first = Mock::start(move |call: &Call| match call.api {
        ApiKey::Metadata => {
            let known = known.lock();
            Some(answer::<MetadataRequest>(call.version, &metadata(&[(1, &known[0]), (2, &known[1])])))
        }
        ApiKey::ListOffsets => Some(offsets(call, |index| if index == 2 { 29 } else { 0 })),
        _ => None,
    })
    .await;
    addresses.lock().extend([first.address.clone(), second.address.clone()]);

    let client = first.client().await;
    let partitions: Vec<_> = (0..4).map(|index| TopicPartition::new("t", index)).collect();
    let found = list_offsets(&client, &partitions, OffsetSpec::Latest).await.unwrap();
    let found: BTreeMap<i32, _> = found.into_iter().map(|(id, outcome)| (id.partition, outcome)).collect();
    for index in [0, 1, 3] {
        assert_eq!(found[&index].as_ref().unwrap().offset, i64::from(index));
    }
    let error = found[&2].as_ref().unwrap_err();
    assert_eq!(error.code(), Some(ResponseError::TopicAuthorizationFailed));
    assert!(error.to_string().contains("t-2") && error.fix().is_some(), "{error}");

    assert_eq!(first.count(ApiKey::ListOffsets), 1);
    let repeated = second.calls(ApiKey::ListOffsets);
    assert_eq!(repeated.len(), 2);
    let again = repeated[1].read::<ListOffsetsRequest>();
    assert_eq!((again.topics.len(), again.topics[0].partitions.len()), (1, 1));
    assert_eq!(again.topics[0].partitions[0].partition_index, 3);
}

#[tokio::test]
async fn a_pending_transactional_commit_is_waited_out() {
    let calls = AtomicUsize::new(0);
    let mock = Mock::start(move |call: &Call| {
        (call.api == ApiKey::OffsetFetch).then(|| {
            let unstable = calls.fetch_add(1, Ordering::Relaxed) == 0;
            // The other partition is fine both times: what is unstable leaves nothing to use.
            let partitions = [(0, 5, 0), (1, 7, if unstable { 88 } else { 0 }), (2, -1, 0)];
            let partitions = partitions.map(|(index, offset, code)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_error_code(code)
            });
            let topic = OffsetFetchResponseTopic::default()
                .with_name(TopicName("t".to_owned().into()))
                .with_partitions(partitions.to_vec());
            let response = OffsetFetchResponse::default().with_topics(vec![topic]);
            answer::<OffsetFetchRequest>(call.version, &response)
        })
    })
    .await;
    let offsets = offset_fetch_all(&mock.client().await, "g", true).await.unwrap();
    let offsets: Vec<_> = offsets.iter().map(|(id, offset)| (id.partition, offset.offset)).collect();
    assert_eq!(offsets, [(0, 5), (1, 7)]);
    let calls = mock.calls(ApiKey::OffsetFetch);
    assert_eq!(calls.len(), 2);
    assert!(calls[0].version == 7 && calls[0].read::<OffsetFetchRequest>().require_stable);
}
