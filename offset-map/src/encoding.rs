//! The compact form of a map: a version byte, the two topic ids, then varints (LEB128) of bounds and of each
//! run's distance from the run before. An identity mirror is about 45 bytes for ever.

use crate::map::{PartitionMap, Run};
use crate::offset::{Incarnation, SourceOffset, TargetOffset, TopicId};

const VERSION: u8 = 1;

/// Bytes that are not a map. The store's fault: the cache is damaged and may be deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the map is cut off after {at} bytes; fix: delete the cached map, the mirror rebuilds it")]
    Truncated {
        /// Where it ended.
        at: usize,
    },
    /// A format this version does not know.
    #[error("the map has format {found}, this version reads 1; fix: use the version that wrote it")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The bytes break one of the map's own rules.
    #[error("the map breaks a rule: {rule}; fix: delete the cached map, the mirror rebuilds it")]
    Invalid {
        /// Which rule.
        rule: &'static str,
    },
}

impl PartitionMap {
    /// The compact form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.runs.len() * 6);
        out.push(VERSION);
        out.extend_from_slice(&self.incarnation.source.0);
        out.extend_from_slice(&self.incarnation.target.0);
        put(&mut out, self.source_start.0 as u64);
        put(&mut out, self.target_start.0 as u64);
        put(&mut out, (self.source_end.0 - self.source_start.0) as u64);
        put(&mut out, (self.target_end.0 - self.target_start.0) as u64);
        put(&mut out, self.runs.len() as u64);
        let (mut source, mut target) = (self.source_start.0, self.target_start.0);
        for run in &self.runs {
            put(&mut out, (run.source.0 - source) as u64);
            put(&mut out, (run.target.0 - target) as u64);
            put(&mut out, run.length);
            (source, target) = (run.source_end().0, run.target_end().0);
        }
        out
    }

    /// Reads the compact form and checks every rule of a map again.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version { found: version });
        }
        let incarnation = Incarnation { source: TopicId(reader.id()?), target: TopicId(reader.id()?) };
        let source_start = reader.sum(0)?;
        let target_start = reader.sum(0)?;
        let source_end = reader.sum(source_start)?;
        let target_end = reader.sum(target_start)?;
        let mut map = Self::new(incarnation, SourceOffset(source_start), TargetOffset(target_start));
        let count = reader.varint()?;
        for index in 0..count {
            let run = Run {
                source: SourceOffset(reader.sum(map.source_end.0)?),
                target: TargetOffset(reader.sum(map.target_end.0)?),
                length: reader.varint()?,
            };
            map.append(run).map_err(|_| DecodeError::Invalid { rule: "runs are in order and not empty" })?;
            if map.runs.len() as u64 != index + 1 {
                return Err(DecodeError::Invalid { rule: "contiguous runs are one run" });
            }
        }
        map.advance_end(SourceOffset(source_end), TargetOffset(target_end))
            .map_err(|_| DecodeError::Invalid { rule: "runs end before the map ends" })?;
        if reader.at != bytes.len() {
            return Err(DecodeError::Invalid { rule: "nothing follows the last run" });
        }
        Ok(map)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        let mut id = [0; 16];
        for slot in &mut id {
            *slot = self.byte()?;
        }
        Ok(id)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid { rule: "numbers fit 64 bits" })
    }

    /// A varint added to `base`, as an offset.
    fn sum(&mut self, base: i64) -> Result<i64, DecodeError> {
        let delta = self.varint()?;
        i64::try_from(delta)
            .ok()
            .and_then(|delta| base.checked_add(delta))
            .ok_or(DecodeError::Invalid { rule: "offsets fit 63 bits" })
    }
}
