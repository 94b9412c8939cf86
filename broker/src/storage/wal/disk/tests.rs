//! The disk WAL against a disk that misbehaves.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::Registry;
use proptest::prelude::*;
use towpath_env::Env;
use uuid::Uuid;

use bytes::Bytes;

use super::super::{Owner, WalRecord};
use super::*;
use crate::storage::StorageMetrics;

const DEADLINE: Duration = Duration::from_secs(20);

/// Remembers what it was told.
#[derive(Default)]
struct Told {
    state: Mutex<(i64, Option<WalError>)>,
    changed: Condvar,
}

impl Told {
    fn wait_durable(&self, mark: i64) {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| state.0 < mark, DEADLINE);
        assert!(!waited.timed_out(), "durable up to {}, not {mark}", state.0);
    }

    fn wait_failed(&self) -> WalError {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| state.1.is_none(), DEADLINE);
        assert!(!waited.timed_out());
        state.1.clone().unwrap()
    }

    fn durable_mark(&self) -> i64 {
        self.state.lock().0
    }
}

impl Owner for Told {
    fn durable(&self, mark: i64) {
        let mut state = self.state.lock();
        assert!(mark > state.0, "told {mark} after {}", state.0);
        state.0 = mark;
        self.changed.notify_all();
    }

    fn failed(&self, error: &WalError) {
        self.state.lock().1 = Some(error.clone());
        self.changed.notify_all();
    }
}

struct Opened {
    wal: Wal,
    replayed: Vec<(u64, Bytes)>,
    told: Arc<Told>,
    appended: i64,
}

impl Opened {
    fn append(&mut self, body: &[u8]) -> i64 {
        self.append_bytes(Bytes::copy_from_slice(body))
    }

    fn append_bytes(&mut self, body: Bytes) -> i64 {
        self.appended += 1;
        let owner = self.told.clone();
        self.wal.append(WalRecord { head: Bytes::new(), body, body_crc: None, owner, mark: self.appended });
        self.appended
    }

    fn write(&mut self, body: &[u8]) {
        let mark = self.append(body);
        self.told.wait_durable(mark);
    }

    fn bodies(&self) -> Vec<&[u8]> {
        self.replayed.iter().map(|(_, body)| &body[..]).collect()
    }
}

fn settings(expected: Option<Uuid>, trimmed_to: u64) -> DiskWalSettings {
    DiskWalSettings {
        expected,
        sealed: None,
        trimmed_to,
        accept_loss: false,
        file_bytes: 4096,
        spare_files_max: 2,
        group_bytes_max: 1024,
    }
}

fn try_open(files: &FaultyFileSystem, settings: DiskWalSettings) -> Result<Opened, WalOpenError> {
    let metrics = StorageMetrics::register(&Registry::new()).unwrap();
    let mut replayed = Vec::new();
    let wal = Wal::open_disk(Arc::new(files.clone()), settings, Env::real(), metrics.wal, &mut |record| {
        replayed.push((record.sequence, record.body));
    })?;
    Ok(Opened { wal, replayed, told: Arc::default(), appended: 0 })
}

/// Opens a WAL that the store knows.
fn open(files: &FaultyFileSystem, expected: Option<Uuid>) -> Opened {
    try_open(files, settings(expected, 0)).unwrap()
}

/// 16 bytes, so that a frame takes exactly [`FRAME`].
fn body(number: u8) -> [u8; 16] {
    [number ^ 0x55; 16] // never zeros, which a lost write leaves behind too
}

const FRAME: usize = 64;

/// A WAL with one durable record (100), and `count` records (0, 1, …) of one group that are written, not synced.
fn with_unsynced_group(count: usize) -> (FaultyFileSystem, Uuid, Opened) {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    files.allow_syncs(Some(0));
    wal.append(&body(100));
    files.wait_for_pending(FRAME);
    // Queued while the writer waits for the first record's sync: they form one group.
    for number in 0..count as u8 {
        wal.append(&body(number));
    }
    files.allow_syncs(Some(1));
    files.wait_for_pending(count * FRAME);
    wal.told.wait_durable(1);
    (files, id, wal)
}

/// Opens, compares, writes one more, crashes, and compares again.
fn assert_recovers(files: &FaultyFileSystem, id: Uuid, expected: &[[u8; 16]]) {
    let mut wal = open(files, Some(id));
    assert_eq!(wal.bodies(), expected);
    wal.write(&body(200));
    let after = open(&files.crash(FRAME, |_| false), Some(id));
    let expected: Vec<_> = expected.iter().copied().chain([body(200)]).collect();
    assert_eq!(after.bodies(), expected, "what was cut came back");
    let sequences: Vec<u64> = after.replayed.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (0..expected.len() as u64).collect::<Vec<_>>());
}

#[test]
fn of_every_subset_of_unsynced_writes_a_prefix_is_recovered_and_the_rest_never_comes_back() {
    const GROUP: usize = 7;
    let (files, id, wal) = with_unsynced_group(GROUP);
    for subset in 0..1_u32 << GROUP {
        let survives = |unit: usize| subset >> unit & 1 == 1;
        let kept = (0..GROUP).take_while(|unit| survives(*unit)).count();
        let expected: Vec<_> = [body(100)].into_iter().chain((0..kept as u8).map(body)).collect();
        assert_recovers(&files.crash(FRAME, survives), id, &expected);
    }
    assert_eq!(wal.told.durable_mark(), 1, "nothing unsynced was acknowledged");
    files.allow_syncs(None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn writes_torn_inside_of_records_leave_whole_records_only(survivors in proptest::collection::vec(any::<bool>(), 64)) {
        const UNIT: usize = 8;
        let (files, id, _wal) = with_unsynced_group(5);
        let torn = files.crash(UNIT, |unit| survivors[unit % survivors.len()]);
        let units = FRAME / UNIT;
        let whole = |record: usize| (0..units).all(|unit| survivors[(record * units + unit) % survivors.len()]);
        let kept = (0..5).take_while(|record| whole(*record)).count();
        let expected: Vec<_> = [body(100)].into_iter().chain((0..kept as u8).map(body)).collect();
        assert_recovers(&torn, id, &expected);
        files.allow_syncs(None);
    }
}

#[test]
fn damage_before_what_is_known_to_be_synced_refuses_to_start_and_says_where() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    for number in 0..4 {
        wal.write(&body(number));
    }
    let damaged = files.crash(FRAME, |_| false);
    damaged.flip(&file_name(1), 64 + FRAME + 50);
    match try_open(&damaged, settings(Some(id), 0)).err().unwrap() {
        WalOpenError::Damaged { file, position, sequence } => {
            assert_eq!((file, position, sequence), (file_name(1), 64 + FRAME as u64, 1));
        }
        error => panic!("{error}"),
    }
    // Nothing says that the very last group was synced: its damage is a torn tail.
    let torn = files.crash(FRAME, |_| false);
    torn.flip(&file_name(1), 64 + 3 * FRAME + 50);
    assert_eq!(open(&torn, Some(id)).bodies(), [body(0), body(1), body(2)]);
    // The header alone: its file claims that records were synced.
    let headless = files.crash(FRAME, |_| false);
    headless.flip(&file_name(1), 3);
    assert!(try_open(&headless, settings(Some(id), 0)).is_err());
}

#[test]
fn damage_at_the_end_of_a_full_file_is_no_torn_tail() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    // 63 frames fill the first file of 4096 bytes; the next file says that they were synced.
    for number in 0..64 {
        wal.write(&body(number));
    }
    assert!(files.list().unwrap().contains(&file_name(2)));
    let damaged = files.crash(FRAME, |_| false);
    damaged.flip(&file_name(1), 64 + 62 * FRAME + 50);
    let error = try_open(&damaged, settings(Some(id), 0)).err().unwrap();
    assert!(matches!(error, WalOpenError::Damaged { sequence: 62, .. }), "{error}");
    // With the loss accepted a new WAL begins.
    let accepted = DiskWalSettings { accept_loss: true, ..settings(Some(id), 0) };
    let fresh = try_open(&damaged, accepted).unwrap();
    assert!(fresh.replayed.is_empty() && fresh.wal.id() != id && fresh.wal.next_sequence() == 0);
}

#[test]
fn a_failed_sync_gives_the_file_up_and_the_group_survives_in_a_fresh_one() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    wal.write(&body(0));
    files.fail_syncs(1);
    wal.write(&body(1));
    wal.write(&body(2));
    assert!(files.list().unwrap().contains(&file_name(2)));
    for survives in [false, true] {
        assert_recovers(&files.crash(FRAME, |_| survives), id, &[body(0), body(1), body(2)]);
    }
}

#[test]
fn when_the_fresh_file_fails_too_the_wal_fails_loudly_and_acknowledges_nothing() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    wal.write(&body(0));
    // The group's sync, and the fresh file's.
    files.fail_syncs(2);
    wal.append(&body(1));
    assert!(matches!(wal.told.wait_failed(), WalError::Failed(_)));
    let told = wal.wal.accepting().unwrap_err();
    assert!(
        matches!(told, WalError::Failed(_)) && told.to_string().contains("; fix: look at the disk"),
        "{told}"
    );
    assert_eq!(wal.told.durable_mark(), 1);
    assert_recovers(&files.crash(FRAME, |_| false), id, &[body(0)]);
}

#[test]
fn a_full_disk_holds_records_back_and_recovers_when_it_clears() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    files.set_full(true);
    // 63 frames fill the first file; half of it made the writer try for a spare, in vain.
    for number in 0..63 {
        wal.write(&body(number));
    }
    for number in 63..80 {
        wal.append(&body(number));
    }
    let full = wait_for(|| wal.wal.accepting().err());
    assert_eq!((full, wal.told.durable_mark()), (WalError::Full, 63));
    files.set_full(false);
    wal.told.wait_durable(80);
    assert_eq!(wal.wal.accepting(), Ok(()));
    let expected: Vec<_> = (0..80).map(body).collect();
    assert_recovers(&files.crash(FRAME, |_| false), id, &expected);
}

fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let env = Env::real();
    let end = env.elapsed() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(env.elapsed() < end, "the condition did not come true");
        std::thread::yield_now();
    }
}

#[test]
fn trimmed_files_are_used_again_and_what_they_held_before_is_not_replayed() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    for round in 0..20 {
        for number in 0..40 {
            wal.write(&body(number));
        }
        wal.wal.trim((round + 1) * 40 - 10);
        let in_use = || files.list().unwrap().iter().filter(|name| name.ends_with(".wal")).count();
        wait_for(|| (in_use() <= 2).then_some(()));
    }
    // The active file, one that waits for its trim, and the spares: of 13 files written, 9 were written before.
    assert!(files.created() <= 4, "{} files were filled with zeros", files.created());
    let spares = files.list().unwrap().iter().filter(|name| name.starts_with("spare-")).count();
    assert!((1..=2).contains(&spares), "{:?}", files.list());
    let after = try_open(&files.crash(FRAME, |_| false), settings(Some(id), 790)).unwrap();
    let sequences: Vec<u64> = after.replayed.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (790..800).collect::<Vec<u64>>());
    assert_eq!(after.bodies(), (30..40).map(body).collect::<Vec<_>>());
}

#[test]
fn records_larger_than_a_file_and_of_every_alignment_come_back_whole() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    let bodies: Vec<Bytes> = [0, 1, 7, 8, 9, 511, 512, 513, 1023, 5000, 3, 20_000]
        .map(|size| Bytes::from(vec![size as u8; size]))
        .into();
    for body in &bodies {
        wal.append_bytes(body.clone());
    }
    wal.told.wait_durable(bodies.len() as i64);
    assert_eq!(open(&files.crash(FRAME, |_| false), Some(id)).bodies(), bodies);
}

#[test]
fn a_file_for_a_large_record_is_not_the_spare_that_is_being_filled() {
    let files = FaultyFileSystem::default();
    files.hold_creation(Some("spare.new"));
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    let record = |number| Bytes::copy_from_slice(&body(number));
    let mut bodies: Vec<Bytes> = (0..40).map(record).collect();
    bodies.push(Bytes::from(vec![7; 20_000]));
    for body in &bodies {
        wal.append_bytes(body.clone());
    }
    wal.told.wait_durable(bodies.len() as i64);
    files.hold_creation(None);
    for number in 0..80 {
        wal.write(&body(number));
        bodies.push(record(number));
    }
    assert_eq!(open(&files.crash(FRAME, |_| false), Some(id)).bodies(), bodies);
}

#[test]
fn another_wal_or_an_old_copy_is_refused_by_name() {
    let files = FaultyFileSystem::default();
    let mut wal = open(&files, None);
    let id = wal.wal.id();
    wal.write(&body(0));
    let copy = files.crash(FRAME, |_| false);
    let other = Uuid::from_u128(1);
    let refused = |files: &FaultyFileSystem, settings| try_open(files, settings).err().unwrap();
    assert!(matches!(refused(&copy, settings(Some(other), 0)), WalOpenError::OtherWal { .. }));
    let empty = FaultyFileSystem::default();
    assert!(matches!(refused(&empty, settings(Some(id), 0)), WalOpenError::OtherWal { .. }));
    assert!(matches!(refused(&copy, settings(Some(id), 5)), WalOpenError::Gap { end: 1, .. }));
    assert!(matches!(refused(&copy, settings(None, 0)), WalOpenError::UnknownToStore { .. }));
    let accepted = DiskWalSettings { accept_loss: true, ..settings(Some(other), 0) };
    assert!(try_open(&copy, accepted).unwrap().replayed.is_empty());
}

#[tokio::test]
async fn closing_makes_everything_queued_durable() {
    let directory = tempfile::tempdir().unwrap();
    let files: Arc<dyn FileSystem> = Arc::new(DiskFileSystem::open(&directory.path().join("wal")).unwrap());
    let told = Arc::new(Told::default());
    let mut id = None;
    for round in 0..3_usize {
        let metrics = StorageMetrics::register(&Registry::new()).unwrap();
        let mut replayed = 0;
        let each = &mut |_| replayed += 1;
        let wal = Wal::open_disk(files.clone(), settings(id, 0), Env::real(), metrics.wal, each).unwrap();
        assert_eq!(replayed, round * 100);
        for _ in 0..100 {
            let owner = told.clone();
            let mark = wal.next_sequence() as i64 + 1;
            let (head, body) = (Bytes::from_static(b"head"), Bytes::from(vec![7; 700]));
            wal.append(WalRecord { head, body, body_crc: None, owner, mark });
        }
        wal.close().await;
        assert_eq!(told.durable_mark(), (round as i64 + 1) * 100);
        id = Some(wal.id());
    }
}

#[test]
fn a_directory_has_one_broker_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = DiskFileSystem::open(directory.path()).unwrap();
    let refused = DiskFileSystem::open(directory.path()).err().unwrap();
    assert!(matches!(refused, WalOpenError::InUse { .. }), "{refused}");
    drop(first);
    DiskFileSystem::open(directory.path()).unwrap();
}

#[test]
fn groups_fit_files_so_that_every_file_can_be_used_again() {
    let files = FaultyFileSystem::default();
    let large = DiskWalSettings { group_bytes_max: 1 << 20, ..settings(None, 0) };
    let mut opened = try_open(&files, large).unwrap();
    files.allow_syncs(Some(0));
    let mut last = 0;
    for _ in 0..100 {
        last = opened.append(&[7; 300]);
    }
    files.allow_syncs(None);
    opened.told.wait_durable(last);
    let names = files.list().unwrap();
    let sizes = names.iter().map(|name| files.read(name, u64::MAX).unwrap().len());
    assert!(
        sizes.clone().count() > 8 && sizes.clone().all(|size| size == 4096),
        "{:?}",
        sizes.collect::<Vec<_>>()
    );
}
