//! An object is gone from the store: the second half of its deletion.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::Image;
use crate::metadata::segments::ObjectId;

/// Forgets a barred object after it was deleted and no commit of it can be under way any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDeleted {
    /// The object.
    pub object: ObjectId,
}

impl ObjectDeleted {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if !image.barred.contains_key(&self.object) {
            return Err(Rejection::ObjectNotBarred(self.object));
        }
        Arc::make_mut(&mut image.barred).remove(&self.object);
        Ok(())
    }
}
