//! How entries are written.
//!
//! One slot of the shared log holds several groups of entries (proposals that met in the queue); a group takes
//! effect as a whole or not at all.
//!
//! ```text
//! slot:  format u8 = 1 | flags u8 = 0 | groups varint | group…
//! group: entries varint | entry…
//! entry: kind u8 | version u8 = 1 | flags u8 = 0 | length varint | body
//! ```
//! Rare kinds have a JSON body, those that hold many ranges a binary one. A flag is for compression to come. A
//! change that an older broker must not overlook, be it one more field, raises the entry's version: a broker that
//! meets a kind, version or flag it does not know stops rather than replaying a different image.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, SegmentCommitted, SegmentsMerged, WalTrim};
use crate::metadata::image::{SnapshotAt, WalPosition};
use crate::metadata::segments::{ObjectId, read_ranges, write_ranges};
use crate::metadata::varint::{Reader, Unreadable, put_bytes, put_i64, put_u64, put_uuid};

const FORMAT: u8 = 1;
const VERSION: u8 = 1;

/// Writes one group: the form in which proposals wait for their slot.
pub(in crate::metadata) fn encode_group(entries: &[Entry]) -> Bytes {
    let mut out = BytesMut::new();
    put_u64(&mut out, entries.len() as u64);
    for entry in entries {
        out.put_slice(&[kind(entry), VERSION, 0]);
        put_bytes(&mut out, &body(entry));
    }
    out.freeze()
}

/// Joins groups into what one slot holds.
pub(in crate::metadata) fn encode_slot(groups: &[Bytes]) -> Bytes {
    let size = groups.iter().map(Bytes::len).sum::<usize>();
    let mut out = BytesMut::with_capacity(size + 12);
    out.put_slice(&[FORMAT, 0]);
    put_u64(&mut out, groups.len() as u64);
    for group in groups {
        out.put_slice(group);
    }
    out.freeze()
}

/// Reads the groups of one slot.
pub(in crate::metadata) fn decode_slot(bytes: Bytes) -> Result<Vec<Vec<Entry>>, Unreadable> {
    let mut reader = Reader::new(bytes);
    if (reader.u8()?, reader.u8()?) != (FORMAT, 0) {
        return Err(Unreadable("its format is not known here"));
    }
    let count = reader.count(1)?;
    let groups = (0..count).map(|_| decode_group(&mut reader)).collect::<Result<_, _>>()?;
    if !reader.is_empty() {
        return Err(Unreadable("it has bytes behind its end"));
    }
    Ok(groups)
}

fn decode_group(reader: &mut Reader) -> Result<Vec<Entry>, Unreadable> {
    let count = reader.count(4)?;
    (0..count).map(|_| decode_entry(reader)).collect()
}

fn decode_entry(reader: &mut Reader) -> Result<Entry, Unreadable> {
    let (kind, version, flags) = (reader.u8()?, reader.u8()?, reader.u8()?);
    let body = reader.bytes()?;
    if version != VERSION || flags != 0 {
        return Err(Unreadable("the version of an entry is not known here"));
    }
    Ok(match kind {
        1 => Entry::ClusterCreated(from_json(&body)?),
        2 => Entry::TopicCreated(from_json(&body)?),
        3 => Entry::TopicDeleted(from_json(&body)?),
        4 => Entry::PartitionsAdded(from_json(&body)?),
        5 => Entry::ConfigsAltered(from_json(&body)?),
        6 => Entry::SegmentCommitted(read_committed(body)?),
        7 => Entry::SegmentsMerged(read_merged(body)?),
        8 => Entry::LogStartAdvanced(from_json(&body)?),
        9 => Entry::LeaderEpochRaised(from_json(&body)?),
        10 => Entry::BrokerRegistered(from_json(&body)?),
        11 => Entry::ProducerIdsTaken(from_json(&body)?),
        12 => Entry::WalBound(from_json(&body)?),
        13 => Entry::ObjectBarred(from_json(&body)?),
        14 => Entry::ObjectDeleted(from_json(&body)?),
        15 => Entry::WalSealed(from_json(&body)?),
        16 => Entry::CompactionAdvanced(from_json(&body)?),
        _ => return Err(Unreadable("the kind of an entry is not known here")),
    })
}

/// The number of a kind in the log. Never reused.
fn kind(entry: &Entry) -> u8 {
    match entry {
        Entry::ClusterCreated(_) => 1,
        Entry::TopicCreated(_) => 2,
        Entry::TopicDeleted(_) => 3,
        Entry::PartitionsAdded(_) => 4,
        Entry::ConfigsAltered(_) => 5,
        Entry::SegmentCommitted(_) => 6,
        Entry::SegmentsMerged(_) => 7,
        Entry::LogStartAdvanced(_) => 8,
        Entry::LeaderEpochRaised(_) => 9,
        Entry::BrokerRegistered(_) => 10,
        Entry::ProducerIdsTaken(_) => 11,
        Entry::WalBound(_) => 12,
        Entry::ObjectBarred(_) => 13,
        Entry::ObjectDeleted(_) => 14,
        Entry::WalSealed(_) => 15,
        Entry::CompactionAdvanced(_) => 16,
    }
}

fn body(entry: &Entry) -> Vec<u8> {
    match entry {
        Entry::ClusterCreated(entry) => to_json(entry),
        Entry::TopicCreated(entry) => to_json(entry),
        Entry::TopicDeleted(entry) => to_json(entry),
        Entry::PartitionsAdded(entry) => to_json(entry),
        Entry::ConfigsAltered(entry) => to_json(entry),
        Entry::SegmentCommitted(entry) => write_committed(entry),
        Entry::SegmentsMerged(entry) => write_merged(entry),
        Entry::LogStartAdvanced(entry) => to_json(entry),
        Entry::LeaderEpochRaised(entry) => to_json(entry),
        Entry::BrokerRegistered(entry) => to_json(entry),
        Entry::ProducerIdsTaken(entry) => to_json(entry),
        Entry::WalBound(entry) => to_json(entry),
        Entry::ObjectBarred(entry) => to_json(entry),
        Entry::ObjectDeleted(entry) => to_json(entry),
        Entry::WalSealed(entry) => to_json(entry),
        Entry::CompactionAdvanced(entry) => to_json(entry),
    }
}

fn to_json(entry: &impl Serialize) -> Vec<u8> {
    // Entries are structs of strings, numbers and maps with string keys: nothing that JSON cannot hold.
    #[allow(clippy::expect_used)]
    serde_json::to_vec(entry).expect("an entry has a JSON form")
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|_| Unreadable("the body of an entry is not of its kind"))
}

fn write_committed(entry: &SegmentCommitted) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(64 + entry.ranges.len() * 24);
    put_uuid(&mut out, entry.object.0);
    put_u64(&mut out, entry.born);
    put_u64(&mut out, entry.size_bytes);
    match &entry.wal {
        None => out.put_u8(0),
        Some(trim) => write_trim(&mut out, trim),
    }
    write_ranges(&mut out, entry.ranges.iter());
    out.into()
}

/// A byte says what of a WAL boundary follows.
const TRIM: u8 = 1;
const TRIM_SNAPSHOT: u8 = 2;
const TRIM_POSITION: u8 = 4;
const TRIM_INLINE: u8 = 8;

fn write_trim(out: &mut BytesMut, trim: &WalTrim) {
    let snapshot = match &trim.snapshot {
        None => 0,
        Some(SnapshotAt::Object(_)) => TRIM_SNAPSHOT,
        Some(SnapshotAt::Inline(_)) => TRIM_INLINE,
    };
    let position = if trim.position.is_some() { TRIM_POSITION } else { 0 };
    out.put_u8(TRIM | snapshot | position);
    put_i64(out, i64::from(trim.node_id));
    put_i64(out, trim.epoch);
    put_u64(out, trim.trimmed_to);
    match &trim.snapshot {
        None => {}
        Some(SnapshotAt::Object(key)) => put_bytes(out, key.as_bytes()),
        Some(SnapshotAt::Inline(content)) => put_bytes(out, content),
    }
    if let Some(position) = &trim.position {
        put_i64(out, position.epoch);
        put_u64(out, position.slot);
        put_u64(out, position.lease_ms);
    }
}

fn read_trim(reader: &mut Reader, has: u8) -> Result<WalTrim, Unreadable> {
    let (node_id, epoch, trimmed_to) = (reader.i32()?, reader.i64()?, reader.u64()?);
    let snapshot = match has & (TRIM_SNAPSHOT | TRIM_INLINE) {
        0 => None,
        TRIM_SNAPSHOT => Some(SnapshotAt::Object(text(reader.bytes()?)?)),
        // A copy: a slice would keep the whole slot in memory for as long as the image lives.
        TRIM_INLINE => Some(SnapshotAt::Inline(Bytes::copy_from_slice(&reader.bytes()?))),
        _ => return Err(Unreadable("a snapshot is in two places")),
    };
    let position = if has & TRIM_POSITION != 0 {
        Some(WalPosition { epoch: reader.i64()?, slot: reader.u64()?, lease_ms: reader.u64()? })
    } else {
        None
    };
    Ok(WalTrim { node_id, epoch, trimmed_to, position, snapshot })
}

fn read_committed(body: Bytes) -> Result<SegmentCommitted, Unreadable> {
    let mut reader = Reader::new(body);
    let (object, born, size_bytes) = (ObjectId(reader.uuid()?), reader.u64()?, reader.u64()?);
    let wal = match reader.u8()? {
        0 => None,
        has if has & TRIM != 0 && has < TRIM_INLINE * 2 => Some(read_trim(&mut reader, has)?),
        _ => return Err(Unreadable("a WAL boundary is not of its kind")),
    };
    Ok(SegmentCommitted { object, born, size_bytes, ranges: read_ranges(&mut reader)?, wal })
}

fn write_merged(entry: &SegmentsMerged) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(64 + entry.ranges.len() * 24 + entry.replaced.len() * 16);
    put_uuid(&mut out, entry.object.0);
    put_u64(&mut out, entry.born);
    out.put_u8(entry.generation);
    put_u64(&mut out, entry.size_bytes);
    put_u64(&mut out, entry.replaced.len() as u64);
    for object in &entry.replaced {
        put_uuid(&mut out, object.0);
    }
    write_ranges(&mut out, entry.ranges.iter());
    out.into()
}

fn read_merged(body: Bytes) -> Result<SegmentsMerged, Unreadable> {
    let mut reader = Reader::new(body);
    let (object, born) = (ObjectId(reader.uuid()?), reader.u64()?);
    let (generation, size_bytes) = (reader.u8()?, reader.u64()?);
    let count = reader.count(16)?;
    let replaced = (0..count).map(|_| Ok(ObjectId(reader.uuid()?))).collect::<Result<_, _>>()?;
    let ranges = read_ranges(&mut reader)?;
    Ok(SegmentsMerged { object, born, generation, size_bytes, ranges, replaced })
}

fn text(bytes: Bytes) -> Result<String, Unreadable> {
    String::from_utf8(bytes.into()).map_err(|_| Unreadable("a name is not text"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::metadata::entry::*;
    use crate::metadata::segments::SegmentRange;

    fn configs(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), "ä \" value".to_owned())])
    }

    fn one_of_each() -> Vec<Entry> {
        let id = Uuid::from_u128(7);
        let object = ObjectId(id);
        let position = Some(WalPosition { epoch: 3, slot: 1 << 40, lease_ms: 3_000 });
        let wal = Some(WalTrim {
            node_id: -1,
            epoch: -1,
            trimmed_to: u64::MAX,
            position,
            snapshot: Some(SnapshotAt::Object("a/b".to_owned())),
        });
        let content = SnapshotAt::Inline(Bytes::from_static(&[0, 255, 7]));
        let inline = wal.clone().map(|trim| WalTrim { snapshot: Some(content), position: None, ..trim });
        let resource = ConfigResource::Group("g".to_owned());
        vec![
            ClusterCreated { cluster_id: "c".to_owned(), store_id: id }.into(),
            TopicCreated { name: "t".into(), id, partitions: 3, configs: configs("a"), internal: true }
                .into(),
            TopicDeleted { topic_id: id }.into(),
            PartitionsAdded { topic_id: id, total: 5 }.into(),
            ConfigsAltered { resource, set: configs("x"), removed: vec!["y".to_owned()] }.into(),
            SegmentCommitted { object, born: 3, size_bytes: 9, ranges: Vec::new(), wal }.into(),
            SegmentCommitted { object, born: 3, size_bytes: 9, ranges: Vec::new(), wal: inline }.into(),
            SegmentsMerged {
                object,
                born: 4,
                generation: 2,
                size_bytes: 9,
                ranges: Vec::new(),
                replaced: vec![object],
            }
            .into(),
            LogStartAdvanced { node_id: 1, epoch: 0, topic_id: id, partition: 1, offset: i64::MAX }.into(),
            LeaderEpochRaised { topic_id: id, partition: 1, epoch: 4, start_offset: 5 }.into(),
            BrokerRegistered { node_id: 1, host: "h".into(), port: 9092, rack: None, alone: true }.into(),
            ProducerIdsTaken { from: 1, up_to: 2 }.into(),
            WalBound { node_id: 1, epoch: 2, wal_id: id, position, replaces: Some(id) }.into(),
            ObjectBarred { object }.into(),
            ObjectDeleted { object }.into(),
            WalSealed { node_id: 1, epoch: 2, end: 3 }.into(),
            CompactionAdvanced { topic_id: id, partition: 1, offset: 7 }.into(),
        ]
    }

    prop_compose! {
        fn any_range()(
            topic in 0..4_u128, partition: i32, base_offset: i64, span in 0..1_000_i64,
            rest in any::<(i64, u64, u32, u32)>(), object in 0..3_u128,
        ) -> SegmentRange {
            let last_offset = base_offset.saturating_add(span);
            let (max_timestamp_ms, position, length, checksum) = rest;
            let (topic_id, object) = (Uuid::from_u128(topic), ObjectId(Uuid::from_u128(object)));
            SegmentRange {
                topic_id, partition, object, base_offset, last_offset, max_timestamp_ms, position, length, checksum,
            }
        }
    }

    #[test]
    fn every_kind_reads_back_in_its_group() {
        let all = one_of_each();
        let groups = [encode_group(&all), encode_group(&all[..2]), encode_group(&[])];
        let decoded = decode_slot(encode_slot(&groups)).unwrap();
        assert_eq!(decoded, [all.clone(), all[..2].to_vec(), Vec::new()]);
    }

    #[test]
    fn a_commit_of_ten_thousand_ranges_takes_at_most_24_bytes_for_each() {
        let (topic_id, object) = (Uuid::from_u128(1), ObjectId(Uuid::from_u128(2)));
        let range = |number: i32| SegmentRange {
            topic_id,
            partition: number,
            object,
            base_offset: 3_000_000_000 + i64::from(number),
            last_offset: 3_000_000_999 + i64::from(number),
            max_timestamp_ms: 1_760_000_000_000 + i64::from(number),
            position: 5_000 * number as u64,
            length: 5_000,
            checksum: 0xdead_beef,
        };
        let ranges = (0..10_000).map(range).collect();
        let entry =
            Entry::from(SegmentCommitted { object, born: 0, size_bytes: 50_000_000, ranges, wal: None });
        let encoded = encode_group(std::slice::from_ref(&entry));
        assert!(encoded.len() < 240_000, "{} bytes", encoded.len());
        assert_eq!(decode_slot(encode_slot(&[encoded])).unwrap(), [[entry]]);
    }

    proptest! {
        #[test]
        fn any_ranges_read_back(ranges in prop::collection::vec(any_range(), 0..50)) {
            let object = ObjectId(Uuid::from_u128(9));
            let entry = Entry::from(SegmentCommitted { object, born: 0, size_bytes: 1, ranges, wal: None });
            let decoded = decode_slot(encode_slot(&[encode_group(std::slice::from_ref(&entry))]));
            prop_assert_eq!(decoded.unwrap(), vec![vec![entry]]);
        }

        #[test]
        fn damaged_slots_are_refused_or_read_but_never_crash(
            at: prop::sample::Index, value: u8, cut: prop::sample::Index,
        ) {
            let mut bytes = encode_slot(&[encode_group(&one_of_each())]).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = decode_slot(bytes.clone().into());
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(decode_slot(bytes.into()).is_err());
        }
    }
}
