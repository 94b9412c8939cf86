//! One file per verb, or per few that take the same arguments.

pub mod complete;
pub mod diff;
pub mod fence;
pub mod link;
pub mod moves;
pub mod offsets;
pub mod pause;
pub mod serve;
pub mod status;
pub mod watch;
