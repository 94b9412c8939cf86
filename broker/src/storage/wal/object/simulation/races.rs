//! A successor against a broker that is alive and quick.

use super::*;

/// Appends without a pause until it is told to stop.
fn load(env: &Env, mut running: Running) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Running>) {
    let (env, stop) = (env.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let load = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            running.append(&env);
            env.sleep(Duration::from_millis(5)).await;
        }
        running
    });
    (stop, load)
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_puts_slots_while_the_store_lists_them_is_fenced_all_the_same() {
    // In the time of a listing it puts some slots, or more than the first distance of a fence ahead of it.
    for (seed, listing_ms) in [(1, 100), (2, 300), (3, 2_000), (4, 10_000)] {
        let world = World::new(seed);
        let near = Faults { delay_max: Duration::from_millis(5), ..Faults::NONE };
        let way = FaultyStore::new(world.objects.clone(), world.env.clone(), near);
        let one = world.open_on(&way, world.registrar.register()).await.unwrap();
        let (stop, load) = load(&world.env, one);
        world.env.sleep(Duration::from_secs(1)).await;
        world.store.set_faults(Faults { listing: Duration::from_millis(listing_ms), ..Faults::NONE });
        let two = tokio::time::timeout(Duration::from_secs(120), world.start()).await;
        let two = two.expect("it is fenced in time");
        stop.store(true, Ordering::SeqCst);
        let one = load.await.unwrap();
        silence(&one);
        assert_eq!(one.wal.failed().await, WalError::Fenced(by(1)), "seed {seed}");
        let mut checker = Checker::default();
        checker.note(&one);
        checker.holds(&two, 0, &format!("seed {seed}"));
        assert!(checker.0.len() > 100, "seed {seed}: hardly anything was acknowledged");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_stands_behind_a_gap_is_listed() {
    let world = World::new(1);
    let mut one = world.start().await;
    for _ in 0..20 {
        one.append(&world.env);
        one.all_durable().await;
    }
    let metrics = StorageMetrics::register(&Registry::new()).unwrap();
    let outside = (world.env.clone(), metrics.wal);
    let slots = Slots::new(world.store.clone(), (NODE, WAL_ID), Duration::from_secs(2), outside);
    let behind = slots.list(Some(slots.place(0, 16))).await.unwrap();
    let behind = behind.into_iter().map(|(epoch, slot, _)| (epoch, slot));
    assert_eq!(behind.collect::<Vec<_>>(), [(0, 17), (0, 18), (0, 19)]);
}
