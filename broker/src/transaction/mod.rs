//! Producer state and transactions.
