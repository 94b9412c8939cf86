//! One consumer group on one cluster: who is in it, what it committed, the fence member at the source, the route at
//! the target. Requests and their answers, no decisions; [`crate::moves`] calls it.

pub mod fence;
pub mod members;
pub mod positions;
pub mod route;
