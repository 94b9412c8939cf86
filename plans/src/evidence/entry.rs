//! The envelope of an entry: its number, its time, who, with what software, and the hash of the one before.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::body::Body;

/// One entry of a family's evidence. The field order is the canonical order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// 0, 1, 2, ... without a gap.
    pub sequence: u64,
    /// Hash of the entry before; all zero for the first.
    pub previous: EntryHash,
    /// When, RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// The signal family.
    pub family: String,
    /// Name and version of the software that wrote it.
    pub software: String,
    /// Who decided or asked; `None` for what the service observed by itself.
    pub actor: Option<Actor>,
    /// What.
    pub body: Body,
}

/// A person or a script, as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The token's name, or the name that the client claims.
    pub name: String,
    /// Whether a token proved it.
    pub authenticated: bool,
    /// The token's role; `unauthenticated` without one.
    pub role: String,
}

/// BLAKE3 of an entry's JSON, 32 bytes; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryHash(pub [u8; 32]);

impl EntryHash {
    /// The hash of an entry's exact JSON bytes.
    pub fn of(json: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("towpath evidence entry v1");
        hasher.update(json.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryHash({self})")
    }
}

/// Text that is not a hash in its one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl FromStr for EntryHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        // One form only: an upper-case digit would be another byte with the same meaning.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAHash);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAHash)?;
        Ok(Self(bytes))
    }
}

impl Serialize for EntryHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Milliseconds since the epoch as RFC 3339 in UTC, always with three decimals.
pub(crate) fn format_utc(at_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (at.date(), at.time());
    format!(
        "{date}T{:02}:{:02}:{:02}.{:03}Z",
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}

impl Entry {
    /// The entry's time in milliseconds since the epoch, if its text is a time.
    pub fn at_ms(&self) -> Option<i64> {
        let at = OffsetDateTime::parse(&self.at, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
    }
}
