//! The fence at the source: whom it keeps out, what a rebalance does to it, how it leaves, and when it lapses.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{GroupId, JoinGroupRequest};
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;
use towpath_linker::groups::fence::{Fence, Membership};
use towpath_linker::operation::exit;
use towpath_plans::transition::{GroupState, Verb};
use towpath_tests::kafka::{Kafka, KafkaOptions, Pool};
use towpath_tests::mirroring::connect;
use towpath_tests::wait;
use towpath_wire::client::admin::{
    CommitAs, CommittedOffset, NewTopic, create_topic, leave_group, offset_commit,
};
use towpath_wire::client::{Client, To, TopicPartition};

use crate::estate::{Estate, GROUP, Group, LIMIT, Moved, TOPIC, WAIT, WAITS, hold, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_straggler_gets_nothing_and_a_lapse_of_the_fence_is_mended_and_told() {
    // The longest session that this source allows is what the fence gets.
    let options = KafkaOptions::new("3.9.1").property("group.max.session.timeout.ms", "7000");
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(options, WAIT).await;
    let mut straggler = Group::start(&estate.legacy(), 1);
    early.wait_for_commits(1).await;
    assert_eq!(straggler.delivered(), 0, "the fence keeps it out");
    assert!(estate.alarms().is_empty(), "{:?}", estate.alarms());

    let synced = estate.source_positions().await;
    estate.close_service().await;
    // The fence's session ends, and whoever is left behind gets the group.
    straggler.stop();
    let mut straggler = Group::start(&estate.legacy(), 1);
    straggler.wait_for_commits(1).await;
    // What the fence member committed: no older record comes again.
    for (partition, offset) in synced {
        assert!(straggler.first_delivered(partition) >= Some(offset));
    }
    estate.open_service().await;
    estate.wait_for_alarm("lapse").await;
    straggler.stop();
    let record = estate.record();
    assert_eq!(record.state, GroupState::OnTarget);
    assert!(estate.evidence().await.contains("fence_lapsed"));
    assert!(estate.alarms().iter().any(|alarm| alarm.contains("and somebody committed there")));
    early.wait_for_commits(1).await;
    early.stop();
    writer.stop();
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fence_that_goes_while_a_rollback_waits_is_set_again_and_told() {
    let kafka = KafkaOptions::new("3.9.1");
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(kafka, WAIT).await;
    estate.wait_for_gates(Verb::Rollback).await;
    let rollback = estate.begin(Verb::Rollback).await;
    told(&rollback, WAITS).await;
    let source = connect(&estate.legacy()).await.unwrap();
    let before = estate.record().fence.unwrap();
    leave_group(&source, GROUP, &[&before.member_id], "a test").await.unwrap();
    let mut straggler = Group::start(&estate.legacy(), 1);
    told(&rollback, "fence lapse: ").await;
    let record = estate.record();
    let now = record.fence.unwrap();
    assert_ne!(now.member_id, before.member_id);
    assert_eq!(record.state, GroupState::Fencing);
    // Whoever had come is out, and stays out.
    let fence = Fence::new(source, Env::real(), GROUP, now.instance_id.clone());
    early.wait_for_commits(1).await;
    let seen = fence.look().await.unwrap();
    assert_eq!((seen.live, seen.fence.map(|fence| fence.member_id)), (Vec::new(), Some(now.member_id)));
    assert_eq!(estate.evidence().await.matches("fence_lapsed").count(), 1);

    straggler.stop();
    early.stop();
    let ended = rollback.ended().await;
    assert_eq!(ended.exit_code, Some(exit::DONE), "{ended:#?}");
    for at in ended.outcome["moves"][0]["positions"].as_array().unwrap() {
        let partition = at["partition"].as_i64().unwrap() as i32;
        assert_eq!(at["target_offset"].as_i64(), early.committed(partition), "{at}");
    }
    let mut returned = Group::start(&estate.legacy(), 1);
    returned.wait_for_commits(1).await;
    returned.stop();
    writer.stop();
    assert_eq!(estate.record().state, GroupState::OnSource);
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebalance_that_leaves_the_fence_in_its_group_is_no_lapse() {
    let kafka = Pool::shared().lease(KafkaOptions::new("4.1.1")).await.unwrap();
    let source = connect(&kafka.bootstrap()).await.unwrap();
    let fence = |instance_id: &str| Fence::new(source.clone(), Env::real(), GROUP, instance_id.into());
    let (own, other) = (fence("towpath-fence-views"), fence("towpath-fence-carts"));
    let held = hold(&own).await;
    // A second member's join is answered when the first has joined again, whose heartbeat tells it to.
    let kept_up = async {
        loop {
            assert_eq!(own.heartbeat(&held).await.unwrap(), Membership::Stands);
        }
    };
    let joined = tokio::select! {
        joined = hold(&other) => joined,
        () = kept_up => unreachable!(),
    };
    assert!(joined.generation > held.generation);
    other.leave(Some(&joined), "a test").await.unwrap();
    assert_eq!(own.heartbeat(&held).await.unwrap(), Membership::Stands);
    // After a restart the journal's generation is all that is known.
    let restarted = fence("towpath-fence-views");
    assert_eq!(restarted.heartbeat(&held).await.unwrap(), Membership::Stands);
    restarted.leave(Some(&held), "a test").await.unwrap();
    assert!(matches!(own.heartbeat(&held).await.unwrap(), Membership::Gone(_)));
    Pool::shared().give_back(kafka);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fence_leaves_by_its_own_member_id_and_a_newer_one_stays() {
    let kafka = Pool::shared().lease(KafkaOptions::new("3.9.1")).await.unwrap();
    let source = connect(&kafka.bootstrap()).await.unwrap();
    let fence = || Fence::new(source.clone(), Env::real(), GROUP, "towpath-fence-views".into());
    let (old, new) = (fence(), fence());
    let (before, now) = (hold(&old).await, hold(&new).await);
    assert!(matches!(old.heartbeat(&before).await.unwrap(), Membership::Gone(_)));
    let other = old.leave(Some(&before), "a test").await.unwrap();
    assert_eq!(other.map(|other| other.member_id), Some(now.member_id.clone()));
    assert_eq!(new.heartbeat(&now).await.unwrap(), Membership::Stands);
    // Whoever carries the instance id leaves only where no membership is known.
    assert_eq!(old.leave(None, "a test").await.unwrap(), None);
    assert_eq!(new.look().await.unwrap().fence, None);
    Pool::shared().give_back(kafka);
}

/// A coordinator holds the first join of an empty group for `group.initial.rebalance.delay.ms`.
async fn a_join_that_is_held_keeps_everybody_out_and_is_gone_with_its_coordinator(version: &str) {
    let options = KafkaOptions::new(version).property("group.initial.rebalance.delay.ms", "30000");
    let mut kafka = Kafka::start_with(options).await.unwrap();
    let source = connect(&kafka.bootstrap()).await.unwrap();
    create_topic(&source, NewTopic::new(TOPIC, 1)).await.unwrap();
    let fence = Fence::new(source.clone(), Env::real(), GROUP, "towpath-fence-views".into());
    let seen = wait::until("the join to be seen", LIMIT, async || Ok(fence.look().await?.fence));
    tokio::select! {
        // It tries again until the coordinator takes the join.
        joined = hold(&fence) => panic!("it was not held: {joined:?}"),
        seen = seen => drop(seen.unwrap()),
    }
    let commit = async |source: &Client| {
        let offset = CommittedOffset { offset: 7, leader_epoch: -1, metadata: None };
        let offsets = BTreeMap::from([(TopicPartition::new(TOPIC, 0), offset)]);
        let each = offset_commit(source, GROUP, &CommitAs::Outsider, &offsets).await.unwrap();
        each.into_values().next().unwrap().map_err(|error| error.code())
    };
    assert_eq!(commit(&source).await, Err(Some(ResponseError::UnknownMemberId)));
    let consumer = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str(GROUP)))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![
            JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range")),
        ]);
    let answer = source.send_version(To::Coordinator(GROUP.into()), consumer, 3).await.unwrap();
    assert_eq!(answer.error_code, ResponseError::InconsistentGroupProtocol.code());

    // It was in no log: a switch that rests on it would leave the source open.
    kafka.kill(0).await.unwrap();
    kafka.start_again().await.unwrap();
    let source = connect(&kafka.bootstrap()).await.unwrap();
    assert_eq!(commit(&source).await, Ok(()));
    let fence = Fence::new(source, Env::real(), GROUP, "towpath-fence-views".into());
    assert_eq!(fence.look().await.unwrap().fence, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_join_that_is_held_keeps_everybody_out_and_is_gone_with_its_coordinator_on_kafka_3_9() {
    a_join_that_is_held_keeps_everybody_out_and_is_gone_with_its_coordinator("3.9.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_join_that_is_held_keeps_everybody_out_and_is_gone_with_its_coordinator_on_kafka_4_1() {
    a_join_that_is_held_keeps_everybody_out_and_is_gone_with_its_coordinator("4.1.1").await;
}
