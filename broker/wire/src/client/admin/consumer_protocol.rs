//! What consumers write into the classic protocol's opaque fields: subscriptions and assignments
//! (`ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`).
//!
//! Any client can put any bytes there, so each count is checked against the bytes that remain. What does not
//! read as the consumer protocol is nothing.

use bytes::{Buf, Bytes};

use crate::client::TopicPartition;

/// The topics that a member subscribes to, sorted.
pub(super) fn subscribed_topics(mut metadata: Bytes) -> Vec<String> {
    let mut topics = subscription(&mut metadata).unwrap_or_default();
    topics.sort_unstable();
    topics
}

/// The partitions that a member owns, sorted.
pub(super) fn assigned_partitions(mut assignment: Bytes) -> Vec<TopicPartition> {
    let mut partitions = self::assignment(&mut assignment).unwrap_or_default();
    partitions.sort_unstable();
    partitions
}

fn subscription(bytes: &mut Bytes) -> Option<Vec<String>> {
    let _version = bytes.try_get_i16().ok()?;
    (0..count(bytes, 2)?).map(|_| string(bytes)).collect()
}

fn assignment(bytes: &mut Bytes) -> Option<Vec<TopicPartition>> {
    let _version = bytes.try_get_i16().ok()?;
    let mut partitions = Vec::new();
    for _ in 0..count(bytes, 6)? {
        let topic = string(bytes)?;
        for _ in 0..count(bytes, 4)? {
            partitions.push(TopicPartition::new(topic.as_str(), bytes.try_get_i32().ok()?));
        }
    }
    Some(partitions)
}

/// A count of elements that take at least `bytes_min` each.
fn count(bytes: &mut Bytes, bytes_min: usize) -> Option<usize> {
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    (count.checked_mul(bytes_min)? <= bytes.len()).then_some(count)
}

fn string(bytes: &mut Bytes) -> Option<String> {
    let size = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    if bytes.len() < size {
        return None;
    }
    String::from_utf8(bytes.split_to(size).to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_reads_and_rubbish_is_nothing() {
        let bytes =
            Bytes::from_static(b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x02\xff\xff\xff\xff");
        let found = assigned_partitions(bytes.clone());
        assert_eq!(found, [TopicPartition::new("t", 2), TopicPartition::new("t", 5)]);
        // A count that the bytes cannot hold must not be believed.
        assert!(assigned_partitions(Bytes::from_static(b"\0\0\x7f\xff\xff\xff")).is_empty());
        for cut in 0..bytes.len() - 4 {
            assert!(assigned_partitions(bytes.slice(..cut)).is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn a_subscription_lists_its_topics() {
        let bytes = Bytes::from_static(b"\0\0\0\0\0\x02\0\x01b\0\x01a\xff\xff\xff\xff");
        assert_eq!(subscribed_topics(bytes), ["a", "b"]);
    }
}
