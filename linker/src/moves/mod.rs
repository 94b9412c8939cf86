//! Moving consumer groups: carries out what [`towpath_plans::transition`] decides, one step at a time.

mod mover;

pub use mover::{GroupStatus, Mover};
