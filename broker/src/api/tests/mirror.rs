use bytes::{Buf, BufMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest};
use towpath_wire::batch::{patch_base_offset, views};
use towpath_wire::private::{
    MIRROR_APPEND, MirrorAppendPartition, MirrorAppendRequest, MirrorAppendResponse, MirrorAppendTopic, code,
};
use uuid::Uuid;

use super::*;
use crate::metadata::config::{MIRROR_LINK, MIRROR_SOURCE_CLUSTER_ID, MIRROR_SOURCE_TOPIC_ID};

const SOURCE_TOPIC: Uuid = Uuid::from_u128(9);

fn append(base_offset: i64, records: i64) -> MirrorAppendRequest {
    let mut batch = batch(records, 10);
    patch_base_offset(&mut batch, base_offset);
    let partition = MirrorAppendPartition {
        index: 0,
        from_offset: base_offset,
        source_leader_epoch: 3,
        source_log_start: 0,
        source_high_watermark: base_offset + records,
        log_end: -1,
        records: batch.freeze(),
    };
    let topic = MirrorAppendTopic {
        name: "views".to_owned(),
        source_topic_id: SOURCE_TOPIC,
        partitions: [partition].into(),
    };
    MirrorAppendRequest {
        link: "link".to_owned(),
        source_cluster_id: "source".to_owned(),
        timeout_ms: 10_000,
        topics: [topic].into(),
    }
}

fn frame(request: &MirrorAppendRequest) -> BytesMut {
    let mut frame = BytesMut::new();
    let body: Vec<u8> = request.encode().concat();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(MIRROR_APPEND);
    frame.put_i16(0);
    frame.put_i32(7);
    frame.put_i16(-1);
    frame.put_slice(&body);
    frame
}

async fn answer(client: &mut RawClient) -> (i16, i64) {
    let mut answer = client.receive().await.unwrap();
    assert_eq!(answer.get_i32(), 7);
    let response = MirrorAppendResponse::decode(answer).unwrap();
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.log_end)
}

async fn mirror(client: &mut RawClient) {
    let configs = [
        (MIRROR_LINK, "link".to_owned()),
        (MIRROR_SOURCE_CLUSTER_ID, "source".to_owned()),
        (MIRROR_SOURCE_TOPIC_ID, SOURCE_TOPIC.to_string()),
    ];
    let configs = configs.map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_string(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(name("views"))
        .with_num_partitions(1)
        .with_replication_factor(-1)
        .with_configs(configs.into());
    let request = CreateTopicsRequest::default().with_topics([topic].into());
    assert_eq!(client.call(7, &request).await.unwrap().topics[0].error_code, 0);
}

#[tokio::test]
async fn mirrored_batches_sent_without_waiting_keep_their_order_and_their_offsets() {
    let (broker, mut client, _directory) = shop().await;
    mirror(&mut client).await;
    let offsets: Vec<i64> = (0..100).map(|number| number * 4).collect();
    for offset in &offsets {
        client.send(&frame(&append(*offset, 4))).await;
    }
    for offset in &offsets {
        assert_eq!(answer(&mut client).await, (0, offset + 4));
    }
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default()
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(3)
        .with_fetch_offset(0);
    let topic = FetchTopic::default().with_topic(name("views")).with_partitions([partition].into());
    let request =
        FetchRequest::default().with_max_bytes(1 << 20).with_topics([topic].into()).with_session_epoch(-1);
    let response = client.call(11, &request).await.unwrap();
    let records = response.responses[0].partitions[0].records.clone().unwrap();
    let read: Vec<i64> = views(&records).map(|batch| batch.unwrap().base_offset()).collect();
    assert_eq!(read, offsets);
    broker.stop().await;
}

#[tokio::test]
async fn nobody_but_the_link_appends_to_a_mirror_and_a_link_to_nothing_else() {
    let (broker, mut client, _directory) = shop().await;
    mirror(&mut client).await;
    let request = produce_request(name("views"), 0, -1, Some(batch(1, 10).freeze()));
    let response = client.call(9, &request).await.unwrap();
    let error = response.responses[0].partition_responses[0].error_code;
    assert_eq!(error, ResponseError::PolicyViolation.code());
    let mut elsewhere = append(0, 1);
    elsewhere.topics[0].name = "orders".to_owned();
    client.send(&frame(&elsewhere)).await;
    assert_eq!(answer(&mut client).await.0, code::NOT_MIRROR_TOPIC);
    let mut stranger = append(0, 1);
    stranger.link = "other".to_owned();
    client.send(&frame(&stranger)).await;
    assert_eq!(answer(&mut client).await.0, code::NOT_MIRROR_TOPIC);
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name("views")).with_partitions([partition].into());
    let response = client.call(5, &ListOffsetsRequest::default().with_topics([topic].into())).await.unwrap();
    assert_eq!(response.topics[0].partitions[0].offset, 0);
    broker.stop().await;
}
