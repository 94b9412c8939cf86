use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn joined(parts: Vec<Bytes>) -> Bytes {
    parts
        .into_iter()
        .fold(BytesMut::new(), |mut all, part| {
            all.extend_from_slice(&part);
            all
        })
        .freeze()
}

fn request() -> MirrorAppendRequest {
    let partition = |index, records: &'static [u8]| MirrorAppendPartition {
        index,
        source_leader_epoch: 4,
        from_offset: 15,
        source_log_start: 10,
        source_high_watermark: 20,
        log_end: -1,
        records: Bytes::from_static(records),
    };
    MirrorAppendRequest {
        link: "carts".into(),
        source_cluster_id: "Xyz".into(),
        timeout_ms: 30_000,
        topics: vec![MirrorAppendTopic {
            name: "cart-events".into(),
            source_topic_id: Uuid::from_u128(7),
            partitions: vec![partition(0, b"batches"), partition(1, b""), partition(2, b"more")],
        }],
    }
}

fn response() -> MirrorAppendResponse {
    let partition = |index, error_message| MirrorAppendPartitionResponse {
        index,
        error_code: code::MIRROR_MISMATCH,
        error_message,
        log_start: 1,
        log_end: 2,
        high_watermark: 3,
    };
    MirrorAppendResponse {
        throttle_time_ms: 5,
        topics: vec![MirrorAppendTopicResponse {
            name: "cart-events".into(),
            partitions: vec![partition(0, None), partition(1, Some("halted".into()))],
        }],
    }
}

#[test]
fn mirror_appends_round_trip_without_copying_records() {
    let request = request();
    let parts = request.encode();
    let records = &request.topics[0].partitions[0].records;
    assert!(parts.iter().any(|part| part.as_ptr() == records.as_ptr()), "records are shared");
    let body = joined(parts);
    let decoded = MirrorAppendRequest::decode(body.clone()).unwrap();
    assert_eq!(decoded, request);
    let slice = &decoded.topics[0].partitions[0].records;
    assert!(body.as_ptr_range().contains(&slice.as_ptr()), "and sliced on the way in");
}

#[test]
fn mirror_append_answers_round_trip() {
    let response = response();
    assert_eq!(MirrorAppendResponse::decode(joined(response.encode())).unwrap(), response);
}

#[test]
fn every_cut_of_a_private_message_is_an_error() {
    let request = joined(request().encode());
    let response = joined(response().encode());
    for end in 0..request.len() {
        assert!(MirrorAppendRequest::decode(request.slice(..end)).is_err());
    }
    for end in 0..response.len() {
        assert!(MirrorAppendResponse::decode(response.slice(..end)).is_err());
    }
    let longer = joined(vec![request, Bytes::from_static(b"!")]);
    assert!(MirrorAppendRequest::decode(longer).is_err());
}

#[test]
fn group_operations_round_trip() {
    let offsets = vec![GroupOffset {
        topic: "t".into(),
        partition: 3,
        offset: 9,
        leader_epoch: -1,
        metadata: Some("m".into()),
    }];
    let ops = [
        GroupOp::Declare,
        GroupOp::Sync { offsets: offsets.clone() },
        GroupOp::Route { attempt: 2, from: Route::Source, to: Route::Target, offsets },
        GroupOp::Forget,
        GroupOp::Describe,
    ];
    for op in ops {
        let request = LinkGroupRequest { link: "l".into(), group: "g".into(), op };
        assert_eq!(LinkGroupRequest::decode(&request.encode()).unwrap(), request);
    }
    let state = LinkGroupState { group: "g".into(), route: Some(Route::Draining), ..Default::default() };
    let error = Some(LinkGroupError { code: code::ROUTE_CONFLICT, message: "no".into() });
    let response = LinkGroupResponse { error, state: Some(state) };
    assert_eq!(LinkGroupResponse::decode(&response.encode()).unwrap(), response);
}

#[test]
fn group_documents_may_grow_fields() {
    let json = br#"{"link":"l","group":"g","later":1,"op":{"kind":"route","attempt":1,"from":"source",
        "to":"draining","offsets":[{"topic":"t","partition":0,"offset":5,"new":true}]}}"#;
    let mut body = (json.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(json);
    let request = LinkGroupRequest::decode(&body).unwrap();
    let GroupOp::Route { offsets, to: Route::Draining, .. } = request.op else { panic!("{request:?}") };
    assert_eq!((offsets[0].leader_epoch, &offsets[0].metadata), (-1, &None));
    body.pop();
    assert!(LinkGroupRequest::decode(&body).is_err());
}

proptest! {
    #[test]
    fn random_private_messages_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = LinkGroupRequest::decode(&body);
        let _ = LinkGroupResponse::decode(&body);
        let _ = MirrorAppendRequest::decode(Bytes::from(body.clone()));
        let _ = MirrorAppendResponse::decode(Bytes::from(body));
    }

    #[test]
    fn mutated_mirror_appends_never_panic(at: prop::sample::Index, value: u8) {
        let mut body = joined(request().encode()).to_vec();
        let at = at.index(body.len());
        body[at] = value;
        let _ = MirrorAppendRequest::decode(Bytes::from(body));
    }
}
