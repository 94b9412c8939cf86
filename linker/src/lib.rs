//! The linking service: mirrors, compares, moves consumer groups.
//!
//! Observes and executes what the `plans` room decides. Speaks the Kafka protocol to both clusters and never
//! imports the broker.

#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod link;
pub mod metrics;
pub mod sink;
pub mod source;
