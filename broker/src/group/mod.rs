//! Consumer groups: members, generations, committed offsets, routes.
//!
//! Owns `__consumer_offsets` and every decision about a group. Never touches sockets (that is `server`) and
//! never encodes a response (that is `api`); called by the group files of `api`, one verb each.
//!
//! Decisions are pure: [`classic`] (the protocol) and `route` (who may consume). A [`cell::Cell`] holds one group
//! and is changed under its lock, append included, so that the log has the same order as the memory; an answer
//! about a group leaves once the group's newest write is durable. What survives a crash is [`records`].

mod admin;
mod backing;
mod cell;
pub mod classic;
mod commits;
pub mod config;
mod coordinator;
mod expire;
mod link;
mod load;
mod members;
mod metrics;
pub mod records;
mod route;
mod subscription;
mod timers;

#[cfg(test)]
mod coordinator_tests;
#[cfg(test)]
mod memory_backing;

pub use admin::{DescribedGroup, DescribedMember, ListedGroup};
pub use commits::{Commit, CommittedOffset, FetchedTopic};
pub use config::GroupConfig;
pub use coordinator::Groups;

/// The route of a group as DescribeConfigs shows it for a resource of type GROUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// `towpath.link`: the link that owns the group.
    pub link: String,
    /// `towpath.route`: `source`, `draining` or `target`.
    pub route: &'static str,
    /// `towpath.attempt`: number of the last move.
    pub attempt: u64,
}
