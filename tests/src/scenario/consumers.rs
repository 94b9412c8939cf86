//! Consumers that run while steps are done, and what they were given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use towpath_env::Env;

use super::loads::Fate;
use super::model::{AwaitConsumer, Consume, ExpectDelivered, ExpectQuiet, Repeats, StopConsumer};
use super::world::World;
use crate::clients::protocol::{ConsumeSettings, Event, Settings};
use crate::clients::{Client, ClientKind};
use crate::wait;

/// A consumer commits and leaves at once, unless its broker is gone.
const LEAVE_MAX: Duration = Duration::from_secs(30);

/// What a consumer reported, in order; the numbers order it among consumers.
#[derive(Debug, Default)]
pub(super) struct ConsumerState {
    events: Vec<(u64, Event)>,
    received: usize,
    assigned: BTreeSet<(String, i32)>,
    ended: bool,
}

/// A running or ended consumer.
pub(super) struct Consuming {
    state: Arc<Mutex<ConsumerState>>,
    orders: UnboundedSender<Order>,
    task: JoinHandle<Result<()>>,
}

enum Order {
    Leave,
    Kill,
}

impl Drop for Consuming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConsumerState {
    fn note(&mut self, number: u64, event: Event) {
        match &event {
            Event::Record(_) => self.received += 1,
            Event::Assigned(partitions) => self.assigned.extend(partitions.iter().cloned()),
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                self.assigned.retain(|owned| !partitions.contains(owned));
            }
            _ => {}
        }
        self.events.push((number, event));
    }

    fn assignments(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, Event::Assigned(_))).count()
    }

    fn errors(&self) -> impl Iterator<Item = (&str, bool)> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Error { message, fatal } => Some((message.as_str(), *fatal)),
            _ => None,
        })
    }
}

async fn listen(
    mut client: Client,
    state: Arc<Mutex<ConsumerState>>,
    clock: Arc<AtomicU64>,
    mut orders: UnboundedReceiver<Order>,
) -> Result<()> {
    loop {
        tokio::select! {
            event = client.listen() => match event {
                Ok(Some(event)) => state.lock().note(clock.fetch_add(1, Ordering::SeqCst), event),
                // A client that was killed may have said half a line.
                Ok(None) | Err(_) => break,
            },
            order = orders.recv() => match order {
                Some(Order::Leave) => client.close_input(),
                Some(Order::Kill) | None => client.process().kill().await?,
            },
        }
    }
    let ended = client.process().ended(LEAVE_MAX).await;
    state.lock().ended = true;
    ended.map(drop)
}

impl World<'_> {
    fn consumer(&self, name: &str) -> Result<&Consuming> {
        self.consumers.get(name).with_context(|| format!("no consumer {name:?}"))
    }

    /// Starts a consumer.
    pub(super) async fn consume(&mut self, step: &Consume) -> Result<()> {
        let kind: ClientKind = step.client.parse()?;
        let topics: Vec<&str> = step.topics.iter().map(String::as_str).collect();
        let settings = ConsumeSettings {
            client_id: step.name.clone(),
            group: step.group.clone(),
            instance_id: step.instance_id.clone(),
            assign: step.assign,
            isolation: step.isolation.clone(),
            from: step.from.clone(),
            commit: step.commit.clone(),
            protocol: step.protocol.clone(),
            assignor: step.assignor.clone(),
            go_on: step.go_on,
            properties: step.properties.clone(),
            ..ConsumeSettings::new(&self.bootstrap(&step.on)?, &topics)
        };
        let client = Client::start(&kind, &step.name, &Settings::Consume(settings), self.folder()).await?;
        let state = Arc::<Mutex<ConsumerState>>::default();
        let (orders, received) = unbounded_channel();
        let task = tokio::spawn(listen(client, Arc::clone(&state), Arc::clone(&self.clock), received));
        self.consumers.insert(step.name.clone(), Consuming { state, orders, task });
        Ok(())
    }

    /// Waits for something of a consumer.
    pub(super) async fn await_consumer(&mut self, step: &AwaitConsumer) -> Result<()> {
        let consumer = self.consumer(&step.name)?;
        let start = consumer.state.lock().received;
        let holds = |state: &ConsumerState| {
            step.received.is_none_or(|count| state.received >= count)
                && step.more.is_none_or(|more| state.received >= start + more)
                && step.assigned.is_none_or(|count| state.assigned.len() == count)
                && step.assignments_max.is_none_or(|most| state.assignments() <= most)
                && step
                    .error
                    .as_ref()
                    .is_none_or(|text| state.errors().any(|(error, _)| error.contains(text)))
                && (!step.ended || state.ended)
        };
        let what = format!("{step:?}");
        let reached = wait::until(&what, Duration::from_secs(step.within_s), async || {
            let state = consumer.state.lock();
            if holds(&state) {
                return Ok(Some(()));
            }
            if state.ended {
                bail!("{} ended", step.name);
            }
            Ok(None)
        });
        reached.await.with_context(|| describe(&step.name, &consumer.state.lock()))
    }

    /// A consumer gets nothing for a while: no record, no fatal error, and it lives.
    pub(super) async fn expect_quiet(&mut self, step: &ExpectQuiet) -> Result<()> {
        let consumer = self.consumer(&step.consumer)?;
        let start = consumer.state.lock().received;
        // The claim is about a stretch of time: there is no event to wait for.
        Env::real().sleep(Duration::from_millis(step.for_ms)).await;
        let state = consumer.state.lock();
        let fatal = state.errors().find(|(_, fatal)| *fatal);
        if state.received > start || fatal.is_some() || state.ended {
            bail!(
                "not quiet: {} more records, {fatal:?}; {}",
                state.received - start,
                describe(&step.consumer, &state)
            );
        }
        Ok(())
    }

    /// A consumer leaves or dies.
    pub(super) async fn stop_consumer(&mut self, step: &StopConsumer) -> Result<()> {
        let consumer = self.consumer(&step.name)?;
        let order = if step.kill { Order::Kill } else { Order::Leave };
        // Refused when it has ended by itself, which is as good.
        let _ = consumer.orders.send(order);
        wait::until(&format!("the end of {}", step.name), LEAVE_MAX, async || {
            Ok(consumer.state.lock().ended.then_some(()))
        })
        .await
    }

    /// Consumers together got everything, and nothing again that they shouldn't.
    pub(super) async fn expect_delivered(&mut self, step: &ExpectDelivered) -> Result<()> {
        let mut expected = BTreeSet::new();
        for name in &step.loads {
            let load = self.loads.get(name).with_context(|| format!("no load {name:?}"))?;
            let state = load.state.lock();
            let kept = state.sent.iter().filter(|(message, _)| !state.aborted.contains(&message.n));
            expected.extend(kept.filter_map(|(message, fate)| match fate {
                Fate::Acked { partition, offset } => Some((message.topic.clone(), *partition, *offset)),
                _ => None,
            }));
        }
        let consumers: Result<Vec<&Consuming>> =
            step.consumers.iter().map(|name| self.consumer(name)).collect();
        let consumers = consumers?;
        let missing = |expected: &BTreeSet<Place>| -> BTreeSet<Place> {
            let mut left = expected.clone();
            for consumer in &consumers {
                for (_, event) in &consumer.state.lock().events {
                    if let Event::Record(record) = event {
                        left.remove(&(record.topic.clone(), record.partition, record.offset));
                    }
                }
            }
            left
        };
        let all =
            wait::until("every record to be delivered", Duration::from_secs(step.within_s), async || {
                expected = missing(&expected);
                Ok(expected.is_empty().then_some(()))
            });
        let described = || {
            let each = step.consumers.iter().zip(&consumers);
            let each: Vec<String> =
                each.map(|(name, consumer)| describe(name, &consumer.state.lock())).collect();
            each.join("; ")
        };
        all.await.with_context(|| {
            format!("{} missing, first {:?}; {}", expected.len(), expected.first(), described())
        })?;
        let mut log: Vec<(u64, Event)> = Vec::new();
        for consumer in &consumers {
            log.extend(consumer.state.lock().events.iter().cloned());
        }
        log.sort_by_key(|(number, _)| *number);
        check_repeats(&log, step.repeats)
    }
}

type Place = (String, i32, i64);

/// Replays what consumers of one group reported: a record that comes again must be allowed to.
fn check_repeats(log: &[(u64, Event)], allowed: Repeats) -> Result<()> {
    let mut delivered = BTreeSet::new();
    let mut committed: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for (_, event) in log {
        match event {
            Event::Committed(offsets) => {
                for (topic, partition, offset) in offsets {
                    let known = committed.entry((topic.clone(), *partition)).or_insert(0);
                    *known = (*known).max(*offset);
                }
            }
            Event::Record(record) => {
                let (topic, partition, offset) = (record.topic.clone(), record.partition, record.offset);
                let was_committed =
                    committed.get(&(topic.clone(), partition)).is_some_and(|next| offset < *next);
                let again = !delivered.insert((topic.clone(), partition, offset));
                let fault = match allowed {
                    Repeats::Any => false,
                    Repeats::None => again,
                    Repeats::Uncommitted => again && was_committed,
                };
                if fault {
                    bail!("{topic}-{partition}@{offset} was delivered again (committed: {was_committed})");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn describe(name: &str, state: &ConsumerState) -> String {
    let errors: Vec<&str> = state.errors().map(|(message, _)| message).collect();
    let last = errors.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
    let (received, assigned, count) = (state.received, state.assigned.len(), errors.len());
    let event = state.events.iter().map(|(_, event)| event).rfind(|event| !matches!(event, Event::Record(_)));
    format!("{name}: {received} records, {assigned} partitions, {count} errors: {last}, last event {event:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn record(offset: i64) -> Event {
        Event::Record(Record {
            topic: "t".to_owned(),
            partition: 0,
            offset,
            timestamp_ms: 0,
            timestamp_type: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        })
    }

    fn check(events: &[Event], allowed: Repeats) -> bool {
        let log: Vec<(u64, Event)> = events.iter().cloned().enumerate().map(|(n, e)| (n as u64, e)).collect();
        check_repeats(&log, allowed).is_ok()
    }

    #[test]
    fn a_repeat_is_a_fault_only_behind_its_commit() {
        let commit = |offset| Event::Committed(vec![("t".to_owned(), 0, offset)]);
        let uncommitted = [record(0), commit(1), record(1), record(1)];
        assert!(check(&uncommitted, Repeats::Uncommitted) && !check(&uncommitted, Repeats::None));
        let committed = [record(0), commit(1), record(0)];
        assert!(!check(&committed, Repeats::Uncommitted) && check(&committed, Repeats::Any));
    }
}
