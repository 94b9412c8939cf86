//! Moving consumer groups: carries out what [`towpath_plans::transition`] decides, one step at a time.
//!
//! The journal is written before each effect; [`executor`] alone does both. [`duties`] is what a group needs while
//! nothing moves: positions synced, the fence kept alive, an eye on whoever is left behind.

mod adopt;
mod back;
mod carriers;
mod clock;
mod complete;
mod drain;
mod duties;
mod effects;
mod ending;
mod executor;
pub mod failpoint;
mod fencing;
mod gauges;
mod left_behind;
mod memory;
mod mover;
mod observe;
mod rights;
mod run;
mod sheet;
mod status;
mod verify;
mod way_back;

pub use carriers::Carriers;
pub use fencing::WAITING_FOR;
pub use gauges::GroupGauges;
pub use mover::{GroupStatus, Held, Mover, PositionSeen};
