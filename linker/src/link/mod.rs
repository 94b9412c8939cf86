//! A link: the running mirror of one plan.

pub mod follow;
pub mod mirror;
pub mod replicator;
