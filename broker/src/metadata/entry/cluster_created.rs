//! The first entry: the cluster gets its id.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::Image;

/// Names the cluster and its store; takes effect once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCreated {
    /// As Kafka clients see it: 22 characters, a base64 UUID.
    pub cluster_id: String,
    /// Names the store.
    pub store_id: Uuid,
}

impl ClusterCreated {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if !image.cluster_id.is_empty() {
            return Err(Rejection::ClusterExists(image.cluster_id.clone()));
        }
        image.cluster_id.clone_from(&self.cluster_id);
        image.store_id = self.store_id;
        Ok(())
    }
}
