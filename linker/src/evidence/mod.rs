//! Writing evidence: one signed hash chain per family, in the target's object store by put-if-absent.
//!
//! - [`Ledger`] extends the chain of one family; one service does so at a time.
//! - [`Archive`] reads the chain of a family that nobody extends here.
//! - [`signer`] and [`former_signer`] read the keys that sign it; a service without a configured key makes its own.
//! - The secret behind pseudonyms lies beside the chains, one object per family, so that it outlives the service's
//!   folder and can be destroyed on its own.
//!
//! What entries mean, how they are linked and how a bundle is checked is decided in `plans`.

mod archive;
mod key;
mod ledger;
mod secret;
mod tail;
#[cfg(test)]
mod tests;

pub use archive::Archive;
pub use key::{former_signer, signer};
pub use ledger::{Ledger, LedgerSpec};

/// Name and version that entries and bundles carry.
const SOFTWARE: &str = concat!("towpath ", env!("CARGO_PKG_VERSION"));
