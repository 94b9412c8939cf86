use bytes::Bytes;
use kafka_protocol::ResponseError as Code;

use super::*;

const TIMING: Timing = Timing {
    initial_delay_ms: 3_000,
    members_max: 3,
    park_max_ms: 20_000,
    held_grace_ms: 10_000,
    switch_grace_ms: 1_500,
};

/// A group under test: keeps the time, numbers the requests, collects the answers.
struct Bench {
    group: ClassicGroup,
    now: Now,
    tokens: u64,
    fx: Effects,
}

#[derive(Clone)]
struct Who {
    version: i16,
    id: String,
    instance: Option<String>,
    protocols: Vec<&'static str>,
}

fn dynamic(id: &str) -> Who {
    Who { version: 9, id: id.to_owned(), instance: None, protocols: vec!["range"] }
}

fn fixed(id: &str, instance: &str) -> Who {
    Who { instance: Some(instance.to_owned()), ..dynamic(id) }
}

impl Bench {
    fn new() -> Bench {
        let now = Now { mono_ms: 1_000, wall_ms: 1_000_000 };
        Bench { group: ClassicGroup::new(TIMING, now), now, tokens: 0, fx: Vec::new() }
    }

    fn join(&mut self, who: &Who) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let input = JoinInput {
            version: who.version,
            member_id: who.id.clone(),
            instance_id: who.instance.clone(),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            connection_id: 1,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: who
                .protocols
                .iter()
                .map(|name| Protocol { name: (*name).to_owned(), metadata: subscription() })
                .collect(),
            new_member_id: format!("new-{}", self.tokens),
        };
        self.group.join(self.now, input, token, &mut self.fx);
        token
    }

    /// A dynamic member's two joins; the id it got.
    fn arrive(&mut self, who: &Who) -> (String, Token) {
        let first = self.join(who);
        let answer = self.joined(first).expect("answered at once");
        assert_eq!(answer.error, Some(Code::MemberIdRequired));
        let token = self.join(&Who { id: answer.member_id.clone(), ..who.clone() });
        (answer.member_id, token)
    }

    fn sync(&mut self, id: &str, generation: i32, parts: &[(&str, &'static str)]) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let input = SyncInput {
            member_id: id.to_owned(),
            instance_id: None,
            generation,
            protocol_type: None,
            protocol: None,
            assignments: parts
                .iter()
                .map(|(id, part)| ((*id).to_owned(), Bytes::from_static(part.as_bytes())))
                .collect(),
        };
        self.group.sync(self.now, input, token, &mut self.fx);
        token
    }

    fn heartbeat(&mut self, id: &str) -> Result<(), Code> {
        let generation = self.group.generation();
        self.group.heartbeat(self.now, id, None, generation)
    }

    /// Lets time pass in the steps at which something is due.
    fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while let Some(at) = self.group.next_deadline_ms().filter(|at| *at <= end) {
            assert!(at >= self.now.mono_ms, "a deadline in the past was left standing");
            self.now.wall_ms += (at - self.now.mono_ms) as i64;
            self.now.mono_ms = at;
            self.group.on_time(self.now, &mut self.fx);
            assert_ne!(self.group.next_deadline_ms(), Some(at), "{:?}", self.group);
        }
        self.now.wall_ms += (end - self.now.mono_ms) as i64;
        self.now.mono_ms = end;
    }

    fn joined(&self, token: Token) -> Option<JoinAnswer> {
        let mut answers = self.fx.iter().filter_map(|effect| match effect {
            Effect::Join(to, answer) if *to == token => Some(answer.clone()),
            _ => None,
        });
        let answer = answers.next();
        assert!(answers.next().is_none(), "one request, one answer");
        answer
    }

    fn synced(&self, token: Token) -> Option<SyncAnswer> {
        self.fx.iter().find_map(|effect| match effect {
            Effect::Sync(to, answer) if *to == token => Some(answer.clone()),
            _ => None,
        })
    }

    fn persisted(&self) -> usize {
        self.fx.iter().filter(|effect| **effect == Effect::Persist).count()
    }

    /// A stable group of two dynamic members; the first one leads.
    fn stable_pair() -> (Bench, String, String) {
        let mut bench = Bench::new();
        let (a, join_a) = bench.arrive(&dynamic(""));
        let (b, _) = bench.arrive(&dynamic(""));
        bench.pass(6_000);
        assert_eq!(bench.joined(join_a).unwrap().leader, a);
        bench.sync(&b, 1, &[]);
        bench.sync(&a, 1, &[(&a, "part-a"), (&b, "part-b")]);
        assert_eq!(bench.group.state(), State::Stable);
        (bench, a, b)
    }
}

fn subscription() -> Bytes {
    Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff")
}

#[test]
fn an_empty_group_waits_for_more_members_before_its_first_generation() {
    let mut bench = Bench::new();
    let (a, join_a) = bench.arrive(&dynamic(""));
    bench.pass(2_000);
    let (b, join_b) = bench.arrive(&dynamic(""));
    bench.pass(2_000);
    assert_eq!(bench.joined(join_a), None, "somebody came: the delay is extended once more");
    bench.pass(3_000);
    let (first, second) = (bench.joined(join_a).unwrap(), bench.joined(join_b).unwrap());
    assert_eq!((first.generation, first.leader.as_str()), (1, a.as_str()));
    assert_eq!(first.members.iter().map(|m| m.member_id.clone()).collect::<Vec<_>>(), [a, b]);
    assert!(second.members.is_empty(), "only the leader sees the members");
}

#[test]
fn followers_get_their_part_when_the_leaders_assignment_is_written() {
    let mut bench = Bench::new();
    let (a, _) = bench.arrive(&dynamic(""));
    let (b, _) = bench.arrive(&dynamic(""));
    bench.pass(6_000);
    let follower = bench.sync(&b, 1, &[]);
    assert_eq!(bench.synced(follower), None);
    assert_eq!(bench.persisted(), 0);
    let leader = bench.sync(&a, 1, &[(&b, "b")]);
    let persist = bench.fx.iter().position(|effect| *effect == Effect::Persist).unwrap();
    let answer = bench.fx.iter().position(|effect| matches!(effect, Effect::Sync(to, _) if *to == follower));
    assert!(persist < answer.unwrap());
    assert_eq!(bench.synced(follower).unwrap().assignment, "b");
    assert_eq!(bench.synced(leader).unwrap().assignment, "", "left out by itself: an empty part");
}

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let (mut bench, a, b) = Bench::stable_pair();
    bench.pass(6_000);
    assert_eq!(bench.heartbeat(&a), Ok(()));
    bench.pass(5_000);
    assert_eq!(bench.group.members().len(), 1);
    assert_eq!(bench.heartbeat(&a), Err(Code::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&b), Err(Code::UnknownMemberId));
    let again = bench.join(&dynamic(&a));
    assert_eq!(bench.joined(again).unwrap().generation, 2);
}

#[test]
fn members_that_miss_the_rebalance_are_dropped_at_its_deadline() {
    let (mut bench, a, b) = Bench::stable_pair();
    let (_, join_c) = bench.arrive(&dynamic(""));
    let join_a = bench.join(&dynamic(&a));
    for _ in 0..12 {
        bench.pass(5_000);
        let _ = bench.heartbeat(&b);
    }
    assert_eq!(bench.joined(join_a).unwrap().generation, 2);
    assert_eq!(bench.joined(join_c).unwrap().generation, 2);
    assert_eq!(bench.heartbeat(&b), Err(Code::UnknownMemberId));
}

#[test]
fn a_member_that_never_syncs_is_dropped() {
    let mut bench = Bench::new();
    let (a, _) = bench.arrive(&dynamic(""));
    let (b, _) = bench.arrive(&dynamic(""));
    bench.pass(6_000);
    bench.sync(&a, 1, &[]);
    for _ in 0..12 {
        bench.pass(5_000);
        let _ = (bench.heartbeat(&a), bench.heartbeat(&b));
    }
    assert_eq!(bench.heartbeat(&b), Err(Code::UnknownMemberId));
    assert_eq!(bench.group.state(), State::PreparingRebalance);
}

#[test]
fn the_last_member_leaves_an_empty_group_that_is_written() {
    let (mut bench, a, b) = Bench::stable_pair();
    let before = bench.persisted();
    let leaving = [a, b].map(|member_id| LeaveInput { member_id, instance_id: None });
    let results = bench.group.leave(bench.now, &leaving, &mut bench.fx).unwrap();
    assert_eq!(results, [Ok(()), Ok(())]);
    assert_eq!((bench.group.state(), bench.group.generation()), (State::Empty, 2));
    assert_eq!(bench.persisted(), before + 1);
    assert_eq!(bench.group.protocol_type(), Some("consumer"), "kept, for the retention of its offsets");
}

#[test]
fn the_protocol_is_chosen_by_votes_among_those_all_support() {
    let mut bench = Bench::new();
    let who = |protocols: &[&'static str]| Who { protocols: protocols.to_vec(), ..dynamic("") };
    bench.arrive(&who(&["sticky", "range", "only-a"]));
    bench.arrive(&who(&["range", "sticky"]));
    let (_, token) = bench.arrive(&who(&["range", "sticky"]));
    bench.pass(10_000);
    assert_eq!(bench.joined(token).unwrap().protocol.as_deref(), Some("range"));
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let (mut bench, ..) = Bench::stable_pair();
    let token = bench.join(&Who { protocols: vec!["roundrobin"], ..dynamic("") });
    assert_eq!(bench.joined(token).unwrap().error, Some(Code::InconsistentGroupProtocol));
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn a_full_group_refuses_one_more() {
    let (mut bench, a, b) = Bench::stable_pair();
    bench.arrive(&dynamic(""));
    for id in [&a, &b] {
        bench.join(&dynamic(id));
    }
    assert_eq!((bench.group.state(), bench.group.members().len()), (State::CompletingRebalance, 3));
    let token = bench.join(&dynamic(""));
    assert_eq!(bench.joined(token).unwrap().error, Some(Code::GroupMaxSizeReached));
}

#[test]
fn a_static_member_that_comes_back_gets_its_part_without_a_rebalance() {
    let mut bench = Bench::new();
    let first = bench.join(&fixed("", "one"));
    let (b, _) = bench.arrive(&dynamic(""));
    bench.pass(6_000);
    let a = bench.joined(first).unwrap().member_id;
    bench.sync(&b, 1, &[]);
    bench.sync(&a, 1, &[(&a, "a"), (&b, "b")]);

    let back = bench.join(&fixed("", "one"));
    let answer = bench.joined(back).unwrap();
    assert_eq!((answer.generation, answer.skip_assignment), (1, true));
    assert_eq!(answer.members.len(), 2);
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(bench.group.state(), State::Stable);
    let token = bench.sync(&answer.member_id, 1, &[]);
    assert_eq!(bench.synced(token).unwrap().assignment, "a");
    // The earlier incarnation is fenced.
    assert_eq!(bench.group.heartbeat(bench.now, &a, Some("one"), 1), Err(Code::FencedInstanceId));
    assert_eq!(bench.group.check_commit(bench.now, &a, Some("one"), 1), Err(Code::FencedInstanceId));
}

#[test]
fn a_static_leader_that_cant_skip_is_told_that_the_old_id_leads() {
    let mut bench = Bench::new();
    let first = bench.join(&fixed("", "one"));
    bench.pass(3_000);
    let a = bench.joined(first).unwrap().member_id;
    bench.sync(&a, 1, &[(&a, "a")]);
    let back = bench.join(&Who { version: 8, ..fixed("", "one") });
    let answer = bench.joined(back).unwrap();
    assert_eq!((answer.leader.as_str(), answer.members.len()), (a.as_str(), 0));
    assert_ne!(answer.member_id, a);
}

#[test]
fn a_static_member_leaves_by_its_instance_id() {
    let mut bench = Bench::new();
    bench.join(&fixed("", "one"));
    bench.pass(3_000);
    let by_instance = |member: &str, instance: &str| LeaveInput {
        member_id: member.to_owned(),
        instance_id: Some(instance.to_owned()),
    };
    let leaving = [by_instance("other", "one"), by_instance("", "two"), by_instance("", "one")];
    let results = bench.group.leave(bench.now, &leaving, &mut bench.fx).unwrap();
    assert_eq!(results, [Err(Code::FencedInstanceId), Err(Code::UnknownMemberId), Ok(())]);
    assert_eq!(bench.group.state(), State::Empty);
}

#[test]
fn commits_need_the_current_generation_or_an_empty_group() {
    let (mut bench, a, _) = Bench::stable_pair();
    let now = bench.now;
    assert_eq!(bench.group.check_commit(now, &a, None, 1), Ok(()));
    assert_eq!(bench.group.check_commit(now, &a, None, 0), Err(Code::IllegalGeneration));
    assert_eq!(bench.group.check_commit(now, "stranger", None, 1), Err(Code::UnknownMemberId));
    assert_eq!(bench.group.check_commit(now, "", None, -1), Err(Code::UnknownMemberId));
    let mut empty = ClassicGroup::new(TIMING, now);
    assert_eq!(empty.check_commit(now, "", None, -1), Ok(()));
    assert_eq!(empty.check_commit(now, &a, None, 1), Err(Code::IllegalGeneration));
}

#[test]
fn a_lost_answer_is_repeated_without_a_rebalance() {
    let (mut bench, _, b) = Bench::stable_pair();
    let token = bench.join(&dynamic(&b));
    assert_eq!(bench.joined(token).unwrap().generation, 1);
    assert_eq!(bench.group.state(), State::Stable);
    let token = bench.join(&Who { protocols: vec!["range", "sticky"], ..dynamic(&b) });
    assert_eq!(bench.joined(token), None, "other protocols are news");
    assert_eq!(bench.group.state(), State::PreparingRebalance);
}

#[test]
fn an_assignment_that_could_not_be_written_starts_over() {
    let (mut bench, a, b) = Bench::stable_pair();
    bench.group.persist_failed(bench.now, &mut bench.fx);
    assert_eq!(bench.heartbeat(&a), Err(Code::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&b), Err(Code::RebalanceInProgress));
}

#[test]
fn held_members_are_answered_in_time_under_the_id_they_have() {
    let mut bench = Bench::new();
    bench.group.hold(bench.now, &mut bench.fx);
    let (a, mut token) = bench.arrive(&dynamic(""));
    for _ in 0..20 {
        bench.pass(19_999);
        assert_eq!(bench.joined(token), None);
        bench.pass(1);
        let answer = bench.joined(token).unwrap();
        assert_eq!((answer.error, answer.member_id.as_str()), (Some(Code::MemberIdRequired), a.as_str()));
        bench.pass(5_000);
        assert_eq!(bench.group.members().len(), 1, "between two joins it still counts");
        token = bench.join(&dynamic(&a));
    }
    bench.pass(20_000 + 10_000);
    assert_eq!((bench.group.members().len(), bench.group.state()), (0, State::Empty));
}

#[test]
fn an_old_held_client_that_never_learns_its_id_counts_once() {
    let mut bench = Bench::new();
    bench.group.hold(bench.now, &mut bench.fx);
    let old = Who { version: 3, ..dynamic("") };
    for _ in 0..5 {
        let token = bench.join(&old);
        assert_eq!(bench.group.members().len(), 1);
        bench.pass(20_000);
        assert_eq!(bench.joined(token).unwrap().error, Some(Code::CoordinatorLoadInProgress));
    }
}

#[test]
fn at_the_switch_all_parked_joins_complete_at_once_as_one_generation() {
    let mut bench = Bench::new();
    bench.group.hold(bench.now, &mut bench.fx);
    let tokens = [bench.arrive(&dynamic("")).1, bench.arrive(&dynamic("")).1, bench.join(&fixed("", "s"))];
    bench.pass(1_000);
    bench.group.release(bench.now, &mut bench.fx);
    let answers = tokens.map(|token| bench.joined(token).unwrap());
    assert!(answers.iter().all(|answer| answer.error.is_none() && answer.generation == 1));
    assert_eq!(answers.iter().filter(|answer| !answer.members.is_empty()).count(), 1);
    assert_eq!(bench.group.state(), State::CompletingRebalance);
}

#[test]
fn the_switch_waits_a_moment_for_a_member_between_two_joins() {
    for comes_back in [true, false] {
        let mut bench = Bench::new();
        bench.group.hold(bench.now, &mut bench.fx);
        let (a, join_a) = bench.arrive(&dynamic(""));
        bench.pass(15_000);
        let (_, join_b) = bench.arrive(&dynamic(""));
        bench.pass(5_000);
        assert!(bench.joined(join_a).is_some());
        bench.group.release(bench.now, &mut bench.fx);
        assert_eq!(bench.joined(join_b), None);
        if comes_back {
            bench.pass(200);
            let again = bench.join(&dynamic(&a));
            assert_eq!(bench.joined(again).unwrap().generation, 1);
        } else {
            bench.pass(1_500);
            let again = bench.join(&dynamic(&a));
            assert_eq!(bench.joined(again), None, "it is welcome under its id, in the next generation");
            assert_eq!(bench.group.members().len(), 2);
        }
        assert_eq!(bench.joined(join_b).unwrap().generation, 1);
    }
}

#[test]
fn a_closing_route_evicts_settled_members_and_keeps_those_that_wait() {
    let (mut bench, a, b) = Bench::stable_pair();
    let generation = bench.group.generation();
    bench.group.hold(bench.now, &mut bench.fx);
    assert_eq!(bench.group.state(), State::Empty);
    let now = bench.now;
    assert_eq!(bench.group.heartbeat(now, &a, None, generation), Err(Code::UnknownMemberId));
    assert!(bench.group.check_commit(now, &b, None, generation).is_err());
    let (c, join_c) = bench.arrive(&dynamic(""));
    bench.pass(100);
    bench.group.release(bench.now, &mut bench.fx);
    let answer = bench.joined(join_c).unwrap();
    assert_eq!((answer.leader.as_str(), answer.generation), (c.as_str(), generation + 2));
}

#[test]
fn a_rebalance_under_way_when_the_route_closes_becomes_a_hold() {
    let (mut bench, a, b) = Bench::stable_pair();
    let (c, join_c) = bench.arrive(&dynamic(""));
    let join_a = bench.join(&dynamic(&a));
    bench.group.hold(bench.now, &mut bench.fx);
    let ids: Vec<_> = bench.group.members().map(|member| member.id.clone()).collect();
    assert_eq!(ids, [a.clone(), c], "{b} had not joined");
    bench.pass(19_999);
    assert_eq!((bench.joined(join_a), bench.joined(join_c)), (None, None));
    bench.group.release(bench.now, &mut bench.fx);
    assert_eq!(bench.joined(join_a).unwrap().generation, bench.joined(join_c).unwrap().generation);
}

#[test]
fn a_client_that_goes_away_while_joining_does_not_hold_up_the_others() {
    let mut bench = Bench::new();
    let (_, join_a) = bench.arrive(&dynamic(""));
    let (b, join_b) = bench.arrive(&dynamic(""));
    bench.group.join_abandoned(bench.now, join_a, &mut bench.fx);
    bench.pass(6_000);
    assert_eq!(bench.joined(join_b).unwrap().leader, b);
    assert_eq!(bench.group.members().len(), 1);
}

#[test]
fn a_group_read_back_is_stable_with_the_same_parts() {
    let (bench, a, b) = Bench::stable_pair();
    let record = bench.group.to_record().unwrap();
    let later = Now { mono_ms: 5, wall_ms: 9_000_000 };
    let mut back = ClassicGroup::from_record(TIMING, later, record.clone());
    assert_eq!(back.to_record().unwrap(), record);
    assert_eq!((back.state(), back.leader()), (State::Stable, Some(a.as_str())));
    assert_eq!(back.heartbeat(later, &b, None, 1), Ok(()));
    assert!(back.is_subscribed("t") && !back.is_subscribed("u"));
    assert_eq!(back.next_deadline_ms(), Some(10_005));
}
