//! Brokers on the object WAL: one takes over from another, and the kind of WAL changes.

use std::path::Path;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use towpath_env::Env;

use super::*;
use crate::config::{BrokerConfig, StorageSettings};
use crate::metadata::Metadata;
use crate::metadata::entry::BrokerRegistered;
use crate::server::Failed;
use crate::storage::{WalError, WalKind};

fn config(wal: WalKind, data: &Path) -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.to_owned(),
        store: Some(format!("file://{}/store", data.display())),
        wal,
        storage: StorageSettings { wal_lease_ms: 400, ..StorageSettings::default() },
        ..BrokerConfig::default()
    }
}

async fn start(wal: WalKind, data: &Path) -> Broker {
    Broker::start(config(wal, data), Env::real()).await.unwrap()
}

async fn refused(wal: WalKind, data: &Path) -> String {
    Broker::start(config(wal, data), Env::real()).await.err().expect("a refusal").to_string()
}

/// The end of a partition of the one topic, as the broker has it.
fn log_end(broker: &Broker, index: i32) -> i64 {
    let image = broker.shared.metadata.image();
    let topic = image.topic("orders").unwrap();
    broker.shared.partitions.get(topic.id, index).unwrap().offsets().high_watermark
}

#[tokio::test]
async fn a_second_broker_of_one_id_has_everything_and_the_first_neither_acknowledges_nor_answers() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(WalKind::Object, folder.path()).await;
    let mut client = RawClient::connect(&first).await;
    create(&mut client, "orders", 2).await;
    for _ in 0..5 {
        assert_eq!(produce(&mut client, 0, batch(3, 100)).await.error_code, 0);
    }
    let second = start(WalKind::Object, folder.path()).await;
    assert_eq!(log_end(&second, 0), 15);
    // Nobody has told the first one. Whatever it is asked from state, it closes the connection.
    let request = produce_request(name("orders"), 0, -1, Some(batch(1, 10).freeze()));
    let answer = client.call(9, &request).await.map(|mut answer| answer.responses.remove(0));
    let code = answer.map(|mut topic| topic.partition_responses.remove(0).error_code);
    assert_ne!(code, Some(0), "acknowledged");
    let mut client = RawClient::connect(&first).await;
    let topic = MetadataRequestTopic::default().with_name(Some(name("orders")));
    let request = MetadataRequest::default().with_topics(Some(Vec::from([topic])));
    assert!(client.call(9, &request).await.is_none(), "answered");
    let mut client = RawClient::connect(&first).await;
    assert!(client.call(0, &ApiVersionsRequest::default()).await.is_some(), "it says nothing of any state");
    let Failed::Wal(WalError::Fenced(by)) = first.failed().await else { panic!("another failure") };
    assert_eq!((by.epoch, by.address), (1, second.address().to_string()));
    first.stop().await;
    let mut client = RawClient::connect(&second).await;
    assert_eq!(produce(&mut client, 0, batch(1, 10)).await.base_offset, 15);
    second.stop().await;
}

#[tokio::test]
async fn the_kind_of_wal_changes_after_a_clean_stop_without_a_loss_and_not_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut end = 0;
    for wal in [WalKind::Disk, WalKind::Object, WalKind::Disk, WalKind::Disk, WalKind::Object] {
        let broker = start(wal, folder.path()).await;
        let mut client = RawClient::connect(&broker).await;
        if end == 0 {
            create(&mut client, "orders", 1).await;
        }
        let produced = produce(&mut client, 0, batch(2, 50)).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, end), "{wal:?}");
        end += 2;
        broker.stop().await;
    }
    // One that runs, as far as the store can tell, or has crashed.
    let running = start(WalKind::Object, folder.path()).await;
    let told = refused(WalKind::Disk, folder.path()).await;
    assert!(told.contains("--wal object") && told.contains("--accept-wal-loss"), "{told}");
    let mut client = RawClient::connect(&running).await;
    assert_eq!(
        produce(&mut client, 0, batch(1, 10)).await.base_offset,
        end,
        "the refused start fenced nobody"
    );
    running.stop().await;
    let broker = start(WalKind::Disk, folder.path()).await;
    assert_eq!(log_end(&broker, 0), end + 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_start_that_dies_once_it_is_registered_changes_nothing_about_what_may_follow() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(WalKind::Disk, folder.path()).await;
    let mut client = RawClient::connect(&broker).await;
    create(&mut client, "orders", 1).await;
    produce(&mut client, 0, batch(2, 50)).await;
    broker.stop().await;
    for wal in [WalKind::Object, WalKind::Disk, WalKind::Object] {
        let url = config(wal, folder.path()).store.unwrap();
        let store = towpath_shared_log::open_store(&url).await.unwrap();
        let metadata = Metadata::open(store, Env::real(), 1).await.unwrap();
        let dies =
            BrokerRegistered { node_id: 1, host: "nobody".to_owned(), port: 1, rack: None, alone: true };
        metadata.propose(dies.into()).await.unwrap();
        metadata.close().await;
        let broker = start(wal, folder.path()).await;
        assert_eq!(log_end(&broker, 0), 2, "{wal:?}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn who_gives_up_an_object_wal_for_a_disk_wal_leaves_the_broker_that_runs_fenced() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = start(WalKind::Object, folder.path()).await;
    let mut client = RawClient::connect(&first).await;
    create(&mut client, "orders", 1).await;
    assert_eq!(produce(&mut client, 0, batch(2, 50)).await.error_code, 0);
    let store = config(WalKind::Disk, folder.path()).store;
    let gives_up = BrokerConfig { store, accept_wal_loss: true, ..config(WalKind::Disk, other.path()) };
    let second = Broker::start(gives_up, Env::real()).await.unwrap();
    // Acknowledged from here on it would be lost, and nobody has accepted that.
    let request = produce_request(name("orders"), 0, -1, Some(batch(1, 10).freeze()));
    let answer = client.call(9, &request).await.map(|mut answer| answer.responses.remove(0));
    let code = answer.map(|mut topic| topic.partition_responses.remove(0).error_code);
    assert_ne!(code, Some(0), "acknowledged");
    let Failed::Wal(WalError::Fenced(by)) = first.failed().await else { panic!("another failure") };
    assert_eq!((by.epoch, by.address), (1, second.address().to_string()));
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_disk_wal_whose_broker_runs_on_this_machine_is_not_given_up_for_an_object_wal() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(WalKind::Disk, folder.path()).await;
    let gives_up = BrokerConfig { accept_wal_loss: true, ..config(WalKind::Object, folder.path()) };
    let refused = Broker::start(gives_up.clone(), Env::real()).await.err().expect("a refusal").to_string();
    assert!(refused.contains("in use by another broker"), "{refused}");
    let mut client = RawClient::connect(&running).await;
    create(&mut client, "orders", 1).await;
    assert_eq!(produce(&mut client, 0, batch(1, 10)).await.error_code, 0, "it was left alone");
    drop(client);
    running.stop().await;
    Broker::start(gives_up, Env::real()).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_disk_wal_that_is_given_up_for_an_object_wal_is_put_aside() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lost = start(WalKind::Disk, folder.path()).await;
    let mut client = RawClient::connect(&lost).await;
    create(&mut client, "orders", 1).await;
    assert_eq!(produce(&mut client, 0, batch(1, 10)).await.error_code, 0);
    // As if its machine had died: nothing is sealed, and the folder is nobody's.
    let wal = other.path().join("wal");
    std::fs::create_dir(&wal).unwrap();
    for file in std::fs::read_dir(folder.path().join("wal")).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().ends_with(".wal") {
            std::fs::copy(file.path(), wal.join(file.file_name())).unwrap();
        }
    }
    let store = config(WalKind::Disk, folder.path()).store;
    let elsewhere = |wal| BrokerConfig { store: store.clone(), ..config(wal, other.path()) };
    let gives_up = BrokerConfig { accept_wal_loss: true, ..elsewhere(WalKind::Object) };
    let broker = Broker::start(gives_up, Env::real()).await.unwrap();
    let names = std::fs::read_dir(&wal).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let (aside, left): (Vec<_>, Vec<_>) =
        names.filter(|name| name.contains(".wal")).partition(|name| name.ends_with(".abandoned"));
    assert!(!aside.is_empty() && left.is_empty(), "{aside:?} {left:?}");
    broker.stop().await;
    // And so a disk log may follow.
    Broker::start(elsewhere(WalKind::Disk), Env::real()).await.unwrap().stop().await;
    lost.stop().await;
}

#[tokio::test]
async fn a_second_start_on_one_data_folder_leaves_the_broker_that_runs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(WalKind::Disk, folder.path()).await;
    assert!(refused(WalKind::Disk, folder.path()).await.contains("in use by another broker"));
    // Nor does one that has the same store and another folder.
    let other = tempfile::tempdir().unwrap();
    let store = config(WalKind::Disk, folder.path()).store;
    let elsewhere = BrokerConfig { store, ..config(WalKind::Disk, other.path()) };
    let refused = Broker::start(elsewhere, Env::real()).await.err().expect("a refusal").to_string();
    assert!(refused.contains("the store expects disk WAL"), "{refused}");
    assert_eq!(running.shared.metadata.refresh().await.unwrap().broker_epoch(1), 0);
    running.stop().await;
}
