//! Numbering, linking and signing entries, and the line that each becomes.

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::entry::{Actor, Entry, EntryHash, format_utc};
use super::sign::Signer;
use crate::ErrorKind;

/// An entry in its canonical form: `HASH {json}`. What is stored and what a bundle holds are these very bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The hash of `json`.
    pub hash: EntryHash,
    /// The entry's JSON, exactly as it is hashed.
    pub json: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.hash, self.json)
    }
}

impl Line {
    /// Reads a line and checks that its hash is the hash of its bytes. The error says what does not hold.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (hash, json) = text.split_once(' ').ok_or("the line has no hash")?;
        let hash: EntryHash = hash.parse().map_err(|error| format!("the line's hash is {error}"))?;
        if EntryHash::of(json) != hash {
            return Err("the hash is not that of the entry's bytes".into());
        }
        Ok(Self { hash, json: json.to_string() })
    }

    /// The entry.
    pub fn entry(&self) -> Result<Entry, String> {
        serde_json::from_str(&self.json).map_err(|error| format!("the entry can not be read: {error}"))
    }
}

/// Where a chain ends; enough to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The number of the next entry, that is: how many there are.
    pub entries: u64,
    /// The hash of the last one; all zero before the first.
    pub hash: EntryHash,
}

/// A stored entry that does not continue the chain. The store's fault, or someone's who wrote to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "evidence of {family} breaks at entry {sequence}: {why}; fix: verify the bundle, keep the store as it is"
)]
pub struct ChainError {
    /// The family.
    pub family: String,
    /// Which entry.
    pub sequence: u64,
    /// Why.
    pub why: String,
}

impl ChainError {
    /// The store's.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Store
    }
}

/// The growing end of one family's evidence. Appending is deciding only: the caller stores the line under its
/// sequence number by put-if-absent, and on a conflict re-reads ([`Chain::follow`]) and appends anew.
#[derive(Clone, Debug)]
pub struct Chain {
    family: String,
    software: String,
    head: ChainHead,
}

impl Chain {
    /// An empty chain. Its first entry should be [`Body::Opened`].
    pub fn new(family: impl Into<String>, software: impl Into<String>) -> Self {
        Self::from_head(family, software, ChainHead { entries: 0, hash: EntryHash::default() })
    }

    /// A chain that goes on after `head`.
    pub fn from_head(family: impl Into<String>, software: impl Into<String>, head: ChainHead) -> Self {
        Self { family: family.into(), software: software.into(), head }
    }

    /// Where it ends.
    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// The next entry as a line; `at_ms` is milliseconds since the epoch. The chain moves on: a caller that could
    /// not store the line goes back with [`Chain::from_head`].
    pub fn append(&mut self, at_ms: i64, actor: Option<Actor>, body: Body) -> Line {
        let entry = Entry {
            sequence: self.head.entries,
            previous: self.head.hash,
            at: format_utc(at_ms),
            family: self.family.clone(),
            software: self.software.clone(),
            actor,
            body,
        };
        // Entries are made of strings, integers, booleans and lists: nothing that serde_json can refuse.
        let json = serde_json::to_string(&entry).expect("an entry is always JSON");
        let line = Line { hash: EntryHash::of(&json), json };
        self.head = ChainHead { entries: self.head.entries + 1, hash: line.hash };
        line
    }

    /// The first entry: names the key and the clusters.
    pub fn open(&mut self, at_ms: i64, signer: &Signer, clusters: Vec<super::ClusterIdentity>) -> Line {
        self.append(at_ms, None, Body::Opened { key: signer.public(), clusters })
    }

    /// A checkpoint: signs all entries before it.
    pub fn checkpoint(&mut self, at_ms: i64, signer: &Signer) -> Line {
        let signature = signer.checkpoint(&self.family, self.head.entries, &self.head.hash);
        self.append(at_ms, None, Body::Checkpoint { key: signer.public(), signature })
    }

    /// Hands over from one key to another; signed with the old one.
    pub fn rotate(
        &mut self,
        at_ms: i64,
        actor: Option<Actor>,
        (old, new): (&Signer, &Signer),
        reason: impl Into<String>,
    ) -> Line {
        let key = new.public();
        let signature = old.rotation(&self.family, self.head.entries, &self.head.hash, &key);
        self.append(at_ms, actor, Body::KeyRotated { key, signature, reason: reason.into() })
    }

    /// Lets another key sign from here on without a word of the one before, which is lost.
    pub fn replace_key(&mut self, at_ms: i64, new: &Signer, reason: impl Into<String>) -> Line {
        self.append(at_ms, None, Body::KeyReplaced { key: new.public(), reason: reason.into() })
    }

    /// Takes a stored line as the next one, after checking that it is.
    pub fn follow(&mut self, line: &Line) -> Result<Entry, ChainError> {
        let sequence = self.head.entries;
        let broken = |why: String| ChainError { family: self.family.clone(), sequence, why };
        if EntryHash::of(&line.json) != line.hash {
            return Err(broken("the hash is not that of the entry's bytes".into()));
        }
        let entry = line.entry().map_err(broken)?;
        if entry.sequence != sequence {
            return Err(broken(format!("it says that it is entry {}", entry.sequence)));
        }
        if entry.previous != self.head.hash {
            return Err(broken("it does not continue the entry before".into()));
        }
        if entry.family != self.family {
            return Err(broken(format!("it belongs to family {:?}", entry.family)));
        }
        self.head = ChainHead { entries: sequence + 1, hash: line.hash };
        Ok(entry)
    }
}
