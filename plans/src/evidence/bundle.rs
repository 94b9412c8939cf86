//! The bundle: one text file that an auditor can read, keep and verify.
//!
//! ```text
//! towpath-evidence/v1 HASH {header}
//! HASH {entry 0}
//! HASH {entry 1}
//! ...
//! ```
//!
//! Every line ends in a line feed, the last one too. The header states the number of entries and the head's hash
//! and is itself signed, so that a cut tail is found.

use serde::{Deserialize, Serialize};

use super::chain::{ChainHead, Line};
use super::entry::{EntryHash, format_utc};
use super::sign::{PublicKey, Signature, Signer};

/// The first word of a bundle.
pub(crate) const MAGIC: &str = "towpath-evidence/v1";

/// What a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleHeader {
    /// The signal family.
    pub family: String,
    /// How many entries follow.
    pub entries: u64,
    /// The hash of the last one; all zero when there is none.
    pub head: EntryHash,
    /// When it was exported, RFC 3339 in UTC.
    pub exported_at: String,
    /// Name and version of the software that exported it.
    pub software: String,
    /// The key that signed the header, when it was signed.
    pub key: Option<PublicKey>,
    /// Over the header without this field.
    pub signature: Option<Signature>,
}

impl BundleHeader {
    /// What the signature is over.
    pub(crate) fn message(&self) -> Vec<u8> {
        let unsigned = Self { signature: None, ..self.clone() };
        // A header is made of strings and integers: nothing that serde_json can refuse.
        let json = serde_json::to_string(&unsigned).expect("a header is always JSON");
        format!("towpath evidence bundle v1\n{json}").into_bytes()
    }
}

/// Writes a bundle of all of a family's lines, in order, from entry 0. `exported_at_ms` is milliseconds since
/// the epoch. Does not check the lines: [`super::verify`] does, and should be run on what was written.
pub fn export(
    family: &str,
    software: &str,
    exported_at_ms: i64,
    lines: &[Line],
    signer: Option<&Signer>,
) -> String {
    let head = ChainHead {
        entries: lines.len() as u64,
        hash: lines.last().map(|line| line.hash).unwrap_or_default(),
    };
    let mut header = BundleHeader {
        family: family.to_string(),
        entries: head.entries,
        head: head.hash,
        exported_at: format_utc(exported_at_ms),
        software: software.to_string(),
        key: signer.map(Signer::public),
        signature: None,
    };
    header.signature = signer.map(|signer| signer.sign(&header.message()));
    // As in `message`.
    let json = serde_json::to_string(&header).expect("a header is always JSON");
    let mut text = format!("{MAGIC} {} {json}\n", EntryHash::of(&json));
    for line in lines {
        text.push_str(&format!("{line}\n"));
    }
    text
}
