//! A linearizable log of small entries on an object store, and the door to the store itself.
//!
//! Entry N is the object that put-if-absent created under N: whoever creates it wins the slot, and every reader
//! sees the same entries in the same order. No server, no lock, no clock takes part in that decision. The
//! broker's metadata and the linker's journal and evidence live in such logs; this crate knows nothing of what
//! they hold.

#![forbid(unsafe_code)]

pub mod advice;
mod checkpoint;
mod entry;
mod error;
pub mod fault;
mod log;
mod open;
mod probe;
mod read;
#[cfg(test)]
mod simulation;
mod staged;
mod tail;

pub use error::{ErrorKind, LogError, StoreError};
pub use log::{Appended, LogOptions, SharedLog};
pub use open::{open_store, open_store_in};
pub use probe::probe;
pub use staged::remove_staged;
pub use tail::{Polling, Tail};
