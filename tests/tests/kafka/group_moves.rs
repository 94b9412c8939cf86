//! Live groups moved between a real Apache Kafka and Towpath's broker, and back.

use serde_json::Value;
use towpath_env::Env;
use towpath_linker::groups::fence::{Fence, Membership};
use towpath_linker::operation::{Request, exit};
use towpath_plans::transition::{GroupState, LinkState, Verb};
use towpath_tests::kafka::{KafkaOptions, Pool};
use towpath_tests::mirroring::connect;
use towpath_tests::wait;

use crate::estate::{
    Estate, FAMILY, GROUP, Group, LIMIT, PARTITIONS, Sheet, TOPIC, committed_at, hold, request,
};

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
    let returned = Group::start(&estate.legacy(), 3);
    returned.wait_for_commits(3).await;
    for at in back["positions"].as_array().unwrap() {
        let partition = at["partition"].as_i64().unwrap() as i32;
        assert_eq!(at["target_offset"].as_i64(), late.committed(partition), "{at}");
        assert_eq!(returned.first_delivered(partition), at["source_offset"].as_i64(), "{at}");
    }
    let ends = writer.stop();
    returned.wait_until_committed(&ends).await;
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
    let estate = Estate::start("3.9.1").await;
    let mut writer = estate.write_on();
    let group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link_with("fence: evict, pause_max: 1ms").await;
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
    writer.stop();
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_straggler_gets_nothing_and_a_lapse_of_the_fence_is_mended_and_told() {
    // The longest session that this source allows is what the fence gets.
    let options = KafkaOptions::new("3.9.1").property("group.max.session.timeout.ms", "7000");
    let estate = Estate::start_with(options).await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link_with("fence: wait").await;
    let mut early = Group::start(&estate.towpath(), 1);
    group.stop();
    estate.wait_for_gates(Verb::Cutover).await;
    estate.run(Verb::Cutover).await;
    early.wait_for_commits(1).await;
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
    early.wait_for_commits(1).await;
    early.stop();
    writer.stop();
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_without_successors_is_not_moved_and_nothing_changes() {
    let estate = Estate::start("3.9.1").await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_way_back_is_given_up_only_when_everybody_is_denied_at_the_source() {
    let estate = Estate::start_with(with_acls()).await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link().await;
    let mut early = Group::start(&estate.towpath(), 1);
    estate.wait_for_gates(Verb::Cutover).await;
    estate.run(Verb::Cutover).await;
    group.stop();

    let (code, problem) = estate.complete(&request(), false).await;
    assert!(code == Some(exit::FAILED) && problem.contains("--deny-principal 'User:*'"), "{problem}");
    let dry = Request { dry_run: true, ..request() };
    assert_eq!(estate.complete(&dry, true).await.0, Some(exit::DONE));
    assert!(estate.evidence().await.contains("--accept-no-stop"));
    estate.acl(&["--add", "--deny-principal", "User:bob", "--operation", "Read"]).await;
    let (code, problem) = estate.complete(&request(), false).await;
    assert!(code == Some(exit::FAILED) && problem.contains("User:bob"), "{problem}");
    estate.acl(&["--add", "--deny-principal", "User:*", "--operation", "Read"]).await;
    let (code, problem) = estate.complete(&request(), false).await;
    assert_eq!((code, problem.as_str()), (Some(exit::DONE), ""));
    assert_eq!(estate.record().state, GroupState::Completed);
    assert!(estate.evidence().await.contains("a deny ACL for User:* on group ranker"));
    early.wait_for_commits(1).await;
    early.stop();
    writer.stop();
    estate.stop().await;
}

fn with_acls() -> KafkaOptions {
    KafkaOptions::new("4.1.1")
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_the_source_refused_is_repeated_when_nothing_moves_any_more() {
    let estate = Estate::start_with(with_acls()).await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link().await;
    let mut early = Group::start(&estate.towpath(), 1);
    estate.wait_for_gates(Verb::Cutover).await;
    estate.run(Verb::Cutover).await;
    group.stop();
    estate.acl(&["--add", "--allow-principal", "User:*", "--operation", "All"]).await;
    estate.acl(&["--add", "--deny-principal", "User:ANONYMOUS", "--operation", "Read"]).await;
    early.wait_for_commits(1).await;
    estate.wait_for_alarm("positions are not synced").await;
    early.stop();
    writer.stop();
    let denied = ["--deny-principal", "User:ANONYMOUS", "--operation", "Read"];
    estate.acl(&[&["--remove", "--force"], &denied[..]].concat()).await;
    estate.wait_for_source_commits(&early).await;
    // What stood there meanwhile is not taken for somebody else's.
    assert!(!estate.evidence().await.contains("straggler"));
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollback_that_waits_for_members_says_so_once_and_keeps_the_source_up() {
    let estate = Estate::start("3.9.1").await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link_with("fence: wait").await;
    let mut early = Group::start(&estate.towpath(), 1);
    group.stop();
    estate.wait_for_gates(Verb::Cutover).await;
    estate.run(Verb::Cutover).await;
    early.wait_for_commits(1).await;
    estate.wait_for_gates(Verb::Rollback).await;
    // A fence that the group needs is not released, whatever was known when it was asked for.
    let asked = estate.service().operations().begin("fence-release", FAMILY, &request());
    let mover = estate.service().family(FAMILY).unwrap().movers[GROUP].clone();
    let refused = mover.release_left_behind(&request(), &asked).await;
    assert_eq!(refused.exit_code, exit::FAILED, "{refused:?}");

    let rollback = estate.begin(Verb::Rollback).await;
    let waits = |text: &str| text == "waiting for 1 member to leave the target";
    let mut told = rollback.watch();
    told.wait_for(|view| view.steps.iter().any(|step| waits(&step.text))).await.unwrap();
    let busy = mover.release_left_behind(&request(), &asked).await;
    assert!(busy.problem.unwrap().contains("under way"));
    // Twice, so that it looked again in between.
    for _ in 0..2 {
        early.wait_for_commits(1).await;
        let at: Vec<i64> = (0..PARTITIONS).filter_map(|partition| early.committed(partition)).collect();
        wait::until("the source to follow", LIMIT, async || {
            let there = estate.source_positions().await;
            let reached = at.iter().zip(0..).all(|(at, partition)| there.get(&partition) >= Some(at));
            Ok(reached.then_some(()))
        })
        .await
        .unwrap();
    }
    assert_eq!(rollback.view().steps.iter().filter(|step| waits(&step.text)).count(), 1);
    early.stop();
    let ended = rollback.ended().await;
    assert_eq!(ended.exit_code, Some(exit::DONE));
    let mut returned = Group::start(&estate.legacy(), 1);
    returned.wait_for_commits(1).await;
    returned.stop();
    writer.stop();
    // And on to the target again, with the service gone.
    estate.close_service().await;
    let sheet = ended.outcome["moves"][0]["recovery_sheet"].as_str().unwrap();
    let sheet = Sheet::new(sheet, estate.kafka.tools());
    sheet.run("--members").await.unwrap();
    sheet.run("--reset-offsets").await.unwrap();
    let there = committed_at(&estate.towpath(), "ranker-recovered").await;
    let stopped: Vec<Option<i64>> = (0..PARTITIONS).map(|partition| early.committed(partition)).collect();
    assert_eq!(there.into_values().map(Some).collect::<Vec<_>>(), stopped);
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_recovery_sheet_of_a_cutover_brings_the_group_back_without_towpath() {
    let options = KafkaOptions::new("3.9.1").property("group.max.session.timeout.ms", "7000");
    let estate = Estate::start_with(options).await;
    let mut writer = estate.write_on();
    let mut group = Group::start(&estate.legacy(), 1);
    group.wait_for_commits(1).await;
    estate.link().await;
    let mut early = Group::start(&estate.towpath(), 1);
    estate.wait_for_gates(Verb::Cutover).await;
    let moved = estate.run(Verb::Cutover).await;
    group.stop();
    early.wait_for_commits(1).await;
    writer.stop();
    early.stop();
    estate.wait_for_source_commits(&early).await;
    let sheet = Sheet::new(moved["recovery_sheet"].as_str().unwrap(), estate.kafka.tools());
    sheet.run("--members").await.unwrap();
    estate.close_service().await;
    wait::until("the fence to end", LIMIT, async || {
        sheet.run("--max-messages").await?;
        Ok(sheet.run("--state").await.ok().filter(|state| state.contains("Empty")))
    })
    .await
    .unwrap();
    let stands = sheet.run("--offsets").await.unwrap();
    assert!(stands.contains(TOPIC), "{stands}");
    // Nothing was committed on the way: it stands where the group stopped on the target.
    estate.wait_for_source_commits(&early).await;
    sheet.run("--reset-offsets").await.unwrap();
    let positions = moved["positions"].as_array().unwrap();
    let began: Vec<i64> = positions.iter().filter_map(|at| at["source_offset"].as_i64()).collect();
    let there = committed_at(&estate.legacy(), GROUP).await;
    assert_eq!(there.into_values().collect::<Vec<_>>(), began);
    estate.stop().await;
}
