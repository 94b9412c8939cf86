//! End-to-end harness: real Apache Kafka, the built `towpath` binary, independent clients, and the runner of
//! scenarios (folders of data under `tests/scenarios/`).
//!
//! Nothing here is used by the product. Everything that is started is stopped on drop, even when the harness
//! itself is killed.

#![forbid(unsafe_code)]

pub mod cache;
pub mod clients;
pub mod crash;
pub mod daemon;
pub mod diffing;
pub mod folder;
pub mod kafka;
pub mod mirroring;
pub mod ports;
pub mod process;
pub mod record;
pub mod scenario;
pub mod stores;
pub mod wait;
// The demo's generator, compiled here as it is: the product cannot import its tests, nor a binary be imported.
#[path = "../../linker/cli/src/demo/workload.rs"]
pub mod workload;
