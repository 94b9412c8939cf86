//! A broker takes a block of producer ids.

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::Image;

/// Takes the producer ids `from..up_to`; only the first to ask from `from` gets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdsTaken {
    /// First id of the block: the image's `next_producer_id`.
    pub from: i64,
    /// One past the last.
    pub up_to: i64,
}

impl ProducerIdsTaken {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if self.from != image.next_producer_id || self.up_to <= self.from {
            return Err(Rejection::ProducerIdsGone { from: self.from, next: image.next_producer_id });
        }
        image.next_producer_id = self.up_to;
        Ok(())
    }
}
