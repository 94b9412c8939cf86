//! A store, or the metadata, that does not answer: what is told, and that a start and a stop end all the same.

use super::*;

/// A broker whose last proof is too old to be trusted, so that the next acknowledgement asks the metadata.
async fn long_idle(world: &World) -> Running {
    let mut one = world.start().await;
    one.append(&world.env);
    one.all_durable().await;
    world.env.sleep(world.grace).await;
    one
}

/// Why no more is taken, once that is so.
async fn held(world: &World, running: &Running) -> WalError {
    let held = async {
        loop {
            match running.wal.accepting() {
                Ok(()) => world.env.sleep(Duration::from_millis(100)).await,
                Err(why) => return why,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), held).await.expect("it is noticed in time")
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_while_the_metadata_does_not_answer_and_acknowledges_nothing_unproved() {
    let world = World::new(4);
    let mut one = long_idle(&world).await;
    world.registrar.silence(true);
    one.append(&world.env);
    // It waits for the metadata already when it is told to stop.
    held(&world, &one).await;
    let begun = world.env.elapsed();
    tokio::time::timeout(Duration::from_secs(60), one.wal.close()).await.expect("it ends");
    assert!(world.env.elapsed() - begun <= Duration::from_secs(12), "{:?}", world.env.elapsed() - begun);
    assert_eq!(one.acknowledged().len(), 1);
    assert!(matches!(one.told.failed().await, WalError::Unavailable { .. }));
}

#[tokio::test(start_paused = true)]
async fn while_the_metadata_does_not_answer_nothing_more_is_taken_and_then_all_of_it_is_acknowledged() {
    let world = World::new(4);
    let mut one = long_idle(&world).await;
    world.registrar.silence(true);
    one.append(&world.env);
    held(&world, &one).await;
    assert_eq!(one.acknowledged().len(), 1);
    world.registrar.silence(false);
    tokio::time::timeout(Duration::from_secs(30), one.all_durable())
        .await
        .expect("the answer that came is heard");
    assert_eq!(one.wal.accepting(), Ok(()));
    one.append(&world.env);
    one.all_durable().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_ends_while_the_metadata_does_not_answer() {
    let world = World::new(4);
    let held = world.registrar.register();
    world.registrar.silence(true);
    let begun = world.env.elapsed();
    let refused = world.open_as(held).await.err().expect("a refusal");
    assert!(matches!(refused, WalOpenError::Store(_)), "{refused}");
    assert!(refused.to_string().contains("the newest registration"), "{refused}");
    assert_eq!(world.env.elapsed() - begun, Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_said_last_is_told_with_its_request_and_what_to_do() {
    let refuses = Faults { refusals: 1_000, ..Faults::NONE };
    let silent = Faults { silences: 1_000, ..Faults::NONE };
    for (faults, said, fix) in [
        (refuses, "503 Slow Down", "fix: check address, credentials, permissions and room of the store"),
        (silent, "no answer within 2s (wal_request_timeout_ms)", "fix: look whether the store is up"),
    ] {
        let world = World::new(4);
        let mut one = world.start().await;
        world.store.set_faults(faults);
        one.append(&world.env);
        let told = held(&world, &one).await.to_string();
        let slot = "wal/1/00000000000000000000/00000000000000000000: ";
        let found = |told: &str| told.contains(slot) && told.contains(said) && told.contains(fix);
        assert!(found(&told) && told.contains("nothing durable for"), "{told}");
        one.wal.kill();
        let refused = world.open_as(world.registrar.register()).await.err().expect("a refusal").to_string();
        assert!(found(&refused) && refused.contains("get wal/"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_the_store_said_the_newest_is_told() {
    let world = World::new(4);
    let mut one = world.start().await;
    world.store.set_faults(Faults { refusals: 1_000, ..Faults::NONE });
    one.append(&world.env);
    assert!(held(&world, &one).await.to_string().contains("503 Slow Down"));
    world.store.set_faults(Faults { silences: 1_000, ..Faults::NONE });
    let told_anew = async {
        while !held(&world, &one).await.to_string().contains("no answer within 2s") {
            world.env.sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told_anew).await.expect("it is told in time");
    world.store.set_faults(Faults::NONE);
    one.all_durable().await;
    assert_eq!(one.wal.accepting(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_a_slot_is_named_with_what_to_do() {
    for stops in [false, true] {
        let world = World::new(4);
        let mut one = world.start().await;
        one.append(&world.env);
        one.all_durable().await;
        let path = world_path(0, 1);
        world.store.put(&path, Bytes::from_static(b"something else").into()).await.unwrap();
        if stops {
            one.wal.close().await;
        } else {
            one.append(&world.env);
        }
        let told = one.wal.failed().await.to_string();
        assert!(told.contains(&format!("{path} holds something else")), "{told}");
        assert!(told.contains("fix: see that nothing else writes under the store's prefix"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_beside_the_writer_is_told() {
    let world = World::new(4);
    let one = world.start().await;
    world.env.sleep(LEASE).await;
    world.store.set_faults(Faults { panics: true, ..Faults::NONE });
    let (lease, tasks) = (one.wal.lease().clone(), one.wal.tasks().clone());
    let (_, panicked) = tokio::join!(lease.check(), tasks.panicked());
    assert_eq!(panicked.task, "the keeper of the WAL's lease");
}
