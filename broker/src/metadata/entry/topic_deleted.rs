//! A topic goes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::Image;

/// Deletes a topic and everything the index holds of it; its objects lose their references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDeleted {
    /// The topic.
    pub topic_id: Uuid,
}

impl TopicDeleted {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if !image.topics_by_id.contains_key(&self.topic_id) {
            return Err(Rejection::UnknownTopic(self.topic_id));
        }
        if let Some(topic) = Arc::make_mut(&mut image.topics_by_id).remove(&self.topic_id) {
            Arc::make_mut(&mut image.topics_by_name).remove(&topic.name);
        }
        if let Some(segments) = Arc::make_mut(&mut image.segments).remove(&self.topic_id) {
            let objects =
                segments.iter().flat_map(|partition| partition.ranges().iter().map(|range| range.object));
            image.unreference(objects.collect::<Vec<_>>());
        }
        Ok(())
    }
}
