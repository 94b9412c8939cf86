//! Which stretch of a job a record belongs to, without looking its topic's name up for every record.

use std::collections::HashMap;

use rdkafka::message::{BorrowedMessage, Message};
use towpath_wire::client::TopicPartition;

/// Which stretch a record belongs to.
#[derive(Default)]
pub(super) struct Places {
    by_topic: HashMap<String, HashMap<i32, usize>>,
    /// Records come in runs: the last one's topic handle, partition and stretch.
    last: Option<(usize, i32, usize)>,
}

impl Places {
    pub(super) fn add(&mut self, id: &TopicPartition, index: usize) {
        self.by_topic.entry(id.topic.clone()).or_default().insert(id.partition, index);
    }

    /// The stretch of a partition.
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<usize> {
        self.by_topic.get(topic)?.get(&partition).copied()
    }

    /// The stretch of a record.
    pub(super) fn find(&mut self, message: &BorrowedMessage<'_>) -> Option<usize> {
        let handle = message.topic_ptr().addr();
        match self.last {
            Some((topic, partition, index)) if topic == handle && partition == message.partition() => {
                Some(index)
            }
            _ => {
                let index = self.get(message.topic(), message.partition())?;
                self.last = Some((handle, message.partition(), index));
                Some(index)
            }
        }
    }
}
