//! A broker that comes up while another of its id still serves, both with the object WAL.

use super::*;
use crate::metadata::entry::{BrokerRegistered, PartitionsAdded, TopicDeleted};
use crate::storage::{WalError, WalKind};

/// A broker that has registered itself, and has not opened its partitions.
struct Registered {
    store: Arc<dyn ObjectStore>,
    env: Env,
    metadata: Metadata,
    own: Registration,
}

impl Registered {
    async fn new(store: &Arc<dyn ObjectStore>, env: &Env) -> Registered {
        let metadata = Metadata::open(store.clone(), env.clone(), 1).await.unwrap();
        let registered =
            BrokerRegistered { node_id: 1, host: "host".to_owned(), port: 9092, rack: None, alone: true };
        let image = metadata.propose(registered.into()).await.unwrap();
        let own = Registration { epoch: image.broker_epoch(1), address: "host:9092".to_owned() };
        Registered { store: store.clone(), env: env.clone(), metadata, own }
    }

    async fn open(&self) -> Result<Partitions, OpenError> {
        let mut config = StorageConfig::new(1, "unused");
        config.wal = WalKind::Object;
        config.upload_at_start = false;
        config.sweep_at_start = false;
        config.merge_layers_max = 0;
        let registry = Registry::new();
        let outside = (self.store.clone(), self.env.clone(), &registry);
        Partitions::open(WalPlace::Object, config, (self.metadata.clone(), self.own.clone()), outside).await
    }
}

fn created(id: Uuid, name: &str) -> Entry {
    let (name, configs) = (name.to_owned(), BTreeMap::new());
    TopicCreated { name, id, partitions: 1, configs, internal: false }.into()
}

async fn acknowledged(partitions: &Partitions, id: (Uuid, i32), value: &str) {
    let partition = partitions.get(id.0, id.1).unwrap();
    partition.append(batch(&[value]), Origin::Client).unwrap().durable.await.unwrap();
}

async fn values(partitions: &Partitions, id: (Uuid, i32)) -> Vec<(i64, String)> {
    read_all(&partitions.get(id.0, id.1).unwrap(), 0).await
}

/// A broker with one topic that serves, and its successor, registered while it does.
async fn two() -> (Registered, Partitions, Registered) {
    let env = Env::seeded(1, NOW_MS);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let one = Registered::new(&store, &env).await;
    one.metadata.propose(created(TOPIC, "views")).await.unwrap();
    let partitions = one.open().await.unwrap();
    let two = Registered::new(&store, &env).await;
    (one, partitions, two)
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_in_topics_that_came_after_the_successor_registered_is_there() {
    let (one, first, two) = two().await;
    let (new, gone) = (Uuid::from_u128(8), Uuid::from_u128(9));
    one.metadata.propose(created(new, "new")).await.unwrap();
    one.metadata.propose(created(gone, "gone")).await.unwrap();
    one.metadata.propose(PartitionsAdded { topic_id: TOPIC, total: 2 }.into()).await.unwrap();
    let all = [(TOPIC, 0), (TOPIC, 1), (new, 0)];
    for id in all.into_iter().chain([(gone, 0)]) {
        acknowledged(&first, id, "of the first").await;
    }
    one.metadata.propose(TopicDeleted { topic_id: gone }.into()).await.unwrap();
    let mut expected = vec![(0, "of the first".to_owned())];
    let mut successor = two.open().await.unwrap();
    for id in all {
        assert_eq!(values(&successor, id).await, expected, "{id:?}");
        acknowledged(&successor, id, "of the second").await;
    }
    assert!(successor.get(gone, 0).is_none());
    expected.push((1, "of the second".to_owned()));
    // Neither an upload nor one more start loses it.
    for upload in [true, false] {
        if upload {
            successor.inner.upload_once().await;
        }
        successor = Registered::new(&two.store, &two.env).await.open().await.unwrap();
        for id in all {
            assert_eq!(values(&successor, id).await, expected, "{id:?}, uploaded: {upload}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_moves_no_log_start_once_its_successor_is_registered_and_learns_why() {
    let (_one, first, two) = two().await;
    acknowledged(&first, (TOPIC, 0), "a").await;
    let refused = first.get(TOPIC, 0).unwrap().delete_records(1).await.unwrap_err();
    assert!(matches!(refused.reason, Refusal::Wal(WalError::Fenced(_))), "{refused}");
    assert!(matches!(first.failed().await, WalError::Fenced(_)));
    let successor = two.open().await.unwrap();
    assert_eq!(values(&successor, (TOPIC, 0)).await, [(0, "a".to_owned())]);
}

#[tokio::test]
async fn who_is_not_the_newest_any_more_does_not_open_its_partitions() {
    let world = World::new(&[]).await;
    world.partitions.close().await;
    let register =
        BrokerRegistered { node_id: 1, host: "host".to_owned(), port: 9092, rack: None, alone: true };
    let mut opened = Vec::new();
    for epoch in [0, 1] {
        world.metadata.propose(register.clone().into()).await.unwrap();
        let own = Registration { epoch: 0, address: "host:9092".to_owned() };
        let place = WalPlace::Disk(Arc::new(world.files.clone()));
        let registry = Registry::new();
        let outside = (world.store.clone(), world.env.clone(), &registry);
        match Partitions::open(place, world.config.clone(), (world.metadata.clone(), own), outside).await {
            Ok(partitions) => {
                partitions.close().await;
                opened.push(epoch);
            }
            Err(refused) => {
                assert!(refused.to_string().contains("came up while this one started"), "{refused}");
            }
        }
    }
    assert_eq!(opened, [0]);
}
