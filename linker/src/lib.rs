//! The linking service: mirrors, compares, moves consumer groups.
//!
//! Observes and executes what the `plans` room decides. Speaks the Kafka protocol to both clusters and never
//! imports the broker.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod config;
pub mod diff;
pub mod error;
pub mod evidence;
pub mod groups;
pub mod http;
pub mod link;
pub mod load;
pub mod metrics;
pub mod moves;
pub mod operation;
pub mod service;
pub mod sink;
pub mod source;
pub mod state;
pub mod status;
