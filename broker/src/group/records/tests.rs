use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;

fn member(id: &str) -> MemberRecord {
    MemberRecord {
        member_id: id.to_owned(),
        instance_id: Some("i".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(b"sub"),
        assignment: Bytes::from_static(b"part"),
    }
}

fn read(record: &Record) -> Entry {
    Record::decode(&record.key, record.value.as_ref()).unwrap().unwrap()
}

#[test]
fn an_offset_is_laid_out_as_kafka_lays_it_out() {
    let value =
        OffsetRecord { offset: 5, leader_epoch: -1, metadata: "m".to_owned(), commit_ms: 7, expire_ms: None };
    let record = Record::offset("g", "t", 3, Some(&value));
    assert_eq!(&record.key[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
    let expected = b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\x01m\0\0\0\0\0\0\0\x07";
    assert_eq!(&record.value.clone().unwrap()[..], expected);
    let key = Key::Offset { group: "g".to_owned(), topic: "t".to_owned(), partition: 3 };
    assert_eq!(read(&record), Entry::Offset(key, Some(value)));
}

#[test]
fn a_commit_with_its_own_expiry_keeps_it() {
    let value = OffsetRecord {
        offset: 5,
        leader_epoch: -1,
        metadata: String::new(),
        commit_ms: 7,
        expire_ms: Some(9),
    };
    let record = Record::offset("g", "t", 0, Some(&value));
    assert_eq!(&record.value.as_ref().unwrap()[..2], b"\0\x01");
    assert!(matches!(read(&record), Entry::Offset(_, Some(read)) if read == value));
}

#[test]
fn a_flexible_offset_of_a_newer_kafka_is_read() {
    let mut value = BytesMut::new();
    value.put_i16(4);
    value.put_i64(42);
    value.put_i32(6);
    value.put_slice(b"\x03ab");
    value.put_i64(1_000);
    value.put_slice(b"\x01\x00\x10"); // one tagged field: tag 0, 16 bytes of topic id
    value.put_slice(&[7; 16]);
    let key = Record::offset("g", "t", 0, None).key;
    let Some(Entry::Offset(_, Some(read))) = Record::decode(&key, Some(&value.freeze())).unwrap() else {
        panic!("an offset")
    };
    assert_eq!((read.offset, read.leader_epoch, read.metadata.as_str()), (42, 6, "ab"));
}

#[test]
fn a_group_value_of_version_0_takes_its_rebalance_timeout_from_the_session() {
    let mut value = BytesMut::new();
    value.put_slice(b"\0\0\0\x08consumer\0\0\0\x02\0\x05range\0\x01m\0\0\0\x01");
    value.put_slice(b"\0\x01m\0\x01c\0\x01h\0\0\x27\x10\0\0\0\x01s\0\0\0\x01a");
    let key = Record::group("g", None).key;
    let Some(Entry::Group(_, Some(group))) = Record::decode(&key, Some(&value.freeze())).unwrap() else {
        panic!("a group")
    };
    assert_eq!((group.generation, group.state_since_ms), (2, -1));
    assert_eq!(group.members[0].rebalance_timeout_ms, 10_000);
    assert_eq!(group.members[0].instance_id, None);
}

#[test]
fn a_key_version_of_a_later_kafka_is_skipped() {
    assert_eq!(Record::decode(&Bytes::from_static(b"\0\x05\0\x01g"), None), Ok(None));
}

#[test]
fn a_value_version_from_the_future_is_an_error_not_a_guess() {
    let key = Record::group("g", None).key;
    let read = Record::decode(&key, Some(&Bytes::from_static(b"\0\x63")));
    assert_eq!(read, Err(RecordError::Version(99)));
}

#[test]
fn groups_and_routes_survive_a_round_trip_and_their_removal() {
    let group = GroupRecord {
        protocol_type: "consumer".to_owned(),
        generation: 7,
        protocol: Some("range".to_owned()),
        leader: Some("a".to_owned()),
        state_since_ms: 5,
        members: vec![member("a"), member("b")],
    };
    assert_eq!(read(&Record::group("g", Some(&group))), Entry::Group("g".to_owned(), Some(group)));
    for route in [Route::Source, Route::Draining, Route::Target] {
        let value = RouteRecord { link: "l".to_owned(), route, attempt: u64::MAX, since_ms: 5 };
        assert_eq!(read(&Record::route("g", Some(&value))), Entry::Route("g".to_owned(), Some(value)));
    }
    assert_eq!(read(&Record::route("g", None)), Entry::Route("g".to_owned(), None));
    assert_eq!(read(&Record::group("g", None)), Entry::Group("g".to_owned(), None));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_take_memory(
        version in 0i16..6,
        kind in 0usize..3,
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let key = [
            Record::offset("g", "t", 1, None).key,
            Record::group("g", None).key,
            Record::route("g", None).key,
        ][kind].clone();
        let mut value = BytesMut::new();
        value.put_i16(version);
        value.put_slice(&rest);
        let _ = Record::decode(&key, Some(&value.clone().freeze()));
        let _ = Record::decode(&value.freeze(), None);
    }
}
