//! A broker that stops while the store is slow, or down.

use std::time::Duration;

use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;

/// Partitions on a store that behaves for now.
async fn world(change: impl FnOnce(&mut StorageConfig)) -> (World, Arc<FaultyStore>) {
    let env = Env::seeded(1, NOW_MS);
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let world = World::on(store.clone(), env, &[("retention.ms", "1")], change).await;
    (world, store)
}

/// How long a stop takes.
async fn stop(world: &World) -> Duration {
    let begun = world.env.elapsed();
    world.partitions.close().await;
    world.env.elapsed() - begun
}

async fn until(world: &World, condition: impl Fn() -> bool) {
    while !condition() {
        world.env.sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
async fn an_upload_that_the_store_does_not_take_holds_a_stop_up_for_five_seconds() {
    let (world, store) = world(|config| config.segment_age_max = Duration::ZERO).await;
    let before = store.requests().puts;
    store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    until(&world, || store.requests().puts > before).await;
    let took = stop(&world).await;
    assert!((4..6).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn retention_under_way_does_not_hold_a_stop_up() {
    let (world, store) = world(|config| config.maintenance_interval = Duration::from_secs(1)).await;
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    world.upload().await;
    let before = store.requests().puts;
    store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
    until(&world, || store.requests().puts > before).await;
    let took = stop(&world).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}
