//! The bundled broker: Apache Kafka's protocol in front, one object store behind.
//!
//! `server` takes frames from connections and hands each request to its file in `api`; those ask `metadata`
//! (topics, configs), `partition` (append, read) and `group` (members, offsets). `storage` makes appends
//! durable, `mirror` keeps the rules of mirror topics, `transaction` the producers' state.

#![forbid(unsafe_code)]

pub mod api;
pub mod audit;
mod background;
mod bounds;
pub mod config;
pub mod group;
pub mod http;
pub mod metadata;
pub mod metrics;
pub mod mirror;
pub mod partition;
pub mod server;
pub mod storage;
pub mod transaction;

pub use background::Panicked;
pub use config::{BrokerConfig, Limits};
pub use server::{Broker, ClientContext, Failed, Shared, StartError};
pub use storage::WalKind;
