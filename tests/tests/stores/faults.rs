//! The broker while requests to its store fail: nothing acknowledged is lost, producers are held back within fixed
//! memory, and acknowledgements go on when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_env::Env;
use towpath_tests::crash::check::check;
use towpath_tests::crash::load::{Load, LoadSpec, make_topic};
use towpath_tests::crash::reader::read_back;
use towpath_tests::crash::{SMALL_LIMITS, WARNINGS_OF_FAULTS, broker};
use towpath_tests::daemon::Daemon;
use towpath_tests::folder::Folder;
use towpath_tests::stores::proxy::{Fault, Proxy, Scripted, Weather};
use towpath_tests::stores::{Store, StoreKind};
use towpath_tests::wait;

use crate::available;

const LIMIT: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 4;
/// Small enough that an outage of a second fills it.
const UNUPLOADED_BYTES_MAX: u64 = 2 << 20;

/// A broker under load, with a proxy between it and its store.
struct Stage {
    proxy: Proxy,
    broker: Daemon,
    load: Load,
    _store: Store,
    // Last: what runs in it goes before.
    _folder: Folder,
}

impl Stage {
    async fn start(rate: u64) -> Stage {
        let folder = Folder::new("towpath-faults-").unwrap();
        let store = Store::start(StoreKind::Moto, folder.path()).await.unwrap();
        let proxy = Proxy::start(store.address().unwrap(), 1).await.unwrap();
        let limits = format!("{SMALL_LIMITS}  unuploaded_bytes_max: {UNUPLOADED_BYTES_MAX}\n");
        let mut broker = broker(folder.path(), "disk", &limits, (&store, Some(&proxy))).unwrap();
        broker.start().await.unwrap();
        let bootstrap = broker.bootstrap();
        make_topic(&bootstrap, PARTITIONS).await.unwrap();
        let spec = LoadSpec { bootstrap, seed: 1, partitions: PARTITIONS, idempotent_producers: 4, rate };
        let load = Load::start(&spec).unwrap();
        let stage = Stage { proxy, broker, load, _store: store, _folder: folder };
        stage.more_acked(500).await;
        stage
    }

    async fn more_acked(&self, records: usize) {
        let before = self.load.acked();
        let more = wait::until("more acknowledgements", LIMIT, async || {
            Ok((self.load.acked() >= before + records).then_some(()))
        });
        more.await.unwrap();
    }

    /// Waits until so many requests have met a fault.
    async fn faults(&self, faults: u64) {
        let before = self.proxy.counts().faults;
        let met = wait::until("faults", LIMIT, async || {
            Ok((self.proxy.counts().faults >= before + faults).then_some(()))
        });
        met.await.unwrap();
    }

    async fn metric(&self, name: &str, label: &str) -> f64 {
        self.broker.metric(&format!("towpath_broker_{name}"), label).await.unwrap_or(0.0)
    }

    /// In fair weather again: acknowledgements go on, a killed and restarted broker has all of it, and warned of
    /// nothing but what was tried again.
    async fn ends_well(mut self) {
        self.proxy.set_weather(Weather::default());
        self.more_acked(500).await;
        self.load.finish().await.unwrap();
        self.broker.kill().await.unwrap();
        self.broker.start().await.unwrap();
        let read = read_back(&self.broker.bootstrap(), PARTITIONS, BTreeMap::new()).await.unwrap();
        let findings = check(&self.load.ledgers(), &read);
        assert!(findings.none(), "{findings:?}");
        self.broker.stop().await.unwrap();
        let declared = WARNINGS_OF_FAULTS.map(str::to_owned);
        assert_eq!(self.broker.undeclared_problems(&declared).unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503s_loses_nothing() {
    if !available(StoreKind::Moto) {
        return;
    }
    let stage = Stage::start(1_000).await;
    stage.proxy.set_weather(Weather { slow_downs: 800, ..Weather::default() });
    stage.faults(60).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_holds_nobody_up_as_long_as_there_is_room() {
    if !available(StoreKind::Moto) {
        return;
    }
    let stage = Stage::start(300).await;
    let delay_max = Duration::from_secs(2);
    stage.proxy.set_weather(Weather { delays: 500, slow_answers: 500, delay_max, ..Weather::default() });
    stage.faults(15).await;
    // The disk WAL acknowledges, whatever the store does.
    let begun = Env::real();
    stage.more_acked(200).await;
    assert!(begun.elapsed() < delay_max * 2, "{:?}", begun.elapsed());
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_before_and_after_a_request_took_effect_lose_and_double_nothing() {
    if !available(StoreKind::Moto) {
        return;
    }
    let stage = Stage::start(500).await;
    // Each kind of object: its put takes effect and nobody is told, twice, and once it never arrives.
    for path_part in ["/segments/", "/metadata/"] {
        for fault in [Fault::ResetAfter, Fault::ResetBefore, Fault::ResetAfter] {
            stage.proxy.script(Scripted { method: "PUT", path_part: path_part.to_owned(), fault });
        }
    }
    let met = wait::until("the scripted faults", LIMIT, async || {
        Ok((stage.proxy.scripted_left() == 0).then_some(()))
    });
    met.await.unwrap();
    stage.proxy.set_weather(Weather { resets_before: 200, resets_after: 300, ..Weather::default() });
    stage.faults(40).await;
    stage.ends_well().await;
}

/// Seconds; `TOWPATH_TEST_OUTAGE_S` makes it as long as a real one.
fn outage() -> Duration {
    let set = std::env::var("TOWPATH_TEST_OUTAGE_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(set.unwrap_or(6))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_holds_producers_back_within_fixed_memory() {
    if !available(StoreKind::Moto) {
        return;
    }
    let mut stage = Stage::start(4_000).await;
    let before = stage.broker.running().unwrap().resident_bytes().unwrap();
    stage.proxy.set_weather(Weather { outage: true, ..Weather::default() });
    let held_back = wait::until("producers to be held back", LIMIT, async || {
        let count = stage.metric("appends_held_back_total", "the object store").await;
        Ok((count > 0.0).then_some(()))
    });
    held_back.await.unwrap();
    let (env, mut worst, mut unuploaded) = (Env::real(), 0, 0.0_f64);
    while env.elapsed() < outage() {
        worst = worst.max(stage.broker.running().unwrap().resident_bytes().unwrap());
        unuploaded = unuploaded.max(stage.metric("unuploaded_bytes", "").await);
        env.sleep(wait::POLL).await;
    }
    // Appends that are admitted at the same moment may overdraw the bound by what they bring.
    assert!(unuploaded <= (UNUPLOADED_BYTES_MAX * 2) as f64, "{unuploaded} bytes wait for their upload");
    let grown = worst.saturating_sub(before);
    assert!(grown < 48 << 20, "resident memory grew from {before} by {grown} bytes");
    assert!(stage.proxy.counts().refused > 0);
    let acked = stage.load.acked();
    stage.proxy.set_weather(Weather::default());
    let resumed = wait::until("acknowledgements to go on", LIMIT, async || {
        Ok((stage.load.acked() > acked + 2_000).then_some(()))
    });
    resumed.await.unwrap();
    stage.ends_well().await;
}
