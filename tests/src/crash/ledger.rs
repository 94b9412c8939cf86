//! What was sent and what was acknowledged: written by the producers, read by the checker, and by nobody else.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A record's content, in short: the first half of its SHA-256.
pub type Digest = [u8; 16];

/// Smallest record.
const VALUE_BYTES_MIN: u64 = 60;
/// Sizes are spread over so much more.
const VALUE_BYTES_SPREAD: u64 = 700;

/// The digest of a record's value.
pub fn digest_of(value: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&Sha256::digest(value)[..16]);
    digest
}

/// Whose a record is: which producer's, and its how manyth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The producer's place in the run.
    pub producer: usize,
    /// Counted from 0.
    pub number: usize,
}

impl Name {
    /// The value of the record: it begins with its name, and no two are alike.
    pub fn value(self, seed: u64) -> Vec<u8> {
        let mut state =
            seed ^ (self.producer as u64) << 48 ^ (self.number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let size = (VALUE_BYTES_MIN + next() % VALUE_BYTES_SPREAD) as usize;
        let mut value = format!("{} {} ", self.producer, self.number);
        while value.len() < size {
            // Writing to a string cannot fail.
            let _ = write!(value, "{:x}", next());
        }
        value.into_bytes()
    }

    /// The name that a value begins with, if it is one of a run.
    pub fn of(value: &[u8]) -> Option<Name> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        Some(Name { producer: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? })
    }
}

/// One record that was handed to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it was to go.
    pub partition: i32,
    /// Its content.
    pub digest: Digest,
    /// What became of it.
    pub fate: Fate,
}

/// What is known of a record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Pending,
    /// It was acknowledged at this offset.
    Acked(i64),
    /// It was acknowledged, and the client does not know where.
    AckedSomewhere,
    /// The client gave it up: it may be there or not.
    GivenUp,
}

/// All that one producer did.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Whether the broker must hold its records once and in order.
    pub idempotent: bool,
    /// By number.
    pub sent: Vec<Sent>,
    /// How many were acknowledged.
    pub acked: usize,
    /// What the client could not mend.
    pub errors: Vec<String>,
}

impl Ledger {
    /// Notes what became of a record.
    pub fn decided(&mut self, number: usize, fate: Fate) {
        if let Some(sent) = self.sent.get_mut(number) {
            sent.fate = fate;
            self.acked += usize::from(matches!(fate, Fate::Acked(_) | Fate::AckedSomewhere));
        }
    }

    /// Keeps what was sent since, and of fates only those that were known then.
    pub fn forget_fates_since(&mut self, before: &Ledger) {
        for (number, sent) in self.sent.iter_mut().enumerate() {
            sent.fate = before.sent.get(number).map_or(Fate::Pending, |sent| sent.fate);
        }
        self.acked = before.acked;
    }

    /// Records whose fate is open.
    pub fn pending(&self) -> usize {
        self.sent.iter().rev().filter(|sent| sent.fate == Fate::Pending).count()
    }
}
