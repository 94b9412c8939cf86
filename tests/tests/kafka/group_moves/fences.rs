//! The fence at the source: whom it keeps out, what a rebalance does to it, how it leaves, and when it lapses.

use towpath_env::Env;
use towpath_linker::groups::fence::{Fence, Membership};
use towpath_plans::transition::GroupState;
use towpath_tests::kafka::{KafkaOptions, Pool};
use towpath_tests::mirroring::connect;

use crate::estate::{Estate, GROUP, Group, Moved, WAIT, hold};

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
    early.wait_for_commits(1).await;
    early.stop();
    writer.stop();
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
