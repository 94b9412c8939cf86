//! What makes batches durable and finds them again: WAL, segments, caches (DESIGN §5.1, §5.2, §5.4).
//!
//! Owns the formats on disk and in the store. Never interprets Kafka's rules: `partition` does, and is the only
//! caller.

mod config;
pub mod metrics;
pub mod wal;

pub use config::StorageConfig;
pub use wal::WalError;
