//! Segments: batches of many partitions in one object of the store, found again by a footer (DESIGN §5.2).
//!
//! Owns the object format, the block cache and the requests to the store. Which object holds what is the
//! metadata's; this room only checks that it is so.

mod cache;
mod content;
mod format;
mod store;
mod stretch;

pub use format::PageInfo;
pub(crate) use format::{Cover, SegmentBuilder, disagreement};
pub use store::{SegmentError, SegmentRead, SegmentStore};
pub(crate) use stretch::{cut, place, stretches};
