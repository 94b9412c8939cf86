//! Checks a bundle with nothing but the bundle, and a pinned key if there is one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::bundle::{BundleHeader, MAGIC};
use super::chain::{Chain, ChainHead, Line};
use super::entry::Entry;
use super::sign::{PublicKey, checkpoint_message, rotation_message};
use crate::ErrorKind;
use crate::model::format_count;

/// What the signatures of a bundle prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// The pinned key, or one that it handed over to, signed the first `entries` entries.
    Trusted {
        /// How many entries that covers.
        entries: u64,
    },
    /// Consistent, but no key was pinned: whoever wrote it signed it.
    SignerUnknown {
        /// How many entries the signatures cover.
        entries: u64,
    },
    /// Nothing is signed.
    Unsigned,
}

/// A bundle that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// What the bundle says about itself, checked.
    pub header: BundleHeader,
    /// What the signatures prove.
    pub signatures: Signatures,
    /// The entries at which another key took over that the one before did not sign for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_keys: Vec<u64>,
}

impl Verified {
    /// Whether every entry is signed by the pinned key.
    pub fn is_trusted(&self) -> bool {
        self.signatures == Signatures::Trusted { entries: self.header.entries }
    }
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BundleHeader { family, entries, head, .. } = &self.header;
        match self.signatures {
            Signatures::Trusted { .. } if self.is_trusted() => write!(f, "verified: ")?,
            Signatures::Trusted { entries } => {
                write!(f, "verified through entry {}, the rest unsigned: ", entries.saturating_sub(1))?
            }
            Signatures::SignerUnknown { .. } => write!(f, "consistent, signer unknown: ")?,
            Signatures::Unsigned => write!(f, "consistent, unsigned: ")?,
        }
        write!(f, "{} of family {family}, head {head}", format_count(*entries, "entry"))?;
        for entry in &self.replaced_keys {
            write!(f, "; at entry {entry} another key took over that the one before did not sign for")?;
        }
        Ok(())
    }
}

/// A bundle that does not hold, and where it first does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Broken {
    /// The number of the first entry that does not hold; `None` when it is the header.
    pub entry: Option<u64>,
    /// Why.
    pub why: String,
}

impl Broken {
    /// The caller's: whoever handed the file over.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Caller
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "broken at entry {entry}: {}", self.why),
            None => write!(f, "broken in its header: {}", self.why),
        }
    }
}

/// Checks a bundle: every byte, every link, every signature. With `trust`, signatures of other keys that the
/// pinned one did not hand over to do not count, and a bundle without any that counts is broken.
pub fn verify(bundle: &str, trust: Option<PublicKey>) -> Result<Verified, Broken> {
    let mut lines = bundle.split_inclusive('\n');
    let header = read_header(lines.next().unwrap_or_default())?;
    let mut audit = Audit::new(&header, trust);
    for text in lines {
        audit.line(text)?;
    }
    audit.finish(&header)
}

/// [`verify`] on a file's bytes: bytes that are no text are named as the entry that they stand in.
pub fn verify_bytes(bundle: &[u8], trust: Option<PublicKey>) -> Result<Verified, Broken> {
    let error = match std::str::from_utf8(bundle) {
        Ok(text) => return verify(text, trust),
        Err(error) => error,
    };
    let lines_before = bundle[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64;
    let no_text = Broken { entry: lines_before.checked_sub(1), why: "it is not UTF-8 text".into() };
    // Something before it may be broken too; what comes after it does not matter.
    match verify(&String::from_utf8_lossy(bundle), trust) {
        Err(broken) if broken.entry < no_text.entry => Err(broken),
        _ => Err(no_text),
    }
}

fn read_header(text: &str) -> Result<BundleHeader, Broken> {
    let broken = |why: String| Broken { entry: None, why };
    let text = text.strip_suffix('\n').ok_or_else(|| broken("the first line is cut off".into()))?;
    let rest = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
    let rest = rest.ok_or_else(|| broken(format!("it does not begin with {MAGIC}")))?;
    let line = Line::parse(rest).map_err(broken)?;
    let header: BundleHeader = serde_json::from_str(&line.json)
        .map_err(|error| broken(format!("the header can not be read: {error}")))?;
    match header.key.is_some() == header.signature.is_some() {
        true => Ok(header),
        false => Err(broken("it has a key or a signature, not both".into())),
    }
}

/// The walk through the entries.
struct Audit {
    chain: Chain,
    family: String,
    pinned: Option<PublicKey>,
    /// The key that may sign now.
    current: Option<PublicKey>,
    /// The pinned key and those that it, or one of these, handed over to.
    trusted: BTreeSet<PublicKey>,
    /// Entries covered by a signature that counts.
    covered: u64,
    signed: bool,
    replaced_keys: Vec<u64>,
}

impl Audit {
    fn new(header: &BundleHeader, pinned: Option<PublicKey>) -> Self {
        Self {
            chain: Chain::new(header.family.clone(), ""),
            family: header.family.clone(),
            pinned,
            current: None,
            trusted: pinned.into_iter().collect(),
            covered: 0,
            signed: false,
            replaced_keys: Vec::new(),
        }
    }

    fn line(&mut self, text: &str) -> Result<(), Broken> {
        let before = self.chain.head();
        let broken = |why: String| Broken { entry: Some(before.entries), why };
        let text = text.strip_suffix('\n').ok_or_else(|| broken("the line is cut off".into()))?;
        let line = Line::parse(text).map_err(broken)?;
        let entry = self.chain.follow(&line).map_err(|error| broken(error.why))?;
        self.signatures(&entry, before).map_err(broken)
    }

    fn signatures(&mut self, entry: &Entry, before: ChainHead) -> Result<(), String> {
        match &entry.body {
            Body::Opened { key, .. } if entry.sequence == 0 => self.current = Some(*key),
            Body::Opened { .. } => return Err("a chain opens once, at entry 0".into()),
            Body::Checkpoint { key, signature } => {
                self.must_be_current(key)?;
                let message = checkpoint_message(&self.family, before.entries, &before.hash);
                if !key.verifies(&message, signature) {
                    return Err(
                        "the checkpoint's signature is not that of its key over the entries before".into()
                    );
                }
                self.count(key, before.entries);
            }
            Body::KeyRotated { key, signature, .. } => {
                let old = self.current.ok_or("a key is handed over, but none was named at entry 0")?;
                let message = rotation_message(&self.family, before.entries, &before.hash, key);
                if !old.verifies(&message, signature) {
                    return Err("the key's hand-over is not signed with the key before".into());
                }
                self.count(&old, before.entries);
                if self.trusted.contains(&old) {
                    self.trusted.insert(*key);
                }
                self.current = Some(*key);
            }
            Body::KeyReplaced { key, .. } => {
                self.current = Some(*key);
                self.replaced_keys.push(before.entries);
            }
            _ => {}
        }
        Ok(())
    }

    fn must_be_current(&self, key: &PublicKey) -> Result<(), String> {
        match self.current {
            Some(current) if current == *key => Ok(()),
            Some(current) => Err(format!("signed with {key}, but {current} is the key in force")),
            None => Err("signed, but no key was named at entry 0".into()),
        }
    }

    fn count(&mut self, key: &PublicKey, entries: u64) {
        self.signed = true;
        if self.pinned.is_none() || self.trusted.contains(key) {
            self.covered = self.covered.max(entries);
        }
    }

    fn finish(mut self, header: &BundleHeader) -> Result<Verified, Broken> {
        let end = self.chain.head();
        let broken = |why: String| Broken { entry: Some(end.entries), why };
        if end.entries < header.entries {
            let missing = header.entries - end.entries;
            return Err(broken(format!("it is missing, and {} after it", missing - 1)));
        }
        if end.entries > header.entries || end.hash != header.head {
            let entry = header.entries.min(end.entries.saturating_sub(1));
            return Err(Broken {
                entry: Some(entry),
                why: "the header states another number of entries or another head".into(),
            });
        }
        // Last: it covers the head, and what is wrong before it is worth more to name.
        if let Some((key, signature)) = header.key.zip(header.signature) {
            if !key.verifies(&header.message(), &signature) {
                let why = "its signature is not that of its key".to_string();
                return Err(Broken { entry: None, why });
            }
            if self.current.is_some() {
                self.must_be_current(&key).map_err(|why| Broken { entry: None, why })?;
            }
            self.count(&key, end.entries);
        }
        let signatures = match (self.signed, self.pinned) {
            (false, None) => Signatures::Unsigned,
            (true, None) => Signatures::SignerUnknown { entries: self.covered },
            (_, Some(pinned)) if self.covered == 0 => {
                let why =
                    format!("nothing in it is signed with {pinned}, or with a key that it handed over to");
                return Err(Broken { entry: None, why });
            }
            (_, Some(_)) => Signatures::Trusted { entries: self.covered },
        };
        Ok(Verified { header: header.clone(), signatures, replaced_keys: self.replaced_keys })
    }
}
