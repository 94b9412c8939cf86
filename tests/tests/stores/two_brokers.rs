//! Two brokers of one id on one store, on the object write-ahead log: the second takes over while the first is paused.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_tests::crash::check::check;
use towpath_tests::crash::load::{Load, LoadSpec, make_topic};
use towpath_tests::crash::reader::{Read, read_back};
use towpath_tests::daemon::Daemon;
use towpath_tests::folder::Folder;
use towpath_tests::wait;

const LIMIT: Duration = Duration::from_secs(60);
const LEASE: &str = "storage: { wal_lease_ms: 1000 }\n";
/// What the first one says.
const REASON: &str = "has taken over from this broker";

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_broker_that_another_took_over_from_acknowledges_nothing_more_and_exits_with_the_reason() {
    let folder = Folder::new("towpath-two-brokers-").unwrap();
    let config = folder.path().join("broker.yaml");
    std::fs::write(&config, LEASE).unwrap();
    let store = format!("file://{}/store", folder.path().display());
    let broker = |name: &str| {
        let arguments = ["--config", &config.display().to_string(), "--wal", "object", "--store", &store];
        Daemon::broker(name, &folder.path().join(name), &arguments.map(str::to_owned)).unwrap()
    };
    let (mut first, mut second) = (broker("first"), broker("second"));
    first.start().await.unwrap();
    make_topic(&first.bootstrap(), 2).await.unwrap();
    let spec = LoadSpec {
        bootstrap: first.bootstrap(),
        seed: 4,
        partitions: 2,
        idempotent_producers: 2,
        rate: 2_000,
    };
    let mut load = Load::start(&spec).unwrap();
    let acked = wait::until("acknowledgements", LIMIT, async || Ok((load.acked() > 2_000).then_some(())));
    acked.await.unwrap();

    first.running().unwrap().pause().unwrap();
    second.start().await.unwrap();
    let read = read_back(&second.bootstrap(), 2, BTreeMap::new()).await.unwrap();
    let findings = check(&load.ledgers(), &read);
    assert!(findings.none(), "{findings:?}");

    first.running().unwrap().resume().unwrap();
    assert_eq!(first.ended(LIMIT).await.unwrap().code(), Some(1));
    let log = std::fs::read_to_string(first.log_path()).unwrap();
    let said = log.lines().find(|line| line.contains(REASON)).unwrap_or_default();
    assert!(said.contains(&second.bootstrap()) && said.contains("--store"), "{said}");
    let again = read_back(&second.bootstrap(), 2, BTreeMap::new()).await.unwrap();
    let records = |read: &Read| read.values().map(|partition| partition.records.len()).sum::<usize>();
    assert_eq!(records(&again), records(&read), "nothing of the first came behind the takeover");

    // The producers know the first one's address alone. What it acknowledged at the very end, and should not have, would
    // be at the offset of another record now.
    first.start().await.unwrap();
    load.finish().await.unwrap();
    let read = read_back(&first.bootstrap(), 2, BTreeMap::new()).await.unwrap();
    let findings = check(&load.ledgers(), &read);
    assert!(findings.none(), "{findings:?}");
    first.stop().await.unwrap();
    // Nobody asked it anything since, so it has not looked.
    second.kill().await.unwrap();
}
