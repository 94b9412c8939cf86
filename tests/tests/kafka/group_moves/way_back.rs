//! The way back: kept open while the group is on the target, walked with Towpath or without it, and given up.

use towpath_linker::operation::{Request, exit};
use towpath_plans::transition::{GroupState, Verb};
use towpath_tests::kafka::KafkaOptions;
use towpath_tests::wait;

use crate::estate::{
    EVICT, Estate, FAMILY, GROUP, Group, LIMIT, Moved, PARTITIONS, Sheet, TOPIC, WAIT, WAITS, committed_at,
    request, told, with_acls,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_way_back_is_given_up_only_when_everybody_is_denied_at_the_source() {
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(with_acls(), EVICT).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_the_source_refused_is_repeated_when_nothing_moves_any_more() {
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(with_acls(), EVICT).await;
    estate.deny_service().await;
    early.wait_for_commits(1).await;
    estate.wait_for_alarm("positions are not synced").await;
    early.stop();
    writer.stop();
    estate.allow_service().await;
    estate.wait_for_source_commits(&early).await;
    // What stood there meanwhile is not taken for somebody else's.
    assert!(!estate.evidence().await.contains("straggler"));
    estate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollback_that_waits_for_members_says_so_once_and_keeps_the_source_up() {
    let kafka = KafkaOptions::new("3.9.1");
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(kafka, WAIT).await;
    estate.wait_for_gates(Verb::Rollback).await;
    // A fence that the group needs is not released, whatever was known when it was asked for.
    let asked = estate.service().operations().begin("fence-release", FAMILY, &request());
    let mover = estate.service().family(FAMILY).unwrap().movers[GROUP].clone();
    let refused = mover.release_left_behind(&request(), &asked).await;
    assert_eq!(refused.exit_code, exit::FAILED, "{refused:?}");

    let rollback = estate.begin(Verb::Rollback).await;
    told(&rollback, WAITS).await;
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
    assert_eq!(rollback.view().steps.iter().filter(|step| step.text == WAITS).count(), 1);
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
    let Moved { estate, mut writer, mut early, document } = Estate::with_moved_group(options, EVICT).await;
    writer.stop();
    early.stop();
    estate.wait_for_source_commits(&early).await;
    let sheet = Sheet::new(document["recovery_sheet"].as_str().unwrap(), estate.kafka.tools());
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
    let positions = document["positions"].as_array().unwrap();
    let began: Vec<i64> = positions.iter().filter_map(|at| at["source_offset"].as_i64()).collect();
    let there = committed_at(&estate.legacy(), GROUP).await;
    assert_eq!(there.into_values().collect::<Vec<_>>(), began);
    estate.stop().await;
}
