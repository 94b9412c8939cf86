//! The beginning of a partition expires or is deleted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::Image;

/// Moves a partition's log start forward; ranges wholly before it leave the index. Repeating it is no error.
///
/// Only the newest registration of a broker may: one that was taken over may have more in its log than its successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStartAdvanced {
    /// The broker that serves the partition.
    pub node_id: i32,
    /// Its registration.
    pub epoch: i64,
    /// The topic.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The new first offset.
    pub offset: i64,
}

impl LogStartAdvanced {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        image.check_epoch(self.node_id, self.epoch)?;
        let (topic_id, partition) = (self.topic_id, self.partition);
        if !image.topics_by_id.contains_key(&topic_id) {
            return Err(Rejection::UnknownTopic(topic_id));
        }
        let Some(held) = image.partition(topic_id, partition).map(|held| held.log_start) else {
            return Err(Rejection::UnknownPartition { topic_id, partition });
        };
        if self.offset < held {
            return Err(Rejection::LogStartBackward { topic_id, partition, held, asked: self.offset });
        }
        let index = partition as usize; // not negative: the partition was found
        image.change_topic(topic_id, |topic| topic.partitions[index].log_start = self.offset);
        let expires = image
            .segments(topic_id, partition)
            .is_some_and(|held| held.ranges().first().is_some_and(|first| first.last_offset < self.offset));
        if expires && let Some(topic) = Arc::make_mut(&mut image.segments).get_mut(&topic_id) {
            let gone = Arc::make_mut(&mut Arc::make_mut(topic)[index]).drop_before(self.offset);
            image.unreference(gone.into_iter().map(|range| range.object));
        }
        Ok(())
    }
}
