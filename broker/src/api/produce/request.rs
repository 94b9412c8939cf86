//! A Produce request by its places: where in the frame each records field lies.

use std::ops::Range;

use uuid::Uuid;

use super::TOPIC_ID_VERSION;

/// Versions from this one on are flexible (KIP-482).
const FLEXIBLE_VERSION: i16 = 9;
/// Versions from this one on have a transactional id.
const TRANSACTIONAL_VERSION: i16 = 3;

/// A Produce request without its records.
#[derive(Debug, PartialEq, Eq)]
pub struct ProduceData {
    /// Acknowledgements asked for.
    pub acks: i16,
    /// How long the client waits (ms).
    pub timeout_ms: i32,
    /// What goes where.
    pub topics: Vec<TopicData>,
}

/// The part of one topic.
#[derive(Debug, PartialEq, Eq)]
pub struct TopicData {
    /// Which.
    pub topic: TopicRef,
    /// By partition.
    pub partitions: Vec<PartitionData>,
}

/// How a request names a topic.
#[derive(Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// Up to version 12.
    Name(String),
    /// From version 13 on.
    Id(Uuid),
}

/// The part of one partition.
#[derive(Debug, PartialEq, Eq)]
pub struct PartitionData {
    /// Which.
    pub index: i32,
    /// Where the records lie in the frame; `None`: null.
    pub records: Option<Range<usize>>,
}

/// A request that is not what its version says. The guard lets none of these through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Produce request breaks off or contradicts itself at byte {position}")]
pub struct Malformed {
    /// Where in the frame.
    pub position: usize,
}

/// Reads the body that begins at `position` of `frame`.
pub fn read(frame: &[u8], position: usize, version: i16) -> Result<ProduceData, Malformed> {
    let mut input = Input { frame, position, flexible: version >= FLEXIBLE_VERSION };
    if version >= TRANSACTIONAL_VERSION {
        input.skip_nullable_string()?;
    }
    let (acks, timeout_ms) = (input.i16()?, input.i32()?);
    let mut topics = Vec::new();
    for _ in 0..input.count()? {
        topics.push(input.topic(version)?);
    }
    input.skip_tags()?;
    Ok(ProduceData { acks, timeout_ms, topics })
}

struct Input<'a> {
    frame: &'a [u8],
    position: usize,
    flexible: bool,
}

impl<'a> Input<'a> {
    fn topic(&mut self, version: i16) -> Result<TopicData, Malformed> {
        let topic = match version {
            TOPIC_ID_VERSION.. => TopicRef::Id(Uuid::from_bytes(self.array()?)),
            _ => TopicRef::Name(self.string()?),
        };
        let mut partitions = Vec::new();
        for _ in 0..self.count()? {
            let index = self.i32()?;
            let records = match self.length(4)? {
                None => None,
                Some(length) => {
                    let start = self.position;
                    self.take(length)?;
                    Some(start..self.position)
                }
            };
            self.skip_tags()?;
            partitions.push(PartitionData { index, records });
        }
        self.skip_tags()?;
        Ok(TopicData { topic, partitions })
    }

    fn malformed(&self) -> Malformed {
        Malformed { position: self.position }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.position.checked_add(length).and_then(|end| self.frame.get(self.position..end));
        let taken = taken.ok_or(self.malformed())?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array::<1>()?;
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    /// A length: one more in a varint if flexible, else `width` bytes. `None`: null.
    fn length(&mut self, width: usize) -> Result<Option<usize>, Malformed> {
        let length = match (self.flexible, width) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, 2) => i64::from(self.i16()?),
            (false, _) => i64::from(self.i32()?),
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| self.malformed()),
        }
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        self.length(4)?.ok_or(self.malformed())
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let length = self.length(2)?.ok_or(self.malformed())?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| self.malformed())
    }

    fn skip_nullable_string(&mut self) -> Result<(), Malformed> {
        if let Some(length) = self.length(2)? {
            self.take(length)?;
        }
        Ok(())
    }

    fn skip_tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()? as usize;
            self.take(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn request(version: i16) -> ProduceRequest {
        let partition = |index, records: Option<&'static str>| {
            PartitionProduceData::default()
                .with_index(index)
                .with_records(records.map(|records| Bytes::from_static(records.as_bytes())))
        };
        let topic = match version {
            TOPIC_ID_VERSION.. => TopicProduceData::default().with_topic_id(Uuid::from_u128(7)),
            _ => TopicProduceData::default().with_name(TopicName(StrBytes::from_static_str("orders"))),
        };
        let partitions = Vec::from([partition(3, Some("abc")), partition(4, None), partition(5, Some(""))]);
        ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1_500)
            .with_topic_data(Vec::from([topic.with_partition_data(partitions)]))
    }

    #[test]
    fn every_version_that_the_crate_writes_is_read_with_its_records_in_place() {
        for version in 3..=13 {
            let mut frame = BytesMut::from(&b"head"[..]);
            request(version).encode(&mut frame, version).unwrap();
            let read = read(&frame, 4, version).unwrap();
            assert_eq!((read.acks, read.timeout_ms), (-1, 1_500));
            let [topic] = &read.topics[..] else { panic!("v{version}") };
            let name = match version {
                13 => TopicRef::Id(Uuid::from_u128(7)),
                _ => TopicRef::Name("orders".to_owned()),
            };
            assert_eq!(topic.topic, name);
            let records: Vec<_> = topic
                .partitions
                .iter()
                .map(|partition| (partition.index, partition.records.clone().map(|range| &frame[range])))
                .collect();
            assert_eq!(records, [(3, Some(&b"abc"[..])), (4, None), (5, Some(&b""[..]))]);
        }
    }

    #[test]
    fn versions_before_3_are_3_without_its_transactional_id() {
        let mut frame = BytesMut::new();
        request(3).encode(&mut frame, 3).unwrap();
        for version in 0..3 {
            // The id is null: two bytes.
            assert_eq!(read(&frame[2..], 0, version).unwrap().topics[0].partitions.len(), 3);
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_refused_and_never_panics() {
        for version in [3, 9, 13] {
            let mut frame = BytesMut::new();
            request(version).encode(&mut frame, version).unwrap();
            for end in 0..frame.len() {
                assert!(read(&frame[..end], 0, version).is_err(), "v{version} cut at {end}");
            }
        }
    }

    #[test]
    fn a_count_beyond_the_frame_does_not_allocate() {
        // acks, timeout, then two billion topics.
        let frame = [0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(read(&frame, 0, 0), Err(Malformed { position: frame.len() }));
    }
}
