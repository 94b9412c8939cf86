//! The raw Kafka client of the linker and the tests: connections, routing, retries, admin verbs.
//!
//! It speaks the protocol and nothing above it: no consumer, no producer, no offsets of its own. Requests and
//! responses are the `kafka-protocol` crate's structs; record batches in them stay bytes. [`Client`] routes a
//! request to the right broker and repeats it by Kafka's own error table; [`Connection`] is one pipelined
//! connection for callers who poll long or care about order; [`admin`] has the everyday verbs.
//!
//! What it never does: repeat a request that may have been carried out and is not harmless to repeat
//! ([`ClientError::OutcomeUnknown`] says so instead), nor hide an error code inside a response.

pub mod admin;
mod cache;
mod cluster;
mod codec;
mod config;
mod connection;
mod dial;
mod error;
mod pipe;
mod pool;
mod repeat;
mod route;
mod routed;
mod sasl;
mod scram;
mod tls;
mod versions;

pub use cluster::{Broker, ClusterMetadata, PartitionMetadata, TopicMetadata, TopicPartition};
pub use config::{ClientConfig, Mechanism, Protocol, Sasl, Secret, Security, Tls};
pub use connection::{Connection, Pending, PendingRaw};
pub use error::{ClientError, ErrorKind, code_name};
pub use routed::{Client, To};
pub use versions::{ApiVersions, client_versions};

#[cfg(test)]
mod tests;
