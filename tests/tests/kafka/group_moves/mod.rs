//! Live groups moved between a real Apache Kafka and Towpath's broker, and back.

mod fences;
mod turns;
mod way_back;

use crate::estate::{EVICT, Estate, Group, request};
use serde_json::Value;
use towpath_linker::operation::exit;
use towpath_plans::transition::{GroupState, LinkState, Verb};
use towpath_tests::kafka::KafkaOptions;

async fn a_live_group_is_evicted_moved_and_rolled_back(version: &str, settings: &'static [(&str, &str)]) {
    let estate = Estate::start(version).await;
    let mut writer = estate.write_on();
    let mut group = Group::start_with(&estate.legacy(), 3, settings);
    group.wait_for_commits(3).await;
    estate.link().await;
    let early = Group::start(&estate.towpath(), 3);
    estate.wait_for_gates(Verb::Cutover).await;
    assert_eq!(early.delivered(), 0, "members that come early are held without a record");

    let moved = estate.run(Verb::Cutover).await;
    assert_eq!(moved["result"], "moved", "{moved:#}");
    assert_eq!(moved["alarms"], Value::Array(Vec::new()), "{moved:#}");
    assert_eq!(moved["evicted"].as_array().unwrap().len(), 3, "{moved:#}");
    assert!(moved["pause_ms"].as_u64() <= moved["pause_delivered_ms"].as_u64(), "{moved:#}");
    early.wait_for_commits(3).await;
    group.stop();
    // What the source's members had committed is not delivered again, what they had not is.
    for at in moved["positions"].as_array().unwrap() {
        let partition = at["partition"].as_i64().unwrap() as i32;
        assert_eq!(Some(at["source_offset"].as_i64().unwrap()), group.committed(partition), "{at}");
        assert_eq!(early.first_delivered(partition), at["target_offset"].as_i64(), "{at}");
    }

    estate.wait_for_gates(Verb::Rollback).await;
    let back = estate.run(Verb::Rollback).await;
    assert_eq!(back["result"], "moved", "{back:#}");
    assert!(back["pause_ms"].is_u64(), "{back:#}");
    let mut late = early;
    late.stop();
    let mut returned = Group::start(&estate.legacy(), 3);
    returned.wait_for_commits(3).await;
    for at in back["positions"].as_array().unwrap() {
        let partition = at["partition"].as_i64().unwrap() as i32;
        assert_eq!(at["target_offset"].as_i64(), late.committed(partition), "{at}");
        assert_eq!(returned.first_delivered(partition), at["source_offset"].as_i64(), "{at}");
    }
    let ends = writer.stop();
    returned.wait_until_committed(&ends).await;
    returned.stop();
    let all: Vec<_> = [&group, &late, &returned].iter().flat_map(|group| group.offsets()).collect();
    for (partition, end) in ends {
        for offset in 0..end {
            assert!(all.contains(&(partition, offset)), "{partition} at {offset} was never delivered");
        }
    }
    assert_eq!(estate.record().state, GroupState::OnSource);
    let lines = estate.evidence().await;
    for word in ["fenced", "final_offsets", "pause_measured", "resumed", "fence_released"] {
        assert!(lines.contains(word), "evidence says nothing of {word}");
    }
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_group_is_evicted_moved_and_rolled_back_on_kafka_3_9() {
    a_live_group_is_evicted_moved_and_rolled_back("3.9.1", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_group_is_evicted_moved_and_rolled_back_on_kafka_4_1() {
    a_live_group_is_evicted_moved_and_rolled_back("4.1.1", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_group_of_kip_848_is_evicted_moved_and_rolled_back() {
    a_live_group_is_evicted_moved_and_rolled_back("4.1.1", &[("group.protocol", "consumer")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pause_that_would_become_too_long_undoes_the_move_and_the_group_goes_on() {
    let kafka = KafkaOptions::new("3.9.1");
    let (estate, mut writer, mut group) =
        Estate::with_live_group(kafka, "fence: evict, pause_max: 1ms").await;
    let early = Group::start(&estate.towpath(), 1);
    estate.wait_for_gates(Verb::Cutover).await;
    let ending = estate.execute(Verb::Cutover, request()).await;
    assert_eq!(ending.exit_code, exit::FAILED, "{ending:?}");
    assert!(ending.problem.unwrap().contains("pause_max"));
    let record = estate.record();
    assert_eq!((record.state, record.fence), (GroupState::OnSource, None));
    // The evicted member comes back by itself: the fence did not stand long enough to stop it.
    group.wait_for_commits(1).await;
    assert_eq!(early.delivered(), 0);
    group.stop();
    writer.stop();
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_without_successors_is_not_moved_and_nothing_changes() {
    let kafka = KafkaOptions::new("3.9.1");
    let (estate, mut writer, mut group) = Estate::with_live_group(kafka, EVICT).await;
    let ending = estate.refused(Verb::Cutover).await;
    assert_eq!(ending.exit_code, exit::GATE_FAILED, "{ending:?}");
    assert!(ending.problem.unwrap().contains("members-ready"));
    assert_eq!(estate.record().state, GroupState::OnSource);
    group.wait_for_commits(1).await;
    writer.stop();
    group.stop();
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_survives_a_crash_before_it_was_told_and_a_service_that_takes_over() {
    let estate = Estate::start("4.1.1").await;
    estate.close_service().await;
    estate.journal_plan().await;
    estate.open_service().await;
    assert_eq!(estate.link_state(), LinkState::Mirroring);
    let lines = estate.evidence().await;
    for word in ["\"verb\":\"link\"", "plan_adopted", "topic_linked", "\"to\":\"mirroring\""] {
        assert_eq!(lines.matches(word).count(), 1, "{word} in {lines}");
    }

    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 3);
    group.wait_for_commits(3).await;
    estate.supersede_service().await;
    let early = Group::start(&estate.towpath(), 3);
    estate.wait_for_gates(Verb::Cutover).await;
    assert_eq!(estate.run(Verb::Cutover).await["result"], "moved");
    early.wait_for_commits(3).await;
    group.stop();
    writer.stop();
    assert_eq!(estate.evidence().await.matches("plan_adopted").count(), 1);
    estate.stop().await;
}
