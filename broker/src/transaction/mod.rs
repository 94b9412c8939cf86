//! Transactions of a partition: which are open, which were aborted, and up to where everything is decided.
//!
//! Owns the transaction index that `read_committed` rests on. Never talks to coordinators: transactions come in
//! with mirrored batches (DESIGN §5.5); the broker's own coordinator comes to this room later.

mod index;

pub(crate) use index::{Aborted, TransactionIndex};
