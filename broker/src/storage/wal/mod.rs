//! The write-ahead log behind one narrow interface.

mod error;

pub use error::WalError;
