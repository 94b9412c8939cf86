//! Writing evidence: one signed hash chain per family, in the target's object store by put-if-absent.

mod ledger;

pub use ledger::{Ledger, LedgerSpec};
