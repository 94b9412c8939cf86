//! An object is gone from the store: the second half of its deletion.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::Image;
use crate::metadata::segments::ObjectId;

/// Forgets a barred object after it was deleted. A commit of it that is still under way, or a put that arrives only
/// now, must not bring it back: from here on nothing that was begun before it was barred can be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDeleted {
    /// The object.
    pub object: ObjectId,
}

impl ObjectDeleted {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let Some(barred_at) = Arc::make_mut(&mut image.barred).remove(&self.object) else {
            return Err(Rejection::ObjectNotBarred(self.object));
        };
        image.born_floor = image.born_floor.max(barred_at + 1);
        Ok(())
    }
}
