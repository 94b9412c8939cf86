//! One request per broker for many items, and another round for what failed retriably.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::ResponseError;
use towpath_env::retry::{Failure, RetryPolicy};

use super::Each;
use crate::client::routed::TOPIC_UNKNOWN_MAX;
use crate::client::{Client, ClientError, Connection, To, TopicPartition, repeat};

/// What one broker answered about its items.
pub(super) type Answered<K, V> = Result<Vec<(K, Result<V, ClientError>)>, ClientError>;

/// By broker id: a way to it, and the items to ask it about.
type Requests<K, I> = BTreeMap<Option<i32>, (To, Vec<(K, I)>)>;

/// Asks about each item at the broker that `route` names. `ask` sends one request for all items of a broker and
/// gives an outcome for each; `api_key` decides what may be repeated.
///
/// # Errors
/// Nothing at all could be asked: every item failed on the way, not by a broker's answer.
pub(super) async fn each<K, I, V, Fut>(
    client: &Client,
    api_key: i16,
    items: Vec<(K, I)>,
    route: impl Fn(&K) -> To,
    ask: impl Fn(Arc<Connection>, Vec<(K, I)>) -> Fut,
) -> Result<Each<K, V>, ClientError>
where
    K: Ord + Clone,
    I: Clone,
    Fut: Future<Output = Answered<K, V>>,
{
    let mut delays = RetryPolicy::within(client.config().request_timeout).delays(client.env());
    let started = client.env().elapsed();
    let mut open: BTreeMap<K, I> = items.into_iter().collect();
    let mut done: Each<K, V> = BTreeMap::new();
    while !open.is_empty() {
        let outcomes = round(client, &open, &route, &ask).await;
        let delay = delays.next_delay();
        let topic_wait_over = client.env().elapsed() > started + TOPIC_UNKNOWN_MAX;
        for (key, outcome) in outcomes {
            if let Err(error) = &outcome {
                forget(client, &route(&key), error);
                if delay.is_some() && is_worth_another(client, api_key, error, topic_wait_over) {
                    continue;
                }
            }
            open.remove(&key);
            done.insert(key, outcome);
        }
        if let Some(delay) = delay
            && !open.is_empty()
        {
            client.env().sleep(delay).await;
        }
    }
    let answered = |outcome: &Result<V, ClientError>| match outcome {
        Ok(_) => true,
        Err(error) => error.code().is_some(),
    };
    if !done.is_empty() && !done.values().any(answered) {
        // Every outcome is an error here, so the first one is.
        if let Some((_, Err(error))) = done.pop_first() {
            return Err(error);
        }
    }
    Ok(done)
}

/// Asks every broker once.
async fn round<K, I, V, Fut>(
    client: &Client,
    open: &BTreeMap<K, I>,
    route: &impl Fn(&K) -> To,
    ask: &impl Fn(Arc<Connection>, Vec<(K, I)>) -> Fut,
) -> Vec<(K, Result<V, ClientError>)>
where
    K: Ord + Clone,
    I: Clone,
    Fut: Future<Output = Answered<K, V>>,
{
    let routes: Vec<To> = open.keys().map(route).collect();
    client.prepare(&routes).await;
    let mut outcomes = Vec::new();
    let mut by_broker: Requests<K, I> = BTreeMap::new();
    for ((key, item), to) in open.iter().zip(routes) {
        match client.resolve(&to).await {
            Ok(broker) => {
                let group = by_broker.entry(broker.map(|broker| broker.id)).or_insert((to, Vec::new()));
                group.1.push((key.clone(), item.clone()));
            }
            Err(error) => outcomes.push((key.clone(), Err(error))),
        }
    }
    let requests = by_broker.into_values().map(|(to, items)| async move {
        let keys: Vec<K> = items.iter().map(|(key, _)| key.clone()).collect();
        let asked = async { ask(client.shared_connection(&to).await?, items).await };
        match asked.await {
            Ok(answers) => complete(keys, answers),
            Err(error) => keys.into_iter().map(|key| (key, Err(error.clone()))).collect(),
        }
    });
    outcomes.extend(join_all(requests).await.into_iter().flatten());
    outcomes
}

/// An outcome for each key, also for those that the broker left out.
fn complete<K: Ord, V>(
    keys: Vec<K>,
    answers: Vec<(K, Result<V, ClientError>)>,
) -> Vec<(K, Result<V, ClientError>)> {
    let mut answers: BTreeMap<K, Result<V, ClientError>> = answers.into_iter().collect();
    let outcome = |key: K| {
        let answer = answers.remove(&key).unwrap_or_else(|| {
            Err(ClientError::Malformed {
                address: "the broker asked".to_owned(),
                api: "a request about several items",
                reason: "one of them is missing".to_owned(),
            })
        });
        (key, answer)
    };
    keys.into_iter().map(outcome).collect()
}

fn is_worth_another(client: &Client, api_key: i16, error: &ClientError, topic_wait_over: bool) -> bool {
    if let Some(code) = error.code() {
        return repeat::passes(api_key, code) && !(repeat::is_topic_unknown(code) && topic_wait_over);
    }
    matches!(client.failure(error.clone(), repeat::is_harmless(api_key)), Failure::Transient(_))
}

fn forget(client: &Client, to: &To, error: &ClientError) {
    match error.code() {
        Some(code) => client.forget(to, repeat::is_metadata_stale(code), repeat::is_coordinator_stale(code)),
        None => client.forget(to, true, true),
    }
}

/// Items by topic, as requests list them.
pub(super) fn by_topic<I>(items: Vec<(TopicPartition, I)>) -> BTreeMap<String, Vec<(i32, I)>> {
    let mut topics: BTreeMap<String, Vec<(i32, I)>> = BTreeMap::new();
    for (id, item) in items {
        topics.entry(id.topic).or_default().push((id.partition, item));
    }
    topics
}

/// The route of a partition's requests.
pub(super) fn to_leader(id: &TopicPartition) -> To {
    To::Leader(id.topic.clone(), id.partition)
}

/// The route of a group's requests; groups are keyed by `String`.
#[allow(clippy::ptr_arg)]
pub(super) fn to_coordinator(group: &String) -> To {
    To::Coordinator(group.clone())
}

/// `Ok(value)`, or the error that a code other than 0 stands for.
pub(super) fn outcome<V>(
    api: &'static str,
    subject: &dyn std::fmt::Display,
    code: i16,
    value: V,
) -> Result<V, ClientError> {
    ClientError::check(api, || subject.to_string(), code, None).map(|()| value)
}

/// The same with the broker's words.
pub(super) fn outcome_with_words<V>(
    api: &'static str,
    subject: &dyn std::fmt::Display,
    answer: (i16, Option<&str>),
    value: V,
) -> Result<V, ClientError> {
    ClientError::check(api, || subject.to_string(), answer.0, answer.1).map(|()| value)
}

/// A group that no coordinator knows, however the broker's version says so.
pub(super) fn group_not_found(api: &'static str, group: &str) -> ClientError {
    let subject = format!("group {group}");
    ClientError::Kafka { api, subject, code: ResponseError::GroupIdNotFound, message: None }
}
