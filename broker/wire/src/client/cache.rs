//! What the client remembers of the cluster between requests: brokers, leaders, coordinators.
//!
//! Nothing here is trusted for long: an error code that says otherwise drops the entry, age does too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cluster::{Broker, ClusterMetadata, TopicMetadata};

/// Coordinators remembered; over it all are forgotten and asked for again.
const COORDINATORS_MAX: usize = 10_000;

/// Group or transactional id (`FindCoordinatorRequest.KeyType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CoordinatorKind {
    Group = 0,
    Transaction = 1,
}

#[derive(Default)]
pub(super) struct Cache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cluster_id: String,
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    topics: HashMap<String, CachedTopic>,
    coordinators: HashMap<(CoordinatorKind, String), Broker>,
}

struct CachedTopic {
    topic: Arc<TopicMetadata>,
    asked_at: Duration,
}

impl Cache {
    pub(super) fn cluster_id(&self) -> String {
        self.state.lock().cluster_id.clone()
    }

    pub(super) fn brokers(&self) -> Vec<Broker> {
        self.state.lock().brokers.values().cloned().collect()
    }

    pub(super) fn broker(&self, id: i32) -> Option<Broker> {
        self.state.lock().brokers.get(&id).cloned()
    }

    pub(super) fn controller(&self) -> Option<Broker> {
        let state = self.state.lock();
        state.brokers.get(&state.controller?).cloned()
    }

    /// Takes in an answer that came at `now` of the environment's monotonic clock.
    pub(super) fn learn(&self, answer: &ClusterMetadata, now: Duration) {
        let mut state = self.state.lock();
        if !answer.brokers.is_empty() {
            state.cluster_id.clone_from(&answer.cluster_id);
            state.brokers.clone_from(&answer.brokers);
            state.controller = answer.controller;
        }
        for (name, topic) in &answer.topics {
            if topic.error.is_some() {
                state.topics.remove(name);
                continue;
            }
            let topic = match state.topics.get(name) {
                Some(cached) => newer_epochs(topic, &cached.topic),
                None => topic.clone(),
            };
            state.topics.insert(name.clone(), CachedTopic { topic: Arc::new(topic), asked_at: now });
        }
    }

    /// A topic asked for not longer than `age_max` ago.
    pub(super) fn topic(&self, name: &str, now: Duration, age_max: Duration) -> Option<Arc<TopicMetadata>> {
        let state = self.state.lock();
        let cached = state.topics.get(name)?;
        (now.saturating_sub(cached.asked_at) <= age_max).then(|| cached.topic.clone())
    }

    pub(super) fn forget_topic(&self, name: &str) {
        self.state.lock().topics.remove(name);
    }

    pub(super) fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Option<Broker> {
        self.state.lock().coordinators.get(&(kind, key.to_owned())).cloned()
    }

    pub(super) fn learn_coordinator(&self, kind: CoordinatorKind, key: &str, broker: Broker) {
        let mut state = self.state.lock();
        if state.coordinators.len() >= COORDINATORS_MAX {
            state.coordinators.clear();
        }
        state.coordinators.insert((kind, key.to_owned()), broker);
    }

    pub(super) fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        self.state.lock().coordinators.remove(&(kind, key.to_owned()));
    }

    pub(super) fn forget_controller(&self) {
        self.state.lock().controller = None;
    }
}

/// A broker that lags behind may still name a leader of an older epoch: the newer one stays (KIP-320).
fn newer_epochs(answer: &TopicMetadata, cached: &TopicMetadata) -> TopicMetadata {
    let mut topic = answer.clone();
    if topic.topic_id != cached.topic_id {
        return topic;
    }
    for partition in &mut topic.partitions {
        let known = cached.partitions.iter().find(|known| known.index == partition.index);
        if let Some(known) = known
            && known.leader_epoch > partition.leader_epoch
            && partition.leader_epoch >= 0
        {
            *partition = known.clone();
        }
    }
    topic
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::cluster::PartitionMetadata;
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(10);

    fn answer(topic_id: u128, leader: i32, leader_epoch: i32) -> ClusterMetadata {
        let partition = PartitionMetadata {
            index: 0,
            leader: Some(leader),
            leader_epoch,
            replicas: vec![leader],
            in_sync: vec![leader],
            error: None,
        };
        let topic = TopicMetadata {
            topic_id: Uuid::from_u128(topic_id),
            internal: false,
            error: None,
            partitions: vec![partition],
        };
        ClusterMetadata { topics: BTreeMap::from([("t".to_owned(), topic)]), ..ClusterMetadata::default() }
    }

    fn leader(cache: &Cache, now: Duration) -> Option<i32> {
        cache.topic("t", now, AGE_MAX)?.partitions[0].leader
    }

    #[test]
    fn an_older_leader_epoch_does_not_replace_a_newer_one_of_the_same_topic() {
        let cache = Cache::default();
        cache.learn(&answer(1, 5, 7), Duration::ZERO);
        cache.learn(&answer(1, 4, 6), Duration::ZERO);
        assert_eq!(leader(&cache, Duration::ZERO), Some(5));
        // Another incarnation begins its epochs anew.
        cache.learn(&answer(2, 4, 0), Duration::ZERO);
        assert_eq!(leader(&cache, Duration::ZERO), Some(4));
    }

    #[test]
    fn a_topic_is_forgotten_with_age_with_its_error_and_on_demand() {
        let cache = Cache::default();
        cache.learn(&answer(1, 5, 7), Duration::ZERO);
        assert_eq!(leader(&cache, AGE_MAX), Some(5));
        assert_eq!(leader(&cache, AGE_MAX + Duration::from_millis(1)), None);
        let mut gone = answer(1, 5, 7);
        gone.topics.get_mut("t").unwrap().error =
            Some(kafka_protocol::ResponseError::UnknownTopicOrPartition);
        cache.learn(&gone, AGE_MAX);
        assert_eq!(leader(&cache, Duration::ZERO), None);
    }
}
