use object_store::memory::InMemory;
use prometheus::Registry;
use towpath_shared_log::fault::{Faults, FaultyStore};

use super::*;

const BUSY: Faults = Faults { refusals: 1_000, ..Faults::NONE };

fn segments(env: &Env) -> (Arc<FaultyStore>, SegmentStore) {
    let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
    let metrics = StorageMetrics::register(&Registry::new()).unwrap();
    let segments = SegmentStore::new(store.clone(), &StorageConfig::new(1, "unused"), env.clone(), metrics);
    (store, segments)
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_a_busy_store() {
    let env = Env::seeded(1, 0);
    let (store, segments) = segments(&env);
    segments.put("snapshots/1", vec![Bytes::from_static(b"state")]).await;
    store.set_faults(BUSY);
    let calm = async {
        env.sleep(Duration::from_secs(5)).await;
        store.set_faults(Faults::NONE);
    };
    let (read, ()) = tokio::join!(segments.get("snapshots/1"), calm);
    assert_eq!(read.unwrap(), "state");
}

#[tokio::test(start_paused = true)]
async fn a_read_of_a_store_that_stays_away_fails_in_its_time_and_a_missing_object_at_once() {
    let env = Env::seeded(1, 0);
    let (store, segments) = segments(&env);
    assert!(matches!(segments.get("missing").await, Err(SegmentError::Gone { .. })));
    assert_eq!(env.elapsed(), Duration::ZERO);
    store.set_faults(BUSY);
    assert!(matches!(segments.get("any").await, Err(SegmentError::Store { .. })));
    assert!(env.elapsed() <= Duration::from_secs(10));
}
