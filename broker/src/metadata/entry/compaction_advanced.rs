//! A pass of log compaction has come to its end.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::Image;

/// Moves the boundary between what is compacted and what is not forward: below it no key has more than one record.
/// Comes after the [`super::SegmentsMerged`] of the pass. Repeating it is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionAdvanced {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// Where the next pass finds its first record that no pass has seen.
    pub offset: i64,
}

impl CompactionAdvanced {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let (topic_id, partition) = (self.topic_id, self.partition);
        if !image.topics_by_id.contains_key(&topic_id) {
            return Err(Rejection::UnknownTopic(topic_id));
        }
        let Some(held) = image.partition(topic_id, partition).map(|held| held.compacted_to) else {
            return Err(Rejection::UnknownPartition { topic_id, partition });
        };
        if self.offset < held {
            return Err(Rejection::CompactionBackward { topic_id, partition, held, asked: self.offset });
        }
        let index = partition as usize; // not negative: the partition was found
        image.change_topic(topic_id, |topic| topic.partitions[index].compacted_to = self.offset);
        Ok(())
    }
}
