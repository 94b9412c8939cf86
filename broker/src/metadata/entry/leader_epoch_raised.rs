//! A partition's advertised leader epoch rises.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::{EpochStart, Image};

/// Raises a partition's leader epoch. On a mirror it comes before the first batch of that epoch is visible:
/// Java consumers silently read nothing when a commit carries an epoch above the advertised one (DESIGN §5.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderEpochRaised {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The new epoch, above the one it has (or equal, when that epoch has no start yet).
    pub epoch: i32,
    /// The first offset of this epoch.
    pub start_offset: i64,
}

impl LeaderEpochRaised {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        let (topic_id, partition) = (self.topic_id, self.partition);
        if !image.topics_by_id.contains_key(&topic_id) {
            return Err(Rejection::UnknownTopic(topic_id));
        }
        let Some(held) = image.partition(topic_id, partition) else {
            return Err(Rejection::UnknownPartition { topic_id, partition });
        };
        let last = held.epoch_starts.last();
        let rises = self.epoch >= held.leader_epoch
            && last.is_none_or(|last| self.epoch > last.epoch && self.start_offset >= last.start_offset);
        if !rises {
            return Err(Rejection::LeaderEpochBackward {
                topic_id,
                partition,
                held: held.leader_epoch,
                asked: self.epoch,
            });
        }
        let start = EpochStart { epoch: self.epoch, start_offset: self.start_offset };
        let index = partition as usize; // not negative: the partition was found
        image.change_topic(topic_id, |topic| {
            let held = &mut topic.partitions[index];
            held.leader_epoch = self.epoch;
            // An epoch under which nothing was written leaves no trace, as in Kafka's epoch cache.
            held.epoch_starts.retain(|earlier| earlier.start_offset < start.start_offset);
            held.epoch_starts.push(start);
        });
        Ok(())
    }
}
