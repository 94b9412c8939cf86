//! All partitions, as the background work goes through them.

use super::*;
use crate::metadata::entry::{PartitionsAdded, TopicDeleted};

fn named(world: &World) -> Vec<(Uuid, i32)> {
    let all = world.partitions.inner.all();
    all.iter().map(|partition| (partition.name.topic_id, partition.name.index)).collect()
}

#[tokio::test]
async fn partitions_are_put_in_order_when_they_have_changed_and_never_else() {
    let world = World::new(&[]).await;
    let inner = &world.partitions.inner;
    let told = async |entry: Entry| inner.sync(&world.metadata.propose(entry).await.unwrap());
    let first = inner.all();
    assert_eq!(named(&world), [(TOPIC, 0), (TOPIC, 1)]);
    told(crate::metadata::ProducerIdsTaken { from: 1 << 62, up_to: (1 << 62) + 1 }.into()).await;
    assert!(Arc::ptr_eq(&first, &inner.all()));
    let before = Uuid::from_u128(3);
    let topic = TopicCreated {
        name: "carts".to_owned(),
        id: before,
        partitions: 1,
        configs: BTreeMap::new(),
        internal: false,
    };
    told(topic.into()).await;
    assert_eq!(named(&world), [(before, 0), (TOPIC, 0), (TOPIC, 1)]);
    let held = world.partition();
    told(PartitionsAdded { topic_id: before, total: 2 }.into()).await;
    assert_eq!(named(&world), [(before, 0), (before, 1), (TOPIC, 0), (TOPIC, 1)]);
    assert!(Arc::ptr_eq(&held, &world.partition()), "what is open stays open");
    told(TopicDeleted { topic_id: TOPIC }.into()).await;
    assert_eq!(named(&world), [(before, 0), (before, 1)]);
    assert!(held.append(batch(&["late"]), Origin::Client).is_err());
}
