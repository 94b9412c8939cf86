//! One record as an independent reader saw it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that travel as base64 between harness and clients.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Blob).map_err(serde::de::Error::custom)
    }
}

/// Short: a value may have a megabyte.
impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.0[..self.0.len().min(48)];
        write!(f, "{:?}", String::from_utf8_lossy(start))?;
        if self.0.len() > start.len() { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// A record with all that a client shows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// UTC milliseconds; -1: none.
    pub timestamp_ms: i64,
    /// 0: the producer's (CreateTime), 1: the broker's (LogAppendTime).
    pub timestamp_type: i8,
    /// `None` is a null key.
    pub key: Option<Blob>,
    /// `None` is a tombstone.
    pub value: Option<Blob>,
    /// In order; names may repeat.
    pub headers: Vec<(String, Option<Blob>)>,
}

/// A record to be produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The producer's own count: what acknowledgements name.
    pub n: u64,
    /// The topic's name.
    pub topic: String,
    /// `None`: by key, as the client partitions.
    pub partition: Option<i32>,
    /// `None`: the client's clock.
    pub timestamp_ms: Option<i64>,
    /// `None` is a null key.
    pub key: Option<Blob>,
    /// `None` is a tombstone.
    pub value: Option<Blob>,
    /// In order; names may repeat.
    #[serde(default)]
    pub headers: Vec<(String, Option<Blob>)>,
}
