//! Consumer groups: members, generations, committed offsets, routes.
//!
//! Owns `__consumer_offsets` and every decision about a group. Never touches sockets (that is `server`) and
//! never encodes a response (that is `api`); called by the group files of `api`, one verb each.

pub mod classic;
pub mod config;
pub mod records;
mod subscription;

pub use config::GroupConfig;

/// All groups that this broker coordinates. Cheap to clone.
#[derive(Clone)]
pub struct Groups {}

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

impl Groups {
    /// The route of `group`; `None` when it is an ordinary group or does not exist.
    pub fn route(&self, _group: &str) -> Option<RouteView> {
        None
    }

    /// Answers every parked request with a retriable error and stops the timers.
    pub async fn close(&self) {}
}
