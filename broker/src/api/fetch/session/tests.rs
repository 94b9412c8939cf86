use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::protocol::StrBytes;
use prometheus::Registry;

use super::*;
use crate::config::Limits;

const VERSION: i16 = 12;
/// Never the same id twice, so that an id tells one session.
static RANDOM: AtomicU64 = AtomicU64::new(77);
const START: Duration = Duration::from_secs(1);

fn sessions(sessions_max: usize, partitions_max: usize) -> FetchSessions {
    let metrics = ServerMetrics::new(&Registry::new(), &Limits::default()).unwrap();
    FetchSessions::new(sessions_max, partitions_max, metrics)
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn request(session_id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| FetchPartition::default().with_partition(*index).with_fetch_offset(*offset));
    let topic = FetchTopic::default().with_topic(topic()).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(Vec::from([topic]))
}

fn found(index: i32, high_watermark: i64, data: bool) -> Found {
    Found {
        topic: TopicKey::Name(Arc::from("orders")),
        index,
        error_code: 0,
        high_watermark,
        last_stable: high_watermark,
        log_start: 0,
        batches: if data { Vec::from([Bytes::from_static(b"batch")]) } else { Vec::new() },
        aborted: None,
        diverging: None,
    }
}

fn open(sessions: &FetchSessions, partitions: &[(i32, i64)], now: Duration) -> i32 {
    let begun = sessions.begin(&request(0, 0, partitions), VERSION, now).unwrap();
    let all = partitions.iter().map(|(index, _)| found(*index, 10, false)).collect();
    let (id, shown) = sessions.finish(begun, all, RANDOM.fetch_add(1, Ordering::Relaxed), now);
    assert_eq!(shown.len(), partitions.len());
    id
}

fn wanted(begun: &Begun) -> Vec<(i32, i64)> {
    begun.wanted().iter().map(|wanted| (wanted.index, wanted.offset)).collect()
}

#[test]
fn a_session_remembers_what_is_wanted_and_shows_only_what_is_new() {
    let sessions = sessions(10, 100);
    let id = open(&sessions, &[(0, 5), (1, 5), (2, 5)], START);
    assert_ne!(id, 0);
    let mut second = request(id, 1, &[(1, 9)]);
    second.forgotten_topics_data =
        Vec::from([ForgottenTopic::default().with_topic(topic()).with_partitions(Vec::from([2]))]);
    let begun = sessions.begin(&second, VERSION, START).unwrap();
    assert_eq!(wanted(&begun), [(0, 5), (1, 9)]);
    let (_, shown) = sessions.finish(begun, Vec::from([found(0, 10, false), found(1, 11, false)]), 0, START);
    assert_eq!(shown.iter().map(|found| found.index).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_partition_with_data_goes_to_the_end_of_the_line() {
    let sessions = sessions(10, 100);
    let id = open(&sessions, &[(0, 0), (1, 0), (2, 0)], START);
    let begun = sessions.begin(&request(id, 1, &[]), VERSION, START).unwrap();
    let all = Vec::from([found(0, 10, true), found(1, 10, false), found(2, 10, false)]);
    assert_eq!(sessions.finish(begun, all, 0, START).1.len(), 1);
    let begun = sessions.begin(&request(id, 2, &[]), VERSION, START).unwrap();
    assert_eq!(wanted(&begun), [(1, 0), (2, 0), (0, 0)]);
}

#[test]
fn an_error_is_shown_each_time_and_the_bounds_again_after_it() {
    let sessions = sessions(10, 100);
    let id = open(&sessions, &[(0, 0)], START);
    let failing = || Found { error_code: 3, high_watermark: -1, log_start: -1, ..found(0, -1, false) };
    for (epoch, answer, shown) in
        [(1, failing(), 1), (2, failing(), 1), (3, found(0, 10, false), 1), (4, found(0, 10, false), 0)]
    {
        let begun = sessions.begin(&request(id, epoch, &[]), VERSION, START).unwrap();
        assert_eq!(sessions.finish(begun, Vec::from([answer]), 0, START).1.len(), shown, "epoch {epoch}");
    }
}

#[test]
fn wrong_ids_epochs_and_kinds_are_told_apart() {
    let sessions = sessions(10, 100);
    let id = open(&sessions, &[(0, 0)], START);
    let error = |request: &FetchRequest, version| sessions.begin(request, version, START).err();
    assert_eq!(error(&request(id + 1, 1, &[]), VERSION), Some(ResponseError::FetchSessionIdNotFound));
    assert_eq!(error(&request(id, 2, &[]), VERSION), Some(ResponseError::InvalidFetchSessionEpoch));
    assert_eq!(error(&request(id, 1, &[]), 13), Some(ResponseError::FetchSessionTopicIdError));
    assert_eq!(error(&request(id, 1, &[]), VERSION), None);
}

#[test]
fn the_final_epoch_closes_the_session_and_fetches_without_one() {
    let sessions = sessions(10, 100);
    let id = open(&sessions, &[(0, 0)], START);
    let begun = sessions.begin(&request(id, -1, &[(0, 3)]), VERSION, START).unwrap();
    assert!(matches!(begun, Begun::Full(_)));
    assert_eq!(sessions.finish(begun, Vec::new(), 0, START).0, 0);
    assert_eq!(sessions.metrics.fetch_sessions.get(), 0);
    assert_eq!(sessions.metrics.fetch_session_partitions.get(), 0);
}

#[test]
fn over_the_bound_an_idle_or_smaller_session_makes_room_and_otherwise_there_is_none() {
    let sessions = sessions(2, 4);
    let one = open(&sessions, &[(0, 0)], START);
    let two = open(&sessions, &[(0, 0), (1, 0)], START);
    // No larger than the smallest: fetched without a session.
    assert_eq!(open(&sessions, &[(0, 0)], START), 0);
    let three = open(&sessions, &[(0, 0), (1, 0)], START);
    assert!(sessions.begin(&request(one, 1, &[]), VERSION, START).is_err());
    let late = START + EVICTABLE_AFTER + Duration::from_secs(1);
    assert!(sessions.begin(&request(two, 1, &[]), VERSION, late).is_ok());
    assert_ne!(open(&sessions, &[(0, 0)], late), 0);
    assert!(sessions.begin(&request(three, 1, &[]), VERSION, late).is_err());
    assert_eq!(sessions.metrics.fetch_sessions_evicted.get(), 2);
    assert_eq!(sessions.metrics.fetch_session_partitions.get(), 3);
    // More partitions than all sessions may have.
    assert_eq!(open(&sessions, &[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)], late), 0);
}
