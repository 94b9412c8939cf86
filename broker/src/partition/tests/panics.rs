//! A background task that panics is told: nothing would be uploaded any more, and nobody would know.

use std::time::Duration;

use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;

#[tokio::test]
async fn an_uploader_that_panics_is_told_and_what_was_acknowledged_is_there_at_the_next_start() {
    let mut world = World::with(&[], |config| config.segment_age_max = Duration::ZERO).await;
    let well = std::mem::replace(&mut world.store, Arc::new(InMemory::new()));
    world.store = FaultyStore::new(well.clone(), world.env.clone(), Faults { panics: true, ..Faults::NONE });
    world.restart().await;
    world.partition().append(batch(&["a"]), Origin::Client).unwrap().durable.await.unwrap();
    let panicked = world.partitions.tasks().panicked().await;
    assert_eq!(panicked.task, "the uploader");
    assert!(panicked.why.contains("the store's client has a bug"), "{panicked}");
    world.store = well;
    world.restart().await;
    assert_eq!(world.partition().offsets().high_watermark, 1);
}
