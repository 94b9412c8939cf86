//! What every kind of WAL must do, held against each of them: on a real disk, on one that fails, on a store in memory
//! and on one that storms.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use object_store::memory::InMemory;
use prometheus::Registry;
use tokio::time::timeout;
use towpath_env::Env;
use towpath_shared_log::fault::{Faults, FaultyStore};
use uuid::Uuid;

use super::told::Told;
use super::*;
use crate::metadata::WalPosition;
use crate::storage::StorageMetrics;
use crate::storage::metrics::WalMetrics;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One kind of WAL in one surrounding.
trait Harness: Sized {
    fn new() -> Self;

    /// Comes up with what is durable, behind what was trimmed.
    async fn open(&mut self) -> (Wal, Vec<Replayed>);

    /// The process dies; what was not durable may be gone.
    async fn crash(&mut self, wal: Wal);

    /// What lies below is given up, as an upload does it.
    async fn trim(&mut self, wal: &Wal, below: u64);

    /// Nothing can be made durable from now on, or it can again. False: this surrounding has no trouble.
    fn trouble(&mut self, begins: bool) -> bool;
}

fn metrics() -> WalMetrics {
    StorageMetrics::register(&Registry::new()).unwrap().wal
}

/// What the disk WAL's harnesses share.
#[derive(Default)]
struct DiskState {
    wal_id: Option<Uuid>,
    trimmed_to: u64,
}

impl DiskState {
    fn open(&mut self, files: Arc<dyn FileSystem>) -> (Wal, Vec<Replayed>) {
        let settings = DiskWalSettings {
            expected: self.wal_id,
            sealed: None,
            trimmed_to: self.trimmed_to,
            accept_loss: false,
            file_bytes: 16 * 1024,
            spare_files_max: 2,
            group_bytes_max: 4096,
        };
        let mut records = Vec::new();
        let each = &mut |record| records.push(record);
        let wal = Wal::open_disk(files, settings, Env::real(), metrics(), each).unwrap();
        self.wal_id = Some(wal.id());
        (wal, records)
    }
}

struct RealDisk {
    state: DiskState,
    folder: tempfile::TempDir,
}

impl Harness for RealDisk {
    fn new() -> RealDisk {
        RealDisk { state: DiskState::default(), folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&mut self) -> (Wal, Vec<Replayed>) {
        self.state.open(Arc::new(DiskFileSystem::open(self.folder.path()).unwrap()))
    }

    /// What another process would find: the dead one's lock is gone, its files are not. A later file says what the
    /// ones before it hold, so the newest is copied first; spares may come and go meanwhile, and what was trimmed
    /// may go.
    async fn crash(&mut self, wal: Wal) {
        let after = tempfile::tempdir().unwrap();
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".wal")).collect();
        names.sort();
        for name in names.iter().rev() {
            match std::fs::copy(self.folder.path().join(name), after.path().join(name)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
        wal.close().await;
        drop(wal);
        self.folder = after;
    }

    async fn trim(&mut self, wal: &Wal, below: u64) {
        self.state.trimmed_to = below;
        wal.trim(below);
    }

    fn trouble(&mut self, _: bool) -> bool {
        false
    }
}

struct FaultyDisk {
    state: DiskState,
    files: FaultyFileSystem,
}

impl Harness for FaultyDisk {
    fn new() -> FaultyDisk {
        FaultyDisk { state: DiskState::default(), files: FaultyFileSystem::default() }
    }

    async fn open(&mut self) -> (Wal, Vec<Replayed>) {
        self.state.open(Arc::new(self.files.clone()))
    }

    async fn crash(&mut self, wal: Wal) {
        let mut survives = false;
        let after = self.files.crash(32, |_| {
            survives = !survives;
            survives
        });
        wal.close().await;
        drop(wal);
        self.files = after;
    }

    async fn trim(&mut self, wal: &Wal, below: u64) {
        self.state.trimmed_to = below;
        wal.trim(below);
    }

    fn trouble(&mut self, begins: bool) -> bool {
        self.files.set_full(begins);
        true
    }
}

/// An object WAL; `STORMY`: on a store that misbehaves.
struct Object<const STORMY: bool> {
    env: Env,
    store: Arc<FaultyStore>,
    epoch: i64,
    position: WalPosition,
    trimmed_to: u64,
}

const LEASE: Duration = Duration::from_millis(100);

impl<const STORMY: bool> Object<STORMY> {
    fn usual(&self) -> Faults {
        let delay_max = Duration::from_millis(3);
        if STORMY { Faults { delay_max, ..Faults::STORMY } } else { Faults::NONE }
    }
}

impl<const STORMY: bool> Harness for Object<STORMY> {
    fn new() -> Self {
        let env = Env::seeded(11, 0);
        let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
        let position = WalPosition { epoch: 0, slot: 0, lease_ms: LEASE.as_millis() as u64 };
        let new = Object { env, store, epoch: -1, position, trimmed_to: 0 };
        new.store.set_faults(new.usual());
        new
    }

    async fn open(&mut self) -> (Wal, Vec<Replayed>) {
        self.epoch += 1;
        let own = Registration { epoch: self.epoch, address: "here:9092".to_owned() };
        let newest = own.clone();
        let settings = ObjectWalSettings {
            node_id: 1,
            wal_id: Uuid::from_u128(4),
            position: self.position,
            trimmed_to: self.trimmed_to,
            known_below: 0,
            accept_loss: false,
            own,
            newest: Arc::new(move || std::future::ready(Ok(newest.clone())).boxed()),
            bounds: ObjectWalBounds {
                group_bytes_max: 4096,
                puts_inflight_max: 4,
                flush_interval: Duration::from_millis(5),
                request_timeout: Duration::from_millis(500),
                lease: LEASE,
                delete_grace: Duration::from_secs(600),
            },
        };
        let opened =
            Wal::open_object(self.store.clone(), settings, self.env.clone(), metrics()).await.unwrap();
        opened.0.ready().await;
        opened
    }

    async fn crash(&mut self, wal: Wal) {
        wal.kill();
    }

    async fn trim(&mut self, wal: &Wal, below: u64) {
        self.trimmed_to = below;
        self.position = wal.position(below).unwrap();
        wal.trim(below);
    }

    fn trouble(&mut self, begins: bool) -> bool {
        let silent = Faults { silences: 1_000, ..Faults::NONE };
        self.store.set_faults(if begins { silent } else { self.usual() });
        true
    }
}

/// An open WAL and all that was appended to it.
struct Running {
    wal: Wal,
    replayed: Vec<Replayed>,
    told: Arc<Told>,
    bodies: Vec<Bytes>,
}

impl Running {
    async fn open(harness: &mut impl Harness) -> Running {
        let (wal, replayed) = timeout(PATIENCE, harness.open()).await.unwrap();
        Running { wal, replayed, told: Arc::default(), bodies: Vec::new() }
    }

    /// A body of this size, told from others by its number.
    fn append(&mut self, size: usize) -> u64 {
        let mut body = format!("{}|", self.bodies.len()).into_bytes();
        body.resize(body.len().max(size), b'x');
        let (body, head) = (Bytes::from(body), Bytes::from_static(b"head"));
        self.bodies.push(body.clone());
        let (owner, mark) = (self.told.clone(), self.bodies.len() as i64);
        self.wal.append(WalRecord { head, body, body_crc: None, owner, mark })
    }

    async fn all_durable(&self) {
        timeout(PATIENCE, self.told.durable(self.bodies.len() as i64)).await.expect("durable in time");
    }

    /// What was replayed is exactly this, in order, from this sequence number on.
    fn assert_replayed(&self, first: u64, bodies: &[Bytes]) {
        let replayed = self.replayed.iter().map(|record| (record.sequence, record.body.clone()));
        assert!(self.replayed.iter().all(|record| record.head == b"head"[..]));
        assert_eq!(replayed.collect::<Vec<_>>(), (first..).zip(bodies.iter().cloned()).collect::<Vec<_>>());
    }
}

async fn what_was_acknowledged_is_replayed_once_and_in_order<H: Harness>() {
    let mut harness = H::new();
    let mut expected = Vec::new();
    for _ in 0..3 {
        let mut running = Running::open(&mut harness).await;
        running.assert_replayed(0, &expected);
        for number in 0..100 {
            assert_eq!(running.append(number * 7), expected.len() as u64 + number as u64);
            tokio::task::yield_now().await;
        }
        running.all_durable().await;
        expected.append(&mut running.bodies);
        harness.crash(running.wal).await;
    }
}

async fn of_what_was_not_acknowledged_a_whole_prefix_comes_back<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    for _ in 0..50 {
        running.append(300);
    }
    tokio::task::yield_now().await;
    let acknowledged = running.told.mark() as usize;
    let bodies = std::mem::take(&mut running.bodies);
    harness.crash(running.wal).await;
    let after = Running::open(&mut harness).await;
    assert!(after.replayed.len() >= acknowledged);
    after.assert_replayed(0, &bodies[..after.replayed.len()]);
    assert_eq!(after.wal.next_sequence(), after.replayed.len() as u64);
}

async fn records_of_every_size_come_back_whole<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    for size in [0, 1, 7, 8, 9, 511, 512, 513, 2047, 2048, 2049, 5000, 3, 40_000, 20_001] {
        running.append(size);
    }
    running.all_durable().await;
    let bodies = std::mem::take(&mut running.bodies);
    harness.crash(running.wal).await;
    Running::open(&mut harness).await.assert_replayed(0, &bodies);
}

async fn what_is_trimmed_is_not_replayed_and_the_rest_is<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    for round in 1..5 {
        for _ in 0..40 {
            running.append(200);
        }
        running.all_durable().await;
        harness.trim(&running.wal, round * 40 - 13).await;
    }
    let rest = running.bodies.split_off(4 * 40 - 13);
    harness.crash(running.wal).await;
    let after = Running::open(&mut harness).await;
    after.assert_replayed(147, &rest);
    harness.trim(&after.wal, 160).await;
    harness.crash(after.wal).await;
    let empty = Running::open(&mut harness).await;
    assert_eq!((empty.replayed.len(), empty.wal.next_sequence()), (0, 160));
}

async fn closing_makes_durable_what_is_queued_and_refuses_what_comes<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    for _ in 0..100 {
        running.append(700);
    }
    timeout(PATIENCE, running.wal.close()).await.unwrap();
    assert_eq!((running.told.mark(), running.wal.queued_bytes()), (100, 0));
    assert_eq!(running.wal.accepting(), Err(WalError::Closed));
    let bodies = running.bodies.clone();
    running.append(5);
    assert_eq!(timeout(PATIENCE, running.told.failed()).await.unwrap(), WalError::Closed);
    drop(running);
    Running::open(&mut harness).await.assert_replayed(0, &bodies);
}

async fn nothing_is_acknowledged_once_another_has_taken_over<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    running.append(10);
    running.all_durable().await;
    // What is on its way stays there.
    harness.trouble(true);
    let by = FencedBy { node_id: 1, epoch: 9, address: "there:9092".to_owned() };
    running.wal.fenced(by.clone());
    running.told.silence();
    harness.trouble(false);
    running.append(10);
    let fenced = WalError::Fenced(by);
    assert_eq!(timeout(PATIENCE, running.told.failed()).await.unwrap(), fenced);
    assert_eq!(timeout(PATIENCE, running.wal.failed()).await.unwrap(), fenced);
    assert_eq!(running.wal.accepting(), Err(fenced));
    timeout(PATIENCE, running.wal.close()).await.expect("there is nothing to wait for");
}

async fn in_trouble_nothing_is_taken_or_acknowledged_and_it_recovers_by_itself<H: Harness>() {
    let mut harness = H::new();
    let mut running = Running::open(&mut harness).await;
    running.append(10);
    running.all_durable().await;
    if !harness.trouble(true) {
        return;
    }
    let held = async {
        // A full disk is noticed at the end of a file.
        while running.wal.accepting().is_ok() && running.wal.queued_bytes() < 1 << 20 {
            running.append(500);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while running.wal.accepting().is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, held).await.unwrap();
    let refused = running.wal.accepting().unwrap_err();
    assert!(matches!(refused, WalError::Full | WalError::Unavailable { .. }), "{refused}");
    let told = running.told.mark();
    assert!((told as usize) < running.bodies.len());
    harness.trouble(false);
    running.all_durable().await;
    assert_eq!(running.wal.accepting(), Ok(()));
    let bodies = std::mem::take(&mut running.bodies);
    harness.crash(running.wal).await;
    Running::open(&mut harness).await.assert_replayed(0, &bodies);
}

/// A test of each claim for one harness.
macro_rules! claims_hold {
    ($name:ident, $harness:ty, $($claim:ident),+) => {
        mod $name {
            use super::*;

            $(#[tokio::test]
            async fn $claim() {
                super::$claim::<$harness>().await;
            })+
        }
    };
}

macro_rules! all_claims_hold {
    ($($name:ident: $harness:ty),+) => {
        $(claims_hold!(
            $name,
            $harness,
            what_was_acknowledged_is_replayed_once_and_in_order,
            of_what_was_not_acknowledged_a_whole_prefix_comes_back,
            records_of_every_size_come_back_whole,
            what_is_trimmed_is_not_replayed_and_the_rest_is,
            closing_makes_durable_what_is_queued_and_refuses_what_comes,
            nothing_is_acknowledged_once_another_has_taken_over,
            in_trouble_nothing_is_taken_or_acknowledged_and_it_recovers_by_itself
        );)+
    };
}

all_claims_hold!(
    on_a_disk: RealDisk,
    on_a_disk_that_fails: FaultyDisk,
    on_a_store: Object<false>,
    on_a_stormy_store: Object<true>
);
