//! Objects in the place of ranges, whatever the store answers.

use object_store::memory::InMemory;
use towpath_shared_log::fault::{Faults, FaultyStore};
use towpath_wire::batch::split;

use super::*;
use crate::metadata::SegmentRange;
use crate::partition::replace::{Replaced, Replacement};

fn runs(world: &World) -> Vec<SegmentRange> {
    world.metadata.image().segments(TOPIC, 0).unwrap().ranges().to_vec()
}

async fn three_segments(world: &World) -> Vec<(i64, String)> {
    for value in ["a", "b", "c"] {
        world.partition().append(batch(&[value]), Origin::Client).unwrap().durable.await.unwrap();
        world.upload().await;
    }
    vec![(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())]
}

async fn rewritten(world: &World, run: &[SegmentRange]) -> Replacement {
    let shared = &world.partitions.inner.shared;
    let mut batches = Vec::new();
    for range in run {
        let read = shared.segments.read(range, 0, i64::MAX, ALL).await.unwrap();
        batches.extend(read.batches.into_iter().flat_map(split).map(Result::unwrap));
    }
    let mut replacement = Replacement::new(shared, 1);
    replacement.add_batches(run, batches);
    replacement
}

#[tokio::test]
async fn a_replacement_takes_the_place_of_its_run_and_reads_the_same() {
    let mut world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
    let expected = three_segments(&world).await;
    let shared = world.partitions.inner.shared.clone();
    let written = shared.write(rewritten(&world, &runs(&world)[..2]).await).await;
    let replaced = shared.commit(vec![written]).await;
    assert!(matches!(replaced[..], [Replaced::Taken { ranges: 1, .. }]), "{replaced:?}");
    assert_eq!(runs(&world).len(), 2);
    assert_eq!(read_all(&world.partition(), 0).await, expected);
    world.restart().await;
    assert_eq!(read_all(&world.partition(), 0).await, expected);
}

#[tokio::test]
async fn a_run_of_which_nothing_is_left_is_read_as_a_gap() {
    let world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
    let expected = three_segments(&world).await;
    let shared = world.partitions.inner.shared.clone();
    let mut nothing = Replacement::new(&shared, 1);
    nothing.add_batches(&runs(&world)[..2], []);
    let written = shared.write(nothing).await;
    shared.commit(vec![written]).await;
    assert_eq!(read_all(&world.partition(), 0).await, expected[2..]);
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_not_replaced_and_the_object_is_barred() {
    let world = World::with(&[], |config| config.tail_cache_bytes_max = 0).await;
    three_segments(&world).await;
    let shared = world.partitions.inner.shared.clone();
    let replacement = rewritten(&world, &runs(&world)[..2]).await;
    world.partition().delete_records(1).await.unwrap();
    let written = shared.write(replacement).await;
    assert_eq!(shared.commit(vec![written]).await, [Replaced::Void]);
    assert_eq!(runs(&world).len(), 2);
    assert_eq!(world.metadata.image().barred.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_ends_in_one_of_two_states_on_a_stormy_store() {
    for seed in 0..20 {
        let env = Env::seeded(seed, NOW_MS);
        let store = FaultyStore::new(Arc::new(InMemory::new()), env.clone(), Faults::NONE);
        let world = World::on(store.clone(), env, &[], |config| config.tail_cache_bytes_max = 0).await;
        let expected = three_segments(&world).await;
        let shared = world.partitions.inner.shared.clone();
        let replacement = rewritten(&world, &runs(&world)).await;
        store.set_faults(Faults { silences: 0, ..Faults::STORMY });
        let written = shared.write(replacement).await;
        let replaced = shared.commit(vec![written]).await;
        assert!(matches!(replaced[..], [Replaced::Taken { ranges: 1, .. }]), "{seed}: {replaced:?}");
        store.set_faults(Faults::NONE);
        assert_eq!(runs(&world).len(), 1, "{seed}");
        assert_eq!(read_all(&world.partition(), 0).await, expected, "{seed}");
    }
}
