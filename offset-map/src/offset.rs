//! The integers that must never be swapped: an offset of the source, an offset of the target, a topic's id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An offset in a partition of the source cluster (records, from 0; as a committed offset: next to read).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceOffset(pub i64);

/// An offset in a partition of the target cluster (records, from 0; as a committed offset: next to read).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetOffset(pub i64);

impl fmt::Display for SourceOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source offset {}", self.0)
    }
}

impl fmt::Display for TargetOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target offset {}", self.0)
    }
}

/// What the two directions of a lookup have in common.
pub(crate) trait Offset: Copy + Ord {
    fn of(raw: i64) -> Self;
    fn raw(self) -> i64;
}

impl Offset for SourceOffset {
    fn of(raw: i64) -> Self {
        Self(raw)
    }
    fn raw(self) -> i64 {
        self.0
    }
}

impl Offset for TargetOffset {
    fn of(raw: i64) -> Self {
        Self(raw)
    }
    fn raw(self) -> i64 {
        self.0
    }
}

/// A topic's id (KIP-516): tells a topic from another of the same name that was created later. All zero where
/// a cluster is too old to have ids (before Apache Kafka 2.8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// Text that is not a topic id: 32 hexadecimal digits, with or without hyphens, were expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a topic id; fix: give the 32 hexadecimal digits of its UUID")]
pub struct NotATopicId(String);

impl FromStr for TopicId {
    type Err = NotATopicId;

    fn from_str(text: &str) -> Result<Self, NotATopicId> {
        let refused = || NotATopicId(text.chars().take(64).collect());
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if digits.len() != 32 {
            return Err(refused());
        }
        let mut id = [0u8; 16];
        for (slot, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or_else(refused)?;
            let low = char::from(pair[1]).to_digit(16).ok_or_else(refused)?;
            *slot = (high * 16 + low) as u8;
        }
        Ok(Self(id))
    }
}

impl Serialize for TopicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which topic, exactly, a map is about, on both sides. A topic that is deleted and created again under the
/// same name is another incarnation: its offsets mean other records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The topic's id on the source cluster.
    pub source: TopicId,
    /// The topic's id on the target cluster.
    pub target: TopicId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_survives_its_text() {
        let id = TopicId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0dfeff");
        assert_eq!(id.to_string().parse::<TopicId>().unwrap(), id);
        assert_eq!(id.to_string().replace('-', "").parse::<TopicId>().unwrap(), id);
        assert!("00010203".parse::<TopicId>().is_err());
        assert!("zz010203-0405-0607-0809-0a0b0c0dfeff".parse::<TopicId>().is_err());
    }
}
