use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_wire::private::{GroupOffset, GroupOp, LinkGroupRequest, LinkGroupResponse, Route, code};

use super::classic::{JoinAnswer, JoinInput, LeaveInput, Protocol, SyncInput};
use super::memory_backing::MemoryBacking;
use super::*;
use crate::server::ClientContext;

struct Bench {
    env: Env,
    backing: MemoryBacking,
    groups: Groups,
}

impl Bench {
    async fn new() -> Bench {
        Bench::on(MemoryBacking::new(), Env::seeded(1, 1_000_000)).await
    }

    async fn on(backing: MemoryBacking, env: Env) -> Bench {
        let config = GroupConfig { offsets_partitions: 5, ..GroupConfig::default() };
        let log = Box::new(backing.clone());
        let groups = Groups::with_backing(log, config, env.clone(), &Registry::new()).unwrap();
        Bench { env, backing, groups }
    }

    /// The coordinator goes away without a word, and another reads what it wrote.
    async fn restart(self) -> Bench {
        self.groups.close().await;
        let bench = Bench::on(self.backing, self.env).await;
        while bench.groups.inner.loaded("g") == Err(Code::CoordinatorLoadInProgress) {
            tokio::task::yield_now().await;
        }
        bench
    }

    /// A dynamic member's way to its parked join.
    async fn arrive(&self, connection_id: u64) -> tokio::task::JoinHandle<JoinAnswer> {
        let (groups, ctx) = (self.groups.clone(), client(connection_id));
        let first = groups.join(&ctx, "g", input("")).await;
        assert_eq!(first.error, Some(Code::MemberIdRequired));
        let join = tokio::spawn(async move { groups.join(&ctx, "g", input(&first.member_id)).await });
        tokio::task::yield_now().await;
        join
    }

    /// One member, stable in generation 1.
    async fn stable_member(&self) -> String {
        let joined = self.arrive(1).await.await.unwrap();
        assert_eq!((joined.error, joined.generation), (None, 1));
        let part = (joined.member_id.clone(), Bytes::from_static(b"part"));
        let answer = self.groups.sync(&client(1), "g", sync(&joined.member_id, vec![part])).await;
        assert_eq!((answer.error, &answer.assignment[..]), (None, &b"part"[..]));
        joined.member_id
    }

    async fn commit(&self, member_id: &str, generation: i32, offset: i64) -> Result<(), Code> {
        let offsets = vec![CommittedOffset {
            topic: "t".to_owned(),
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: "note".to_owned(),
        }];
        let member_id = member_id.to_owned();
        let commit = Commit { member_id, generation, retention_ms: -1, offsets, ..Commit::default() };
        self.groups.commit("g", commit).await.remove(0)
    }

    async fn fetch(&self) -> Result<Option<i64>, Code> {
        let asked = Some(vec![("t".to_owned(), vec![0])]);
        let topics = self.groups.fetch(&client(9), "g", asked).await?;
        Ok(topics[0].1[0].1.as_ref().map(|value| value.offset))
    }

    async fn link(&self, op: GroupOp) -> LinkGroupResponse {
        let request = LinkGroupRequest { link: "l".to_owned(), group: "g".to_owned(), op };
        self.groups.link_group(request).await
    }

    async fn switch(&self, attempt: u64, from: Route, to: Route, offset: i64) -> LinkGroupResponse {
        self.link(GroupOp::Route { attempt, from, to, offsets: vec![at(offset)] }).await
    }
}

fn at(offset: i64) -> GroupOffset {
    GroupOffset { topic: "t".to_owned(), partition: 0, offset, leader_epoch: -1, metadata: None }
}

fn client(connection_id: u64) -> ClientContext {
    let peer: SocketAddr = "127.0.0.1:5".parse().unwrap();
    ClientContext::new(connection_id, peer, CancellationToken::new())
}

fn input(member_id: &str) -> JoinInput {
    JoinInput {
        version: 9,
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        connection_id: 1,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        new_member_id: String::new(),
    }
}

fn sync(member_id: &str, assignments: Vec<(String, Bytes)>) -> SyncInput {
    SyncInput {
        member_id: member_id.to_owned(),
        instance_id: None,
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments,
    }
}

#[tokio::test(start_paused = true)]
async fn members_and_positions_survive_a_restart() {
    let bench = Bench::new().await;
    let member = bench.stable_member().await;
    assert_eq!(bench.commit(&member, 1, 7).await, Ok(()));
    let bench = bench.restart().await;
    assert_eq!(bench.groups.heartbeat("g", &member, None, 1).await, Ok(()));
    assert_eq!(bench.fetch().await, Ok(Some(7)));
    assert_eq!(bench.commit(&member, 1, 8).await, Ok(()));
    assert_eq!(bench.groups.describe("g").unwrap().unwrap().members[0].assignment, "part");
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_answered_and_read_only_once_it_is_durable() {
    let bench = Bench::new().await;
    assert_eq!(bench.commit("", -1, 1).await, Ok(()));
    bench.backing.hold_back(true);
    let groups = bench.groups.clone();
    let read = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        groups.fetch(&client(9), "g", None).await
    });
    // Unknown, not refused: the client asks again.
    assert_eq!(bench.commit("", -1, 2).await, Err(Code::CoordinatorNotAvailable));
    assert!(!read.is_finished(), "what is not durable is not read");
    bench.backing.hold_back(false);
    assert_eq!(read.await.unwrap().unwrap()[0].1[0].1.as_ref().unwrap().offset, 2);
    assert_eq!(bench.fetch().await, Ok(Some(2)));
    // A crash at that point loses what was not answered, and nothing else.
    bench.backing.cut(1);
    assert_eq!(bench.restart().await.fetch().await, Ok(Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_changes_nothing() {
    let bench = Bench::new().await;
    assert_eq!(bench.commit("", -1, 1).await, Ok(()));
    bench.backing.refuse(true);
    assert_eq!(bench.commit("", -1, 2).await, Err(Code::CoordinatorNotAvailable));
    assert!(bench.switch(1, Route::Source, Route::Target, 5).await.error.is_some());
    assert_eq!(bench.fetch().await, Ok(Some(1)));
    bench.backing.refuse(false);
    assert_eq!(bench.commit("", -1, 3).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_can_not_be_written_is_not_given_out() {
    let bench = Bench::new().await;
    let joined = bench.arrive(1).await.await.unwrap();
    bench.backing.refuse(true);
    let part = (joined.member_id.clone(), Bytes::from_static(b"part"));
    let answer = bench.groups.sync(&client(1), "g", sync(&joined.member_id, vec![part])).await;
    assert_eq!((answer.error, answer.assignment.len()), (Some(Code::CoordinatorNotAvailable), 0));
    let beat = bench.groups.heartbeat("g", &joined.member_id, None, 1).await;
    assert_eq!(beat, Err(Code::RebalanceInProgress));
}

#[tokio::test(start_paused = true)]
async fn at_the_switch_parked_members_join_and_parked_fetchers_read() {
    let bench = Bench::new().await;
    assert!(bench.link(GroupOp::Declare).await.error.is_none());
    let joins = [bench.arrive(1).await, bench.arrive(2).await];
    let groups = bench.groups.clone();
    let fetch =
        tokio::spawn(
            async move { groups.fetch(&client(3), "g", Some(vec![("t".to_owned(), vec![0])])).await },
        );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = bench.link(GroupOp::Sync { offsets: vec![at(5)] }).await.state.unwrap();
    assert_eq!((state.members.len(), state.held_fetchers), (2, 1));
    assert!(state.members.iter().all(|member| member.held));
    assert_eq!(bench.commit("", -1, 9).await, Err(Code::CoordinatorLoadInProgress));

    let before = bench.env.elapsed();
    let state = bench.switch(1, Route::Source, Route::Target, 6).await.state.unwrap();
    assert_eq!((state.route, state.attempt, state.offsets[0].offset), (Some(Route::Target), 1, 6));
    for join in joins {
        let answer = join.await.unwrap();
        assert_eq!((answer.error, answer.generation), (None, 1));
    }
    assert_eq!(fetch.await.unwrap().unwrap()[0].1[0].1.as_ref().unwrap().offset, 6);
    assert_eq!(bench.env.elapsed(), before, "nobody waited for a timer");
    assert_eq!(bench.link(GroupOp::Describe).await.state.unwrap().held_fetchers, 0);
}

#[tokio::test(start_paused = true)]
async fn the_switch_is_one_batch_and_repeating_it_sets_nothing_back() {
    let bench = Bench::new().await;
    bench.link(GroupOp::Declare).await;
    let before = bench.backing.batches().len();
    bench.switch(1, Route::Source, Route::Target, 6).await;
    let batches = bench.backing.batches();
    assert_eq!(batches.len(), before + 1);
    assert_eq!(batches[before].len(), 2, "offset and route");

    assert_eq!(bench.commit("", -1, 20).await, Ok(()));
    let bench = bench.restart().await;
    let again = bench.switch(1, Route::Source, Route::Target, 6).await;
    assert_eq!((again.error, again.state.unwrap().offsets[0].offset), (None, 20));
    assert_eq!(bench.backing.batches().len(), before + 2);
    let stale = bench.link(GroupOp::Sync { offsets: vec![at(6)] }).await;
    assert_eq!(stale.error.unwrap().code, code::ROUTE_CONFLICT);
    assert_eq!(bench.fetch().await, Ok(Some(20)));
}

#[tokio::test(start_paused = true)]
async fn on_the_way_back_members_are_evicted_and_the_answer_has_the_final_positions() {
    let bench = Bench::new().await;
    bench.link(GroupOp::Declare).await;
    bench.switch(1, Route::Source, Route::Target, 6).await;
    let member = bench.stable_member().await;
    assert_eq!(bench.commit(&member, 1, 30).await, Ok(()));
    let draining = GroupOp::Route { attempt: 2, from: Route::Target, to: Route::Draining, offsets: vec![] };
    let state = bench.link(draining).await.state.unwrap();
    assert_eq!((state.offsets[0].offset, state.members.len()), (30, 0));
    assert_eq!(bench.commit(&member, 1, 31).await, Err(Code::UnknownMemberId));
    assert_eq!(bench.groups.heartbeat("g", &member, None, 1).await, Err(Code::UnknownMemberId));
    // It comes back, and is held: now, and after a restart.
    let join = bench.arrive(1).await;
    let state = bench.link(GroupOp::Describe).await.state.unwrap();
    assert!(state.members.iter().all(|member| member.held) && state.members.len() == 1);
    join.abort();
    let bench = bench.restart().await;
    let state = bench.link(GroupOp::Describe).await.state.unwrap();
    assert_eq!((state.route, state.attempt, state.members.len()), (Some(Route::Draining), 2, 0));
    let back = GroupOp::Route { attempt: 2, from: Route::Draining, to: Route::Source, offsets: vec![] };
    assert_eq!(bench.link(back).await.state.unwrap().route, Some(Route::Source));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_route_leaves_an_ordinary_group_with_its_positions() {
    let bench = Bench::new().await;
    bench.link(GroupOp::Declare).await;
    bench.link(GroupOp::Sync { offsets: vec![at(5)] }).await;
    let join = bench.arrive(1).await;
    assert_eq!(bench.groups.delete("g").await, Err(Code::NonEmptyGroup));
    bench.link(GroupOp::Forget).await;
    assert_eq!(join.await.unwrap().generation, 1);
    assert_eq!(bench.groups.route("g"), None);
    assert_eq!(bench.restart().await.fetch().await, Ok(Some(5)));
}

#[tokio::test(start_paused = true)]
async fn a_held_client_that_goes_away_stops_counting() {
    let bench = Bench::new().await;
    bench.link(GroupOp::Declare).await;
    let join = bench.arrive(1).await;
    join.abort();
    let _ = join.await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.link(GroupOp::Describe).await.state.unwrap().members.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_parked_joins() {
    let bench = Bench::new().await;
    bench.link(GroupOp::Declare).await;
    let join = bench.arrive(1).await;
    bench.groups.close().await;
    assert_eq!(join.await.unwrap().error, Some(Code::CoordinatorNotAvailable));
}

#[tokio::test(start_paused = true)]
async fn positions_expire_after_the_last_member_has_left_but_never_while_held() {
    let bench = Bench::new().await;
    let retention = Duration::from_millis(bench.groups.inner.config.offsets_retention_ms as u64);
    let member = bench.stable_member().await;
    bench.commit(&member, 1, 7).await.unwrap();
    let expire = || expire::expire_all(&bench.groups.inner);
    let leaving = [LeaveInput { member_id: member, instance_id: None }];
    bench.groups.leave("g", &leaving).await.unwrap()[0].unwrap();
    bench.env.sleep(retention - Duration::from_secs(10)).await;
    expire();
    assert_eq!(bench.fetch().await, Ok(Some(7)));
    bench.link(GroupOp::Declare).await;
    bench.env.sleep(retention).await;
    expire();
    assert_eq!(bench.link(GroupOp::Describe).await.state.unwrap().offsets.len(), 1);
    bench.link(GroupOp::Forget).await;
    expire();
    assert_eq!(bench.fetch().await, Ok(None));
    assert_eq!(bench.groups.list(&[], &[]).unwrap(), [], "a group without members and positions ends");
    assert_eq!(bench.restart().await.groups.list(&[], &[]).unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_takes_its_positions_along() {
    let bench = Bench::new().await;
    bench.commit("", -1, 7).await.unwrap();
    expire::forget_topics(&bench.groups.inner, &HashSet::from(["t".to_owned()]));
    assert_eq!(bench.fetch().await, Ok(None));
    assert_eq!(bench.restart().await.fetch().await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_judged_position_by_position() {
    let bench = Bench::new().await;
    let position = |topic: &str, metadata: &str| CommittedOffset {
        topic: topic.to_owned(),
        partition: 0,
        offset: 1,
        leader_epoch: -1,
        metadata: metadata.to_owned(),
    };
    let offsets = vec![position("t", ""), position("unknown", ""), position("t", &"x".repeat(4_097))];
    let commit = Commit { generation: -1, retention_ms: -1, offsets, ..Commit::default() };
    let results = bench.groups.commit("g", commit).await;
    let expected = [Ok(()), Err(Code::UnknownTopicOrPartition), Err(Code::OffsetMetadataTooLarge)];
    assert_eq!(results, expected);
}

#[tokio::test(start_paused = true)]
async fn positions_of_topics_that_members_read_can_not_be_deleted() {
    let bench = Bench::new().await;
    let member = bench.stable_member().await;
    bench.commit(&member, 1, 7).await.unwrap();
    let positions = [("t".to_owned(), 0), ("u".to_owned(), 0)];
    let results = bench.groups.delete_offsets("g", &positions).await.unwrap();
    assert_eq!(results, [Err(Code::GroupSubscribedToTopic), Ok(())]);
    assert_eq!(bench.groups.delete_offsets("none", &positions).await, Err(Code::GroupIdNotFound));
    assert_eq!(bench.groups.delete("g").await, Err(Code::NonEmptyGroup));
    let leaving = [LeaveInput { member_id: member, instance_id: None }];
    bench.groups.leave("g", &leaving).await.unwrap()[0].unwrap();
    assert_eq!(bench.groups.delete("g").await, Ok(()));
    assert_eq!(bench.groups.delete("g").await, Err(Code::GroupIdNotFound));
    assert_eq!(bench.fetch().await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_by_state_and_type() {
    let bench = Bench::new().await;
    bench.stable_member().await;
    let list = |states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        bench.groups.list(&owned(states), &owned(types)).unwrap().len()
    };
    assert_eq!((list(&[], &[]), list(&["stable"], &["Classic"])), (1, 1));
    assert_eq!((list(&["Empty"], &[]), list(&[], &["consumer"])), (0, 0));
}
