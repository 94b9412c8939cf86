//! Many simulated clients against the machine: whatever they do, the invariants hold, and once they behave,
//! the group gets stable with exactly those that live.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    initial_delay_ms: 3_000,
    members_max: 100,
    park_max_ms: 20_000,
    held_grace_ms: 10_000,
    switch_grace_ms: 1_500,
};

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A new client starts; every third one is static, some are old.
    Arrive,
    /// Client n does what its protocol wants next.
    Step(usize),
    /// Client n dies without a word; its connection closes or lingers.
    Crash(usize, bool),
    Leave(usize),
    /// A static client restarts under its instance id.
    Restart(usize),
    Commit(usize, i32),
    Pass(u64),
    Hold,
    Release,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => Just(Op::Arrive),
        12 => (0usize..8).prop_map(Op::Step),
        1 => (0usize..8, any::<bool>()).prop_map(|(n, closes)| Op::Crash(n, closes)),
        1 => (0usize..8).prop_map(Op::Leave),
        1 => (0usize..8).prop_map(Op::Restart),
        2 => (0usize..8, -2i32..1).prop_map(|(n, drift)| Op::Commit(n, drift)),
        4 => (1u64..12_000).prop_map(Op::Pass),
        1 => Just(Op::Hold),
        1 => Just(Op::Release),
    ];
    proptest::collection::vec(op, 1..80)
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    MustJoin,
    Joining(Token),
    MustSync,
    Syncing(Token),
    Member,
}

#[derive(Clone, Debug)]
struct Client {
    id: String,
    instance: Option<String>,
    version: i16,
    generation: i32,
    members: Vec<String>,
    phase: Phase,
    alive: bool,
    number: u64,
}

struct World {
    group: ClassicGroup,
    now: Now,
    tokens: u64,
    clients: Vec<Client>,
    answered: HashSet<Token>,
    /// generation → (leader, protocol), from the answers that clients saw.
    generations: HashMap<i32, (String, Option<String>)>,
    /// Generations for which somebody was told to compute the assignment → who.
    leads: HashMap<i32, String>,
    last_generation: i32,
    /// The newest generation that a client knew when the route last closed.
    closed_at: i32,
}

impl World {
    fn new() -> World {
        let now = Now { mono_ms: 0, wall_ms: 0 };
        World {
            group: ClassicGroup::new(TIMING, now),
            now,
            tokens: 0,
            clients: Vec::new(),
            answered: HashSet::new(),
            generations: HashMap::new(),
            leads: HashMap::new(),
            last_generation: 0,
            closed_at: -1,
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn apply(&mut self, op: Op) {
        let mut fx = Vec::new();
        match op {
            Op::Arrive => self.arrive(),
            Op::Step(n) => self.step(n, &mut fx),
            Op::Crash(n, closes) => self.crash(n, closes, &mut fx),
            Op::Leave(n) => self.leave(n, &mut fx),
            Op::Restart(n) => self.restart(n),
            Op::Commit(n, drift) => self.commit(n, drift),
            Op::Pass(ms) => self.pass(ms),
            Op::Hold => self.hold(&mut fx),
            Op::Release => self.release(&mut fx),
        }
        self.deliver(fx);
        self.check();
    }

    fn arrive(&mut self) {
        let number = self.clients.len() as u64;
        if number >= 8 {
            return;
        }
        self.clients.push(Client {
            id: String::new(),
            instance: (number % 3 == 2).then(|| format!("static-{number}")),
            version: if number % 4 == 3 { 3 } else { 9 },
            generation: -1,
            members: Vec::new(),
            phase: Phase::MustJoin,
            alive: true,
            number,
        });
    }

    fn step(&mut self, n: usize, fx: &mut Effects) {
        let Some(client) = self.clients.get(n).filter(|client| client.alive).cloned() else { return };
        match client.phase {
            Phase::MustJoin => {
                let token = self.token();
                self.clients[n].phase = Phase::Joining(token);
                let input = JoinInput {
                    version: client.version,
                    member_id: client.id.clone(),
                    instance_id: client.instance.clone().filter(|_| client.version >= 5),
                    client_id: format!("client-{}", client.number),
                    client_host: "/h".to_owned(),
                    connection_id: client.number,
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: 30_000,
                    protocol_type: "consumer".to_owned(),
                    protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
                    new_member_id: format!("m-{}", token.0),
                };
                self.group.join(self.now, input, token, fx);
            }
            Phase::MustSync => {
                let token = self.token();
                self.clients[n].phase = Phase::Syncing(token);
                let part = |id: &String| (id.clone(), Bytes::from(id.clone().into_bytes()));
                let input = SyncInput {
                    member_id: client.id.clone(),
                    instance_id: client.instance.clone().filter(|_| client.version >= 5),
                    generation: client.generation,
                    protocol_type: None,
                    protocol: None,
                    assignments: client.members.iter().map(part).collect(),
                };
                self.group.sync(self.now, input, token, fx);
            }
            Phase::Member => {
                let beat = self.group.heartbeat(self.now, &client.id, None, client.generation);
                match beat {
                    Ok(()) => {}
                    Err(Code::RebalanceInProgress) => self.clients[n].phase = Phase::MustJoin,
                    Err(_) => self.forget(n),
                }
            }
            Phase::Joining(_) | Phase::Syncing(_) => {}
        }
    }

    fn forget(&mut self, n: usize) {
        let client = &mut self.clients[n];
        (client.id, client.generation, client.phase) = (String::new(), -1, Phase::MustJoin);
    }

    fn crash(&mut self, n: usize, closes: bool, fx: &mut Effects) {
        let Some(client) = self.clients.get_mut(n) else { return };
        client.alive = false;
        if let (Phase::Joining(token), true) = (client.phase.clone(), closes) {
            self.group.join_abandoned(self.now, token, fx);
        }
    }

    fn leave(&mut self, n: usize, fx: &mut Effects) {
        let Some(client) = self.clients.get_mut(n) else { return };
        client.alive = false;
        let leaving = LeaveInput { member_id: client.id.clone(), instance_id: None };
        let _ = self.group.leave(self.now, &[leaving], fx);
    }

    fn restart(&mut self, n: usize) {
        if self.clients.get(n).is_some_and(|client| client.instance.is_some() && client.alive) {
            self.forget(n);
        }
    }

    fn commit(&mut self, n: usize, drift: i32) {
        let Some(client) = self.clients.get(n).cloned() else { return };
        let generation = client.generation + drift;
        let accepted = self.group.check_commit(self.now, &client.id, None, generation).is_ok();
        if accepted && self.group.state() != State::Empty {
            assert_eq!(generation, self.group.generation(), "an old generation committed");
            assert!(!self.group.is_held(), "a held member committed");
            assert!(generation > self.closed_at, "a commit from before the route closed");
            assert!(self.group.members().any(|member| member.id == client.id));
        }
    }

    fn hold(&mut self, fx: &mut Effects) {
        if !self.group.is_held() {
            self.closed_at = self.last_generation;
        }
        self.group.hold(self.now, fx);
    }

    fn release(&mut self, fx: &mut Effects) {
        let was_held = self.group.is_held();
        let all_parked = self.group.pending_count() == 0 && self.group.members().all(Member::is_joining);
        let parked = self.group.members().len();
        self.group.release(self.now, fx);
        if was_held && all_parked {
            let joined = fx.iter().filter(|effect| matches!(effect, Effect::Join(_, a) if a.error.is_none()));
            assert_eq!(joined.count(), parked, "parked joins complete at the switch");
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while let Some(at) = self.group.next_deadline_ms().filter(|at| *at <= end) {
            self.now.mono_ms = self.now.mono_ms.max(at);
            self.now.wall_ms = self.now.mono_ms as i64;
            let mut fx = Vec::new();
            self.group.on_time(self.now, &mut fx);
            let next = self.group.next_deadline_ms();
            assert!(next.is_none_or(|next| next > self.now.mono_ms), "{next:?} {:?}", self.group);
            self.deliver(fx);
            self.check();
        }
        self.now = Now { mono_ms: end, wall_ms: end as i64 };
    }

    fn deliver(&mut self, fx: Effects) {
        for effect in fx {
            match effect {
                Effect::Persist => {}
                Effect::Join(token, answer) => self.on_joined(token, answer),
                Effect::Sync(token, answer) => self.on_synced(token, answer),
            }
        }
    }

    fn on_joined(&mut self, token: Token, answer: JoinAnswer) {
        assert!(self.answered.insert(token), "answered twice");
        if answer.error.is_none() {
            assert!(!self.group.is_held(), "nobody joins a held group");
            self.note_generation(&answer);
        }
        let Some(n) = self.clients.iter().position(|client| client.phase == Phase::Joining(token)) else {
            return;
        };
        let client = &mut self.clients[n];
        match answer.error {
            None => {
                client.id = answer.member_id;
                client.generation = answer.generation;
                client.members = answer.members.into_iter().map(|member| member.member_id).collect();
                client.phase = Phase::MustSync;
            }
            Some(Code::MemberIdRequired) => {
                client.id = answer.member_id;
                client.phase = Phase::MustJoin;
            }
            Some(Code::CoordinatorLoadInProgress | Code::RebalanceInProgress) => {
                client.phase = Phase::MustJoin
            }
            Some(Code::UnknownMemberId) => self.forget(n),
            Some(other) => panic!("a well-behaved client got {other:?}"),
        }
    }

    fn note_generation(&mut self, answer: &JoinAnswer) {
        assert!(answer.generation >= self.last_generation, "generations only grow");
        self.last_generation = answer.generation;
        let seen = (answer.protocol.clone(), answer.generation);
        let first = self.generations.entry(seen.1).or_insert((answer.leader.clone(), seen.0.clone()));
        assert_eq!(first.1, seen.0, "one protocol in a generation");
        if answer.leader == answer.member_id && !answer.skip_assignment {
            let lead = self.leads.entry(answer.generation).or_insert(answer.member_id.clone());
            assert_eq!(*lead, answer.member_id, "one leader in a generation");
        }
    }

    fn on_synced(&mut self, token: Token, answer: SyncAnswer) {
        assert!(self.answered.insert(token), "answered twice");
        let Some(n) = self.clients.iter().position(|client| client.phase == Phase::Syncing(token)) else {
            return;
        };
        match answer.error {
            None => {
                assert!(!self.group.is_held());
                self.clients[n].phase = Phase::Member;
            }
            Some(Code::RebalanceInProgress) => self.clients[n].phase = Phase::MustJoin,
            Some(_) => self.forget(n),
        }
    }

    fn check(&self) {
        let group = &self.group;
        let count = group.members().len();
        match group.state() {
            State::Empty | State::Dead => assert_eq!(count, 0),
            State::PreparingRebalance if group.is_held() => assert!(count > 0),
            State::PreparingRebalance => {}
            State::CompletingRebalance | State::Stable => {
                assert!(count > 0);
                assert!(!group.is_held());
                assert!(group.members().all(|member| !member.is_joining()), "nobody waits for nothing");
            }
        }
        if count > 0 {
            let leader = group.leader().expect("a group with members has a leader");
            assert!(group.members().any(|member| member.id == leader));
        }
        for (instance, id) in &group.statics {
            assert_eq!(group.members[id].instance_id.as_ref(), Some(instance));
        }
        assert!(group.pending.keys().all(|id| !group.members.contains_key(id)));
    }

    /// Everybody behaves from now on.
    fn settle(&mut self) {
        self.apply(Op::Release);
        for _ in 0..400 {
            for n in 0..self.clients.len() {
                self.apply(Op::Step(n));
            }
            self.apply(Op::Pass(1_000));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_clients_do_the_invariants_hold_and_the_group_settles(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.settle();
        let mut alive: Vec<_> =
            world.clients.iter().filter(|client| client.alive).map(|client| client.id.clone()).collect();
        let mut members: Vec<_> = world.group.members().map(|member| member.id.clone()).collect();
        alive.sort();
        members.sort();
        prop_assert_eq!(&members, &alive);
        let expected = if alive.is_empty() { State::Empty } else { State::Stable };
        prop_assert_eq!(world.group.state(), expected);
        prop_assert!(world.clients.iter().filter(|client| client.alive).all(|client| client.phase == Phase::Member));
    }

    #[test]
    fn a_held_group_counts_each_waiting_client_exactly_once(clients in 1usize..8, steps in 1usize..60) {
        let mut world = World::new();
        world.apply(Op::Hold);
        for _ in 0..clients {
            world.apply(Op::Arrive);
        }
        for _ in 0..3 {
            for n in 0..clients {
                world.apply(Op::Step(n));
            }
        }
        for _ in 0..steps {
            prop_assert_eq!(world.group.members().len(), clients);
            world.apply(Op::Pass(3_000));
            for n in 0..clients {
                world.apply(Op::Step(n));
            }
        }
    }
}

#[test]
fn a_member_that_waits_while_the_route_closes_commits_nothing_more_of_its_generation() {
    let mut world = World::new();
    let ops = [
        // Client 0 asks for an id and never comes back with it: the others' joins wait.
        Op::Arrive,
        Op::Step(0),
        Op::Arrive,
        Op::Hold,
        Op::Step(1),
        Op::Step(1),
        Op::Release,
        Op::Pass(1_500),
        // Client 1 is in generation 1 until a third one comes, and joins again.
        Op::Arrive,
        Op::Arrive,
        Op::Step(2),
        Op::Step(1),
        Op::Step(1),
        Op::Hold,
        Op::Commit(1, 0),
        Op::Release,
        Op::Commit(1, 0),
    ];
    for op in ops {
        world.apply(op);
    }
    let client = world.clients[1].clone();
    assert_eq!((client.generation, world.group.state()), (1, State::PreparingRebalance));
    assert!(world.group.members().any(|member| member.id == client.id && member.is_joining()));
    let refused = world.group.check_commit(world.now, &client.id, None, client.generation);
    assert_eq!(refused, Err(Code::IllegalGeneration));
}
