//! A broker that stops while the store is slow, or down. By the real clock: a paused one would run ahead while the WAL's
//! thread works.

use std::time::Duration;

use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;

/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// Partitions on a store that behaves for now.
async fn world(change: impl FnOnce(&mut StorageConfig)) -> (World, Arc<FaultyStore>) {
    let env = Env::seeded(1, NOW_MS);
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let world = World::on(store.clone(), env, &[], change).await;
    (world, store)
}

/// How long a stop takes.
async fn stop(world: &World) -> Duration {
    let begun = world.env.elapsed();
    tokio::time::timeout(LIMIT, world.partitions.close()).await.expect("it ends");
    world.env.elapsed() - begun
}

async fn until(world: &World, condition: impl Fn() -> bool) {
    let looked = async {
        while !condition() {
            world.env.sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, looked).await.expect("it comes in time");
}

#[tokio::test]
async fn an_upload_under_way_may_end_when_the_broker_stops() {
    let (world, store) = world(|config| config.segment_age_max = Duration::ZERO).await;
    let before = store.requests().puts;
    store.set_faults(Faults { delay_max: Duration::from_secs(1), ..Faults::NONE });
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    until(&world, || store.requests().puts > before).await;
    let took = stop(&world).await;
    let image = world.metadata.image();
    assert_eq!(image.segments(TOPIC, 0).unwrap().ranges().len(), 1, "after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn an_upload_that_the_store_does_not_take_holds_a_stop_up_for_five_seconds() {
    let (world, store) = world(|config| config.segment_age_max = Duration::ZERO).await;
    let before = store.requests().puts;
    store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    until(&world, || store.requests().puts > before).await;
    let took = stop(&world).await;
    assert!((4..6).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_round_of_upkeep_under_way_is_given_up_when_the_broker_stops() {
    let env = Env::seeded(1, NOW_MS);
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let often = |config: &mut StorageConfig| config.maintenance_interval = Duration::from_millis(10);
    let world = World::on(store.clone(), env, &[("cleanup.policy", "compact")], often).await;
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    let before = store.requests().gets;
    store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
    // What every round from now on wants to tell the metadata, once it knows that it still may.
    world.partition().apply_log_start(1);
    until(&world, || store.requests().gets > before).await;
    let took = stop(&world).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}
