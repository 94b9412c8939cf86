//! The Kafka protocol as Towpath speaks it, shared by broker, linker and tests.
//!
//! Owns everything between a socket and a decoded message: length-prefixed [`frame`]s, the request [`guard`]
//! that every frame passes before `kafka-protocol` may decode it, views over record [`batch`]es that are never
//! decoded and re-encoded, up-[`convert`]sion of message formats v0 and v1, the broker's own table of
//! [`versions`], Towpath's [`private`] APIs, and the raw [`client`].
//!
//! It never decides anything about topics, groups or offsets, and keeps no state beyond a connection.
#![forbid(unsafe_code)]

pub mod batch;
pub mod client;
pub mod convert;
mod fault;
pub mod frame;
pub mod guard;
pub mod private;
pub mod versions;

pub use fault::Fault;
