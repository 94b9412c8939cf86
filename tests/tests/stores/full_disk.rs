//! The disk of the write-ahead log runs full, on a small file system that only this test sees.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_env::Env;
use towpath_tests::crash::broker;
use towpath_tests::crash::check::check;
use towpath_tests::crash::load::{Load, LoadSpec, make_topic};
use towpath_tests::crash::reader::read_back;
use towpath_tests::folder::Folder;
use towpath_tests::process::{Output, Process, output_of};
use towpath_tests::stores::{Store, StoreKind};
use towpath_tests::wait;

const LIMIT: Duration = Duration::from_secs(60);
const DISK_BYTES: u64 = 24 << 20;
/// Left for the WAL once the rest is taken by somebody else.
const ROOM_BYTES: u64 = 5 << 20;
/// Nothing is uploaded: the WAL is all there is.
const LIMITS: &str =
    "storage: { wal_file_bytes: 1048576, segment_bytes: 268435456, segment_age_max_ms: 3600000 }\n";
/// What the broker says, once.
const FULL: &str = "the WAL's disk is full; fix: free space in the data directory";

/// A small disk that is mounted in a world of its own, and goes with the process that holds it.
struct SmallDisk {
    holder: Process,
    place: PathBuf,
}

impl SmallDisk {
    async fn mount(folder: &Path) -> Result<SmallDisk> {
        let place = folder.join("data");
        std::fs::create_dir_all(&place)?;
        let mounted = folder.join("mounted");
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" && : > \"$3\" && exec sleep 1000000";
        command.args(["--mount", "sh", "-c", script, "mount"]).arg(DISK_BYTES.to_string());
        command.arg(&place).arg(&mounted);
        let holder = Process::spawn("small disk", command, &Output::File(folder.join("disk.log")))?;
        let ready = wait::until("the small disk", LIMIT, async || Ok(mounted.exists().then_some(())));
        ready.await.context("mount")?;
        Ok(SmallDisk { holder, place })
    }

    /// A way to a file on it from here.
    fn path_of(&self, name: &str) -> PathBuf {
        let place = self.place.strip_prefix("/").unwrap_or(&self.place);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(place).join(name)
    }

    fn wrapper(&self) -> Vec<String> {
        let words = ["nsenter", "--mount", "--target", &self.holder.id().to_string(), "--"];
        words.map(str::to_owned).to_vec()
    }
}

/// Whether this user may mount; says why not.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
async fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]);
    let allowed = output_of("unshare", command, LIMIT).await;
    if let Err(error) = &allowed {
        eprintln!("left out: no file system can be mounted here: {error}");
    }
    allowed.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_acknowledgements_says_so_and_recovers_when_room_is_made() {
    if !may_mount().await {
        return;
    }
    let folder = Folder::new("towpath-full-disk-").unwrap();
    let disk = SmallDisk::mount(folder.path()).await.unwrap();
    let store = Store::start(StoreKind::File, folder.path()).await.unwrap();
    let mut broker = broker(folder.path(), "disk", LIMITS, (&store, None)).unwrap();
    broker.set_wrapper(disk.wrapper());
    broker.start().await.unwrap();
    make_topic(&broker.bootstrap(), 2).await.unwrap();
    let filler = disk.path_of("somebody-elses-file");
    let mut file = File::create(&filler).unwrap();
    file.write_all(&vec![7; (DISK_BYTES - ROOM_BYTES) as usize]).unwrap();

    let bootstrap = broker.bootstrap();
    let spec = LoadSpec { bootstrap, seed: 2, partitions: 2, idempotent_producers: 2, rate: 6_000 };
    let mut load = Load::start(&spec).unwrap();
    let log = broker.log_path();
    let says = async |words: &str| {
        let said = wait::until(words, LIMIT, async || {
            Ok(std::fs::read_to_string(&log)?.contains(words).then_some(()))
        });
        said.await.unwrap();
    };
    says(FULL).await;
    assert!(broker.metric("towpath_broker_wal_held", "").await.unwrap() > 0.0);
    // What was on its way is answered; from then on nothing is acknowledged.
    let mut acked = load.acked();
    let still = wait::until("acknowledgements to stop", LIMIT, async || {
        Env::real().sleep(Duration::from_millis(500)).await;
        let now = load.acked();
        Ok((std::mem::replace(&mut acked, now) == now).then_some(()))
    });
    still.await.unwrap();

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    says("the WAL takes records again").await;
    let resumed = wait::until("acknowledgements to go on", LIMIT, async || {
        Ok((load.acked() > acked + 1_000).then_some(()))
    });
    resumed.await.unwrap();
    load.finish().await.unwrap();
    broker.kill().await.unwrap();
    broker.start().await.unwrap();
    let read = read_back(&broker.bootstrap(), 2, BTreeMap::new()).await.unwrap();
    let findings = check(&load.ledgers(), &read);
    assert!(findings.none(), "{findings:?}");
    broker.stop().await.unwrap();
    assert_eq!(broker.undeclared_problems(&[FULL.to_owned()]).unwrap(), Vec::<String>::new());
}
