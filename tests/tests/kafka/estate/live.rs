//! Who writes and who reads: live clients of either cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use towpath_tests::wait;

use super::{GROUP, LIMIT, PARTITIONS, TOPIC};

/// Writes to every partition until it is stopped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeMap<i32, i64>>>,
}

impl Writer {
    pub(super) fn start(bootstrap: &str) -> Writer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for partition in 0..PARTITIONS {
                    let record: BaseRecord<'_, str, str> =
                        BaseRecord::to(TOPIC).partition(partition).key("key").payload("a product view");
                    producer.send(record).map_err(|(error, _)| error).unwrap();
                    *ends.entry(partition).or_default() += 1;
                }
                // The workload's pace, not a wait for anything.
                std::thread::sleep(Duration::from_millis(10));
            }
            producer.flush(LIMIT).unwrap();
            ends
        });
        Writer { stop, thread: Some(thread) }
    }

    /// The end of each partition.
    pub fn stop(&mut self) -> BTreeMap<i32, i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the members of a group saw and did.
#[derive(Default)]
pub(super) struct Seen {
    delivered: Vec<(i32, i64)>,
    pub(super) committed: BTreeMap<i32, i64>,
    commits: BTreeMap<usize, u64>,
}

/// Live members of the group on one cluster; each commits behind every record.
pub struct Group {
    stop: Arc<AtomicBool>,
    pub(super) seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Group {
    pub fn start(bootstrap: &str, members: usize) -> Group {
        Group::start_with(bootstrap, members, &[])
    }

    /// Members with settings of their own.
    pub fn start_with(bootstrap: &str, members: usize, settings: &'static [(&str, &str)]) -> Group {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let threads = (0..members)
            .map(|index| {
                let (stop, seen, bootstrap) = (stop.clone(), seen.clone(), bootstrap.to_owned());
                std::thread::spawn(move || consume(&bootstrap, index, settings, &stop, &seen))
            })
            .collect();
        Group { stop, seen, threads }
    }

    pub fn delivered(&self) -> usize {
        self.seen.lock().delivered.len()
    }

    pub fn offsets(&self) -> BTreeSet<(i32, i64)> {
        self.seen.lock().delivered.iter().copied().collect()
    }

    pub fn first_delivered(&self, partition: i32) -> Option<i64> {
        self.seen.lock().delivered.iter().find(|(at, _)| *at == partition).map(|(_, offset)| *offset)
    }

    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.seen.lock().committed.get(&partition).copied()
    }

    /// Waits until so many members have committed since the call, and every partition has a commit.
    pub async fn wait_for_commits(&self, members: usize) {
        self.seen.lock().commits.clear();
        wait::until("every member to commit", LIMIT, async || {
            let seen = self.seen.lock();
            let all = seen.commits.len() >= members && seen.committed.len() == PARTITIONS as usize;
            Ok(all.then_some(()))
        })
        .await
        .unwrap();
    }

    pub async fn wait_until_committed(&self, ends: &BTreeMap<i32, i64>) {
        wait::until("the group to reach the end", LIMIT, async || {
            let seen = self.seen.lock();
            let reached = ends.iter().all(|(partition, end)| seen.committed.get(partition) == Some(end));
            Ok(reached.then_some(()))
        })
        .await
        .unwrap();
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consume(bootstrap: &str, index: usize, settings: &[(&str, &str)], stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("group.id", GROUP)
        .set("client.id", format!("member-{index}"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    // KIP-848 leaves these to the broker.
    if settings.iter().all(|(key, _)| *key != "group.protocol") {
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
    }
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let (partition, offset) = (message.partition(), message.offset());
        seen.lock().delivered.push((partition, offset));
        if consumer.commit_message(&message, CommitMode::Sync).is_ok() {
            let mut seen = seen.lock();
            seen.committed.insert(partition, offset + 1);
            *seen.commits.entry(index).or_default() += 1;
        }
    }
}
