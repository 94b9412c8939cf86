//! The HTTP API of the linking service.

pub mod body;
pub mod guard;
pub mod problem;
