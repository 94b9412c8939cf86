//! Evidence (DESIGN §11): what was observed and decided, in a chain that nobody can alter unseen.
//!
//! - [`Entry`] and [`Body`]: what is recorded. [`Chain`] numbers and links entries, [`Chain::checkpoint`] signs.
//! - [`Line`]: the one canonical encoding, `HASH {json}`. The hash is BLAKE3 over the exact bytes of the JSON,
//!   and the JSON names the hash of the entry before, so that no byte can change unseen.
//! - [`export`] writes a bundle, [`verify`] checks it with nothing else, [`Broken`] names the first entry that
//!   does not hold.
//! - [`Pseudonyms`]: keys and hosts appear under a secret that can be destroyed.

mod body;
mod bundle;
mod chain;
mod entry;
mod pseudonym;
mod record;
mod sign;
mod verify;

pub use body::{
    Body, ClusterIdentity, DifferenceSample, GateRecord, MemberTrace, PartitionCompared, PauseKind,
    RangeCompared, Translation,
};
pub use bundle::{BundleHeader, export};
pub use chain::{Chain, ChainError, ChainHead, Line};
pub use entry::{Actor, Entry, EntryHash};
pub use pseudonym::{PseudonymKind, Pseudonyms};
pub use sign::{KeyError, PublicKey, Signature, Signer};
pub use verify::{Broken, Signatures, Verified, verify, verify_bytes};

#[cfg(test)]
mod tests;
