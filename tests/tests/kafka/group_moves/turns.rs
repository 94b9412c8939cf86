//! A verb acts when its turn comes, and not at all when its mover has ended by then.

use towpath_linker::operation::{Ending, exit};
use towpath_plans::transition::{GroupState, Verb};

use crate::estate::{EVICT, Estate, FAMILY, GROUP, Moved, request, told, with_acls};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_verb_whose_mover_ends_before_its_turn_does_nothing() {
    let Moved { estate, mut writer, mut early, .. } = Estate::with_moved_group(with_acls(), EVICT).await;
    early.stop();
    writer.stop();
    let service = estate.service();
    let mover = service.family(FAMILY).unwrap().movers[GROUP].clone();
    let before = mover.record();
    estate.close_service().await;
    let given_up = |ending: &Ending| {
        let problem = ending.problem.as_deref().unwrap_or_default();
        assert!(problem.contains("before it began"), "{ending:?}");
        assert_eq!(ending.exit_code, exit::FAILED, "{ending:?}");
    };
    // Its lock is free: nothing else keeps it from acting.
    let asked = service.operations().begin("rollback", FAMILY, &request());
    given_up(&mover.execute(Verb::Rollback, &request(), &asked).await);
    given_up(&mover.complete(&request(), true, &asked).await);
    given_up(&mover.release_left_behind(&request(), &asked).await);
    let held = mover.hold().unwrap();
    let refused = mover.cancel(&held, &request()).await.unwrap_err();
    assert!(refused.to_string().contains("before it began"), "{refused}");
    drop(held);
    assert_eq!(mover.record(), before);
    // The next one needs their cache.
    drop((asked, mover, service));

    // One that waits for its turn, which the source does not let come.
    estate.deny_service().await;
    estate.open_service().await;
    let rollback = estate.begin(Verb::Rollback).await;
    told(&rollback, "waiting until what was under way before the service started has ended").await;
    estate.close_service().await;
    let ended = rollback.ended().await;
    let problem = ended.problem.unwrap_or_default();
    assert!(problem.contains("before it began"), "{problem}");
    assert_eq!((ended.exit_code, before.state), (Some(exit::FAILED), GroupState::OnTarget));
    estate.stop().await;
}
