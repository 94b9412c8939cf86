//! A topic grows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PARTITIONS_MAX, Rejection};
use crate::metadata::image::{Image, PartitionImage};

/// Raises a topic's partition count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsAdded {
    /// The topic.
    pub topic_id: Uuid,
    /// The new total.
    pub total: i32,
}

impl PartitionsAdded {
    pub(super) fn validate(&self) -> Result<(), Rejection> {
        if self.total > PARTITIONS_MAX {
            let topic = self.topic_id.to_string();
            return Err(Rejection::PartitionCount { topic, asked: self.total, held: 0 });
        }
        Ok(())
    }

    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let Some(topic) = image.topics_by_id.get(&self.topic_id) else {
            return Err(Rejection::UnknownTopic(self.topic_id));
        };
        let held = topic.partitions.len();
        let total = usize::try_from(self.total).unwrap_or(0);
        if total <= held {
            let topic = topic.name.clone();
            return Err(Rejection::PartitionCount { topic, asked: self.total, held: held as i32 });
        }
        image.change_topic(self.topic_id, |topic| topic.partitions.resize(total, PartitionImage::default()));
        if let Some(segments) = Arc::make_mut(&mut image.segments).get_mut(&self.topic_id) {
            Arc::make_mut(segments).resize_with(total, Arc::default);
        }
        Ok(())
    }
}
