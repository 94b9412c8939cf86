//! A short run of the kill checker; `target/debug/crashes` runs longer ones, on other stores and with faults.

use towpath_tests::crash::{CrashSettings, run};
use towpath_tests::folder::Folder;
use towpath_tests::stores::StoreKind;

use crate::available;

/// Kills as `settings` say, and demands that nothing is wrong and that all of it happened.
async fn holds(settings: CrashSettings) {
    if !available(settings.store) {
        return;
    }
    let folder = Folder::new("towpath-crashes-").unwrap();
    let outcome = run(&settings, folder.path(), |_| {}).await.unwrap();
    assert!(outcome.holds(), "{outcome}");
    assert!(outcome.kills > settings.kills && outcome.acked > settings.kills * 100, "{outcome}");
    assert_eq!((outcome.acked, outcome.read - outcome.findings.repeated), (outcome.sent, outcome.sent));
    assert_eq!(settings.faults, outcome.faults > 0, "{outcome}");
}

fn ten_kills(wal: &str) -> CrashSettings {
    CrashSettings {
        wal: wal.to_owned(),
        store: StoreKind::File,
        kills: 10,
        faults: false,
        seed: 5,
        partitions: 6,
        rate: 1_000,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_with_a_disk_wal_lose_double_and_alter_nothing() {
    holds(ten_kills("disk")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_with_an_object_wal_lose_double_and_alter_nothing() {
    holds(ten_kills("object")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_faults_of_the_store_lose_double_and_alter_nothing() {
    holds(CrashSettings { store: StoreKind::Moto, faults: true, kills: 4, ..ten_kills("disk") }).await;
}
