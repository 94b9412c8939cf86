//! What names a plan in journal and evidence: the BLAKE3 hash of its canonical form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plan::Plan;

/// BLAKE3 over the plan's canonical form. Two files that say the same (order of keys, comments, spelling of
/// units, defaults written out or not) have one hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanHash(pub [u8; 32]);

impl Plan {
    /// The canonical form: one line of JSON, fields in declared order, every default written out.
    pub fn canonical(&self) -> String {
        // Plans are made of strings, integers, booleans and lists: nothing that serde_json can refuse.
        serde_json::to_string(self).expect("a plan is always JSON")
    }

    /// The plan's hash.
    pub fn hash(&self) -> PlanHash {
        let mut hasher = blake3::Hasher::new_derive_key("towpath plan v1");
        hasher.update(self.canonical().as_bytes());
        PlanHash(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanHash({self})")
    }
}

impl FromStr for PlanHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for PlanHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlanHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
