//! Brokers of one id on one store that misbehaves, many seeds: whatever was acknowledged is replayed, and nothing is
//! acknowledged once a successor serves.

mod losses;
mod races;
mod stops;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;
use towpath_env::Env;
use towpath_shared_log::fault::{Faults, FaultyStore};
use uuid::Uuid;

use super::super::told::Told;
use super::super::{FencedBy, Wal, WalError, WalRecord};
use super::*;
use crate::storage::{StorageMetrics, WalOpenError};

const NODE: i32 = 1;
const WAL_ID: Uuid = Uuid::from_u128(77);
const LEASE: Duration = Duration::from_millis(3_000);

/// What the metadata would hold: the newest registration, and how much of the WAL was given up.
#[derive(Clone)]
struct Registrar(Arc<Mutex<Registered>>, Arc<watch::Sender<bool>>);

#[derive(Clone, Copy)]
struct Registered {
    epoch: i64,
    position: WalPosition,
    trimmed_to: u64,
    known_below: u64,
}

impl Registrar {
    fn new() -> Registrar {
        let position = WalPosition { epoch: 0, slot: 0, lease_ms: LEASE.as_millis() as u64 };
        let held = Registered { epoch: -1, position, trimmed_to: 0, known_below: 0 };
        Registrar(Arc::new(Mutex::new(held)), Arc::default())
    }

    fn register(&self) -> Registered {
        let mut held = self.0.lock();
        held.epoch += 1;
        *held
    }

    /// From now on the metadata does not answer, or does again, also whoever waits.
    fn silence(&self, silent: bool) {
        self.1.send_replace(silent);
    }

    fn newest(&self) -> AskNewest {
        let registrar = self.clone();
        Arc::new(move || {
            let registrar = registrar.clone();
            async move {
                let mut silent = registrar.1.subscribe();
                silent.wait_for(|silent| !silent).await.map_err(|error| error.to_string())?;
                let epoch = registrar.0.lock().epoch;
                Ok(registration(epoch))
            }
            .boxed()
        })
    }
}

fn registration(epoch: i64) -> Registration {
    Registration { epoch, address: format!("host-{epoch}:9092") }
}

struct World {
    env: Env,
    /// What all of them share, and how it misbehaves for those that have no way of their own to it.
    objects: Arc<InMemory>,
    store: Arc<FaultyStore>,
    registrar: Registrar,
    grace: Duration,
    group_bytes_max: usize,
}

/// One broker's WAL, and what it acknowledged.
struct Running {
    wal: Wal,
    epoch: i64,
    told: Arc<Told>,
    replayed: Vec<(u64, Bytes)>,
    appended: Vec<(u64, Bytes)>,
}

impl World {
    fn new(seed: u64) -> World {
        let env = Env::seeded(seed, 0);
        let objects = Arc::new(InMemory::new());
        let store = FaultyStore::new(objects.clone(), env.clone(), Faults::NONE);
        let (registrar, grace) = (Registrar::new(), Duration::from_secs(600));
        World { env, objects, store, registrar, grace, group_bytes_max: 600 }
    }

    async fn open_as(&self, held: Registered) -> Result<Running, WalOpenError> {
        self.open_on(&self.store, held).await
    }

    /// As [`World::open_as`], giving up what is damaged.
    async fn open_in_spite(&self, held: Registered) -> Running {
        self.open_with(&self.store, held, true).await.unwrap()
    }

    async fn open_on(&self, store: &Arc<FaultyStore>, held: Registered) -> Result<Running, WalOpenError> {
        self.open_with(store, held, false).await
    }

    async fn open_with(
        &self,
        store: &Arc<FaultyStore>,
        held: Registered,
        accept_loss: bool,
    ) -> Result<Running, WalOpenError> {
        let metrics = StorageMetrics::register(&Registry::new()).unwrap();
        let settings = ObjectWalSettings {
            node_id: NODE,
            wal_id: WAL_ID,
            position: held.position,
            trimmed_to: held.trimmed_to,
            known_below: held.known_below,
            accept_loss,
            own: registration(held.epoch),
            newest: self.registrar.newest(),
            bounds: ObjectWalBounds {
                group_bytes_max: self.group_bytes_max,
                puts_inflight_max: 4,
                flush_interval: Duration::from_millis(20),
                request_timeout: Duration::from_secs(2),
                lease: LEASE,
                delete_grace: self.grace,
            },
        };
        let store: Arc<dyn ObjectStore> = store.clone();
        let (wal, records) = Wal::open_object(store, settings, self.env.clone(), metrics.wal).await?;
        let replayed = records.into_iter().map(|record| (record.sequence, record.body)).collect();
        Ok(Running { wal, epoch: held.epoch, told: Arc::default(), replayed, appended: Vec::new() })
    }

    /// Comes up as a broker does: registers, walks, waits for its predecessor's lease.
    async fn start(&self) -> Running {
        let running = self.open_as(self.registrar.register()).await.unwrap();
        running.wal.ready().await;
        running
    }

    async fn slots(&self) -> usize {
        self.epochs().await.len()
    }

    /// Of each object that is there.
    async fn epochs(&self) -> Vec<i64> {
        let listed = self.objects.list(None);
        let objects = futures::StreamExt::collect::<Vec<_>>(listed).await;
        let epoch = |name: &str| slot::Place::of_path(name).unwrap().0;
        let mut epochs: Vec<_> =
            objects.iter().map(|object| epoch(object.as_ref().unwrap().location.as_ref())).collect();
        epochs.sort_unstable();
        epochs
    }

    /// What an upload does: everything durable below is given up.
    async fn trim(&self, running: &Running, below: u64) {
        let mut durable = running.wal.durable();
        durable.wait_for(|durable| *durable >= below).await.unwrap();
        let mut held = self.registrar.0.lock();
        assert_eq!(held.epoch, running.epoch, "only the newest may trim");
        held.trimmed_to = below;
        held.position = running.wal.position(below).unwrap();
        drop(held);
        running.wal.trim(below);
    }
}

impl Running {
    fn append(&mut self, env: &Env) {
        let size = 20 + env.random_u64() % 200;
        let body =
            Bytes::from(format!("{}-{:0>size$}", self.epoch, self.appended.len(), size = size as usize));
        let mark = self.appended.len() as i64 + 1;
        let owner = self.told.clone();
        let record = WalRecord { head: Bytes::new(), body: body.clone(), body_crc: None, owner, mark };
        let sequence = self.wal.append(record);
        self.appended.push((sequence, body));
    }

    async fn all_durable(&self) {
        self.told.durable(self.appended.len() as i64).await;
    }

    fn acknowledged(&self) -> &[(u64, Bytes)] {
        &self.appended[..self.told.mark() as usize]
    }
}

/// What the checker holds against replays: by sequence, what was acknowledged.
#[derive(Default)]
struct Checker(BTreeMap<u64, Bytes>);

impl Checker {
    fn note(&mut self, running: &Running) {
        self.0.extend(running.acknowledged().iter().cloned());
    }

    fn holds(&self, running: &Running, trimmed_to: u64, context: &str) {
        let replayed: BTreeMap<u64, Bytes> = running.replayed.iter().cloned().collect();
        assert_eq!(replayed.len(), running.replayed.len(), "{context}: replayed twice");
        for (sequence, body) in self.0.range(trimmed_to..) {
            assert_eq!(replayed.get(sequence), Some(body), "{context}: record {sequence}");
        }
        let order: Vec<_> = running.replayed.iter().map(|(sequence, _)| *sequence).collect();
        assert!(order.is_sorted(), "{context}: {order:?}");
    }
}

/// Nothing of a predecessor may be told from here on.
fn silence(predecessor: &Running) {
    predecessor.told.silence();
}

#[tokio::test(start_paused = true)]
async fn idle_a_record_is_put_at_once_and_under_load_records_share_slots() {
    let world = World::new(1);
    let mut one = world.start().await;
    let before = (world.env.elapsed(), world.store.requests());
    one.append(&world.env);
    one.all_durable().await;
    assert_eq!(world.env.elapsed(), before.0, "nothing waits on a timer when idle");
    let slow = Faults { delay_max: Duration::from_millis(50), ..Faults::NONE };
    world.store.set_faults(slow);
    for _ in 0..200 {
        one.append(&world.env);
        world.env.sleep(Duration::from_millis(1)).await;
    }
    one.all_durable().await;
    let puts = world.store.requests().puts - before.1.puts;
    assert!((10..90).contains(&puts), "{puts} puts for 201 records");
    assert_eq!(world.store.requests().gets, before.1.gets, "no GET per acknowledgement");
}

#[tokio::test(start_paused = true)]
async fn brokers_that_die_and_come_up_on_a_stormy_store_lose_nothing_acknowledged() {
    let mut acknowledged = 0;
    for seed in 0..120 {
        let world = World::new(seed);
        let mut checker = Checker::default();
        let mut trimmed_to = 0;
        for life in 0..5 {
            world.store.set_faults(Faults::NONE);
            let mut running = world.start().await;
            checker.holds(&running, trimmed_to, &format!("seed {seed}, life {life}"));
            world.store.set_faults(Faults::STORMY);
            for number in 0..60 {
                running.append(&world.env);
                world.env.sleep(Duration::from_millis(world.env.random_u64() % 30)).await;
                if number == 30 && life % 2 == 1 {
                    trimmed_to = *running.wal.durable().borrow();
                    world.trim(&running, trimmed_to).await;
                }
            }
            if world.env.random_u64().is_multiple_of(3) {
                running.all_durable().await;
            }
            checker.note(&running);
            running.wal.kill();
        }
        acknowledged += checker.0.len();
    }
    assert!(acknowledged > 120 * 100, "hardly anything was acknowledged: {acknowledged}");
}

#[tokio::test(start_paused = true)]
async fn a_successor_fences_with_puts_in_flight_and_the_first_never_acknowledges_again() {
    for seed in 0..120 {
        let world = World::new(seed);
        let mut one = world.start().await;
        let faults = Faults { silences: 0, ..Faults::STORMY };
        world.store.set_faults(faults);
        let (env, stop) = (world.env.clone(), Arc::new(AtomicBool::new(false)));
        let load = tokio::spawn({
            let stop = stop.clone();
            async move {
                while !stop.load(Ordering::SeqCst) {
                    one.append(&env);
                    env.sleep(Duration::from_millis(env.random_u64() % 10)).await;
                }
                one
            }
        });
        world.env.sleep(Duration::from_millis(world.env.random_u64() % 2_000)).await;
        let mut two = world.start().await;
        stop.store(true, Ordering::SeqCst);
        let one = load.await.unwrap();
        silence(&one);
        let mut checker = Checker::default();
        checker.note(&one);
        checker.holds(&two, 0, &format!("seed {seed}"));
        two.append(&world.env);
        two.all_durable().await;
        let failed = one.wal.failed().await;
        assert_eq!(failed, WalError::Fenced(by(1)), "seed {seed}");
        assert!(one.wal.lease().check().await.is_err());
    }
}

fn by(epoch: i64) -> FencedBy {
    FencedBy { node_id: NODE, epoch, address: registration(epoch).address }
}

#[tokio::test(start_paused = true)]
async fn of_successors_that_come_up_at_once_the_newest_goes_on_and_has_everything() {
    for seed in 0..120 {
        let world = World::new(seed);
        let mut one = world.start().await;
        for _ in 0..30 {
            one.append(&world.env);
        }
        one.all_durable().await;
        let mut checker = Checker::default();
        checker.note(&one);
        one.wal.kill();
        world.store.set_faults(Faults::STORMY);
        let (two, three) = (world.registrar.register(), world.registrar.register());
        let late = Duration::from_millis(world.env.random_u64() % 500);
        let (two, three) = tokio::join!(world.open_as(two), async {
            world.env.sleep(late).await;
            world.open_as(three).await
        });
        let context = format!("seed {seed}");
        let mut three = three.unwrap();
        checker.holds(&three, 0, &context);
        three.append(&world.env);
        three.all_durable().await;
        match two {
            Err(WalOpenError::Superseded(newer)) => assert_eq!(newer, by(2), "{context}"),
            Err(error) => panic!("{context}: {error}"),
            Ok(mut two) => {
                silence(&two);
                two.append(&world.env);
                assert!(matches!(two.wal.failed().await, WalError::Fenced(_)), "{context}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_paused_until_its_slots_were_collected_neither_acknowledges_nor_answers() {
    for seed in 0..60 {
        let world = World::new(seed);
        let way = FaultyStore::new(world.objects.clone(), world.env.clone(), Faults::NONE);
        let mut one = world.open_on(&way, world.registrar.register()).await.unwrap();
        for _ in 0..20 {
            one.append(&world.env);
        }
        one.all_durable().await;
        // Its last puts take effect or not, and then nothing of it moves.
        way.set_faults(Faults { silences: 1_000, ..Faults::NONE });
        for _ in 0..20 {
            one.append(&world.env);
        }
        world.env.sleep(Duration::from_millis(100)).await;
        let mut two = world.start().await;
        silence(&one);
        two.append(&world.env);
        two.all_durable().await;
        world.trim(&two, two.wal.next_sequence()).await;
        world.env.sleep(world.grace * 2).await;
        assert!(world.slots().await <= 5, "seed {seed}: collected, but for the fence and what came late");
        way.set_faults(Faults::NONE);
        let lease = one.wal.lease().clone();
        assert!(lease.check().await.is_err(), "seed {seed}");
        assert!(matches!(one.wal.failed().await, WalError::Fenced(_)), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_older_than_half_a_grace_is_not_trusted_where_slots_may_have_been_collected() {
    let mut world = World::new(5);
    world.grace = Duration::from_secs(60);
    let mut one = world.start().await;
    one.append(&world.env);
    one.all_durable().await;
    let slot = world.slots().await as u64;
    // A successor took over and its collector has passed: nothing of it is left where the first one looks. Its
    // fence always is; here it is taken away to show that the age of the proof alone is enough.
    let held = world.registrar.register();
    let two = world.open_as(held).await.unwrap();
    let fence = world_path(0, slot);
    world.store.delete(&fence).await.unwrap();
    world.env.sleep(Duration::from_secs(31)).await;
    silence(&one);
    one.append(&world.env);
    assert_eq!(one.wal.failed().await, WalError::Fenced(by(1)));
    drop(two);
}

fn world_path(epoch: i64, slot: u64) -> object_store::path::Path {
    super::slot::Place { node_id: NODE, wal_id: WAL_ID, epoch, slot }.path()
}

#[tokio::test(start_paused = true)]
async fn answers_end_a_lease_after_the_last_proof_and_a_successor_serves_no_sooner() {
    for seed in 0..60 {
        let world = World::new(seed);
        let mut one = world.start().await;
        world.store.set_faults(Faults { delay_max: Duration::from_millis(900), ..Faults::NONE });
        one.append(&world.env);
        one.all_durable().await;
        // Clients keep asking the first one, until it may not answer.
        let answered_at = tokio::spawn({
            let (lease, env) = (one.wal.lease().clone(), world.env.clone());
            async move {
                let mut last = env.elapsed();
                while lease.check().await.is_ok() {
                    last = env.elapsed();
                    env.sleep(Duration::from_millis(7)).await;
                }
                last
            }
        });
        world.env.sleep(Duration::from_millis(world.env.random_u64() % 9_000)).await;
        assert!(!answered_at.is_finished(), "seed {seed}: it is alone");
        let two = world.start().await;
        let serves_at = world.env.elapsed();
        let answered_at = tokio::time::timeout(LEASE * 5, answered_at).await.expect("it answers for ever");
        assert!(answered_at.unwrap() <= serves_at, "seed {seed}: both answered");
        two.wal.lease().check().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_asks_the_store_nothing_and_its_first_answer_costs_one_request() {
    let world = World::new(3);
    let mut one = world.start().await;
    for _ in 0..5 {
        one.append(&world.env);
        one.all_durable().await;
    }
    world.env.sleep(Duration::from_secs(1)).await;
    let before = world.store.requests();
    assert_eq!(before.lists, 1, "what earlier lives left is listed once");
    world.env.sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.store.requests(), before);
    one.wal.lease().check().await.unwrap();
    one.wal.lease().check().await.unwrap();
    assert_eq!(world.store.requests().gets, before.gets + 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_stop_the_next_start_does_not_wait_for_a_lease() {
    let world = World::new(3);
    let mut one = world.start().await;
    one.append(&world.env);
    one.wal.close().await;
    assert_eq!(one.acknowledged().len(), 1, "what was queued is durable");
    assert!(one.wal.lease().check().await.is_err());
    let at = world.env.elapsed();
    let two = world.start().await;
    assert_eq!((world.env.elapsed(), two.replayed), (at, one.appended.clone()));
    // Without one it does.
    two.wal.kill();
    world.start().await;
    assert!(world.env.elapsed() >= at + LEASE);
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_is_deleted_after_the_grace_and_fences_stay() {
    let world = World::new(9);
    let mut trimmed_to = 0;
    for _ in 0..4 {
        let mut running = world.start().await;
        for _ in 0..10 {
            running.append(&world.env);
            running.all_durable().await;
        }
        trimmed_to = running.wal.next_sequence() - 3;
        world.trim(&running, trimmed_to).await;
        let slots = world.slots().await;
        world.env.sleep(world.grace - Duration::from_secs(30)).await;
        assert_eq!(world.slots().await, slots, "within the grace");
        running.wal.kill();
    }
    // The collector of a last life finds what the killed ones left.
    let last = world.start().await;
    assert_eq!(last.replayed.len(), 3);
    world.trim(&last, trimmed_to + 3).await;
    world.env.sleep(world.grace * 2).await;
    assert_eq!(world.epochs().await, [0, 1, 2, 3], "four fences");
    last.wal.kill();
    let again = world.start().await;
    assert_eq!((again.epoch, again.replayed.len()), (5, 0));
    assert_eq!(world.epochs().await, [0, 1, 2, 3, 4], "each leads to the next");
}

#[tokio::test(start_paused = true)]
async fn a_broker_with_a_disk_wal_deletes_what_an_object_wal_left_but_for_fences() {
    let world = World::new(9);
    for _ in 0..3 {
        let mut running = world.start().await;
        for _ in 0..4 {
            running.append(&world.env);
            running.all_durable().await;
        }
        running.wal.close().await;
    }
    assert_eq!(world.epochs().await.len(), 3 * 5 + 2);
    // Of a broker that came after; it is none of this one's.
    world.store.put(&world_path(4, 0), Bytes::from_static(b"records").into()).await.unwrap();
    let metrics = StorageMetrics::register(&Registry::new()).unwrap();
    let outside: (Arc<dyn ObjectStore>, _, _) = (world.store.clone(), world.env.clone(), metrics.wal);
    let times = (Duration::from_secs(2), world.grace);
    let begun = world.env.elapsed();
    tokio::join!(collect_object_wal(outside, (NODE, 3), times), async {
        world.env.sleep(world.grace - Duration::from_secs(1)).await;
        assert_eq!(world.epochs().await.len(), 3 * 5 + 2 + 1, "within the grace");
    });
    assert_eq!((world.epochs().await, world.env.elapsed() - begun), (vec![0, 1, 4], world.grace));
}
