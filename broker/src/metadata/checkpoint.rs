//! The image as one object: what a starting broker reads instead of the whole log.
//!
//! ```text
//! format u8 = 1 | flags u8 = 0 | state length varint | state (JSON) | objects | ranges
//! ```
//! Only what survives is in [`State`]; everything else of the image is derived.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::config::mirror_state;
use super::image::{BrokerImage, Image, TopicImage, WalImage};
use super::segments::{ObjectId, ObjectImage, PartitionSegments, read_ranges, write_ranges};
use super::varint::{Reader, Unreadable, put_bytes, put_u64, put_uuid};

const FORMAT: u8 = 1;
/// Fewest bytes that a written object takes.
const OBJECT_BYTES_MIN: usize = 20;

type Configs = BTreeMap<String, BTreeMap<String, String>>;

/// What of the image is persistent, but for the segment index.
#[derive(Serialize, Deserialize)]
struct State {
    cluster_id: String,
    store_id: Uuid,
    topics: Vec<Arc<TopicImage>>,
    group_configs: Arc<Configs>,
    broker_configs: Arc<Configs>,
    brokers: Arc<BTreeMap<i32, BrokerImage>>,
    wals: Arc<BTreeMap<i32, WalImage>>,
    barred: Arc<BTreeMap<ObjectId, u64>>,
    born_floor: u64,
    next_producer_id: i64,
}

/// Writes the image.
pub(super) fn encode(image: &Image) -> Bytes {
    let state = State {
        cluster_id: image.cluster_id.clone(),
        store_id: image.store_id,
        topics: image.topics_by_name.values().cloned().collect(),
        group_configs: image.group_configs.clone(),
        broker_configs: image.broker_configs.clone(),
        brokers: image.brokers.clone(),
        wals: image.wals.clone(),
        barred: image.barred.clone(),
        born_floor: image.born_floor,
        next_producer_id: image.next_producer_id,
    };
    // Strings, numbers and maps with keys that read as strings: nothing that JSON cannot hold.
    #[allow(clippy::expect_used)]
    let state = serde_json::to_vec(&state).expect("the image has a JSON form");
    let mut out = BytesMut::with_capacity(state.len() + 64 + image.objects.len() * 24);
    out.put_slice(&[FORMAT, 0]);
    put_bytes(&mut out, &state);
    let mut objects = image.objects.iter().collect::<Vec<_>>();
    objects.sort_unstable_by_key(|(id, _)| **id);
    put_u64(&mut out, objects.len() as u64);
    for (id, object) in objects {
        put_uuid(&mut out, id.0);
        put_u64(&mut out, object.size_bytes);
        put_u64(&mut out, u64::from(object.live_ranges));
        out.put_u8(object.generation);
        put_u64(&mut out, object.layer);
    }
    // By name, so that one image has one form.
    let topics = image.topics_by_name.values().filter_map(|topic| image.segments.get(&topic.id));
    write_ranges(&mut out, topics.flat_map(|topic| topic.iter().flat_map(|partition| partition.ranges())));
    out.freeze()
}

/// Reads what [`encode`] wrote after `version` slots.
pub(super) fn decode(version: u64, bytes: Bytes) -> Result<Image, Unreadable> {
    let mut reader = Reader::new(bytes);
    if (reader.u8()?, reader.u8()?) != (FORMAT, 0) {
        return Err(Unreadable("its format is not known here"));
    }
    let state = serde_json::from_slice::<State>(&reader.bytes()?);
    let state = state.map_err(|_| Unreadable("its state is not of its kind"))?;
    let count = reader.count(OBJECT_BYTES_MIN)?;
    let objects = (0..count).map(|_| {
        let id = ObjectId(reader.uuid()?);
        Ok((id, read_object(&mut reader)?))
    });
    let objects = Arc::new(objects.collect::<Result<_, _>>()?);
    let ranges = read_ranges(&mut reader)?;
    let mut image = Image {
        cluster_id: state.cluster_id,
        store_id: state.store_id,
        version,
        group_configs: state.group_configs,
        broker_configs: state.broker_configs,
        brokers: state.brokers,
        wals: state.wals,
        objects,
        barred: state.barred,
        born_floor: state.born_floor,
        next_producer_id: state.next_producer_id,
        ..Image::default()
    };
    add_topics(&mut image, state.topics);
    let segments = Arc::make_mut(&mut image.segments);
    for range in ranges {
        let topic = segments.get_mut(&range.topic_id).map(Arc::make_mut);
        let index = usize::try_from(range.partition).ok();
        let partition = topic.zip(index).and_then(|(topic, index)| topic.get_mut(index));
        Arc::make_mut(partition.ok_or(Unreadable("a range belongs to no partition"))?).push(range);
    }
    Ok(image)
}

fn read_object(reader: &mut Reader) -> Result<ObjectImage, Unreadable> {
    let (size_bytes, live_ranges) = (reader.u64()?, reader.u32()?);
    Ok(ObjectImage { size_bytes, live_ranges, generation: reader.u8()?, layer: reader.u64()? })
}

fn add_topics(image: &mut Image, topics: Vec<Arc<TopicImage>>) {
    let by_name = Arc::make_mut(&mut image.topics_by_name);
    let by_id = Arc::make_mut(&mut image.topics_by_id);
    let segments = Arc::make_mut(&mut image.segments);
    for mut topic in topics {
        if let Some(changed) = Arc::get_mut(&mut topic) {
            changed.mirror = mirror_state(&changed.configs);
        }
        let partitions = topic.partitions.iter().map(|_| Arc::new(PartitionSegments::default()));
        segments.insert(topic.id, Arc::new(partitions.collect()));
        by_name.insert(topic.name.clone(), topic.clone());
        by_id.insert(topic.id, topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::entry::*;
    use crate::metadata::image::tests::{busy_image, commit};

    #[test]
    fn an_image_reads_back_whole() {
        let image = busy_image();
        assert_eq!(decode(image.version, encode(&image)).unwrap(), image);
        assert_eq!(encode(&decode(image.version, encode(&image)).unwrap()), encode(&image));
    }

    #[test]
    fn a_cut_checkpoint_is_refused() {
        let whole = encode(&busy_image());
        for cut in 0..whole.len() {
            assert!(decode(1, whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_replay_goes_on_from_a_checkpoint_as_from_the_beginning() {
        let mut straight = busy_image();
        let mut resumed = decode(straight.version, encode(&straight)).unwrap();
        let topic_id = straight.topic("orders").unwrap().id;
        let entries: [Entry; 4] = [
            commit(77, &[(topic_id, 0, 500, 599)]).into(),
            LogStartAdvanced { node_id: 1, epoch: 0, topic_id, partition: 0, offset: 550 }.into(),
            PartitionsAdded { topic_id, total: 9 }.into(),
            commit(77, &[(topic_id, 0, 600, 699)]).into(),
        ];
        for entry in &entries {
            assert_eq!(straight.apply(entry), resumed.apply(entry));
        }
        assert_eq!(straight, resumed);
    }
}
