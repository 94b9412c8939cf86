//! An object may no longer be committed: the first half of its deletion.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::metadata::image::Image;
use crate::metadata::segments::ObjectId;

/// Bars an unreferenced object: from here on a commit of its id is void, so it can be deleted after a grace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectBarred {
    /// The object.
    pub object: ObjectId,
}

impl ObjectBarred {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if let Some(held) = image.objects.get(&self.object)
            && held.live_ranges > 0
        {
            return Err(Rejection::ObjectInUse { object: self.object, live_ranges: held.live_ranges });
        }
        if image.objects.contains_key(&self.object) {
            Arc::make_mut(&mut image.objects).remove(&self.object);
        }
        let version = image.version;
        Arc::make_mut(&mut image.barred).entry(self.object).or_insert(version);
        Ok(())
    }
}
