//! One consumer of a group, as a consumer owner runs it: a thread with a librdkafka consumer that reads, commits as
//! it goes, and enters all of it into the books.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::watch;
use towpath_env::Env;

use super::count::{Books, Delivery, Side};
use super::estate::{GROUPS, TOPICS};
use super::produce::{digest, number_in};

/// How often a member commits what it has read.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// The longest that one poll waits.
const POLL: Duration = Duration::from_millis(50);
/// How long an owner waits before it starts a refused consumer again.
const RESTART_AFTER: Duration = Duration::from_millis(250);

/// What the owner does with a consumer that was put out of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenRefused {
    /// Nothing: another one has taken its place.
    Stop,
    /// Starts it again until it is let in, as a supervisor does.
    Restart,
}

/// Which consumer.
#[derive(Clone, Debug)]
pub struct MemberSpec {
    /// Index in [`GROUPS`].
    pub group: usize,
    /// Its client id.
    pub name: String,
    /// Which side `bootstrap` is.
    pub side: Side,
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// What its owner does with an error.
    pub when_refused: WhenRefused,
}

/// Where a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Not yet let in, or held.
    Joining,
    /// It has so many partitions.
    Reading(usize),
    /// It was refused with this error.
    Refused(String),
    /// It has ended.
    Ended,
}

/// What the owner and the consumer's thread share.
#[derive(Default)]
struct Controls {
    stop: AtomicBool,
    /// Another consumer has taken its place: it is not started again.
    replaced: AtomicBool,
    received: AtomicU64,
}

/// A running member.
pub struct Member {
    /// Which.
    pub spec: MemberSpec,
    state: watch::Receiver<MemberState>,
    controls: Arc<Controls>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Starts a consumer.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(spec: MemberSpec, books: Arc<Mutex<Books>>, env: Env) -> Result<Member> {
        let (sender, state) = watch::channel(MemberState::Joining);
        let controls = Arc::new(Controls::default());
        controls.replaced.store(spec.when_refused == WhenRefused::Stop, Ordering::Release);
        let process =
            Process { spec: spec.clone(), books, env, state: sender, controls: Arc::clone(&controls) };
        let thread = std::thread::Builder::new().name(spec.name.clone()).spawn(move || process.run())?;
        Ok(Member { spec, state, controls, thread: Some(thread) })
    }

    /// Where it stands.
    pub fn state(&self) -> MemberState {
        self.state.borrow().clone()
    }

    /// Records that it received.
    pub fn received(&self) -> u64 {
        self.controls.received.load(Ordering::Acquire)
    }

    /// Its owner has started another one: it is not started again when its group puts it out.
    pub fn replaced(&self) {
        self.controls.replaced.store(true, Ordering::Release);
    }

    /// Asks it to commit, leave its group and end.
    pub fn ask_to_stop(&self) {
        self.controls.stop.store(true, Ordering::Release);
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        // The sender goes with the thread.
        let _ = self.state.wait_for(|state| *state == MemberState::Ended).await;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// The process of one consumer owner.
struct Process {
    spec: MemberSpec,
    books: Arc<Mutex<Books>>,
    env: Env,
    state: watch::Sender<MemberState>,
    controls: Arc<Controls>,
}

impl Process {
    fn run(self) {
        let process = Arc::new(self);
        while !process.stops() {
            let refused = match process.consumer() {
                Ok(consumer) => process.read(&consumer),
                Err(error) => Some(error),
            };
            let Some(error) = refused else { break };
            tracing::info!("{}: {error}", process.spec.name);
            process.state.send_replace(MemberState::Refused(error.to_string()));
            if process.controls.replaced.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep(RESTART_AFTER);
        }
        process.state.send_replace(MemberState::Ended);
    }

    fn stops(&self) -> bool {
        self.controls.stop.load(Ordering::Acquire)
    }

    fn consumer(self: &Arc<Self>) -> Result<BaseConsumer<Owner>, KafkaError> {
        let group = &GROUPS[self.spec.group];
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.spec.bootstrap).set("client.id", &self.spec.name);
        config.set("group.id", group.name).set("partition.assignment.strategy", group.assignor);
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1000");
        config.set("fetch.error.backoff.ms", "100").set("queued.max.messages.kbytes", "8192");
        config.set("topic.metadata.refresh.interval.ms", "5000").set("check.crcs", "true");
        let owner = Owner { process: Arc::clone(self), positions: Mutex::default() };
        let consumer: BaseConsumer<Owner> = config.create_with_context(owner)?;
        let topics: Vec<&str> = group.topics.iter().map(|topic| TOPICS[*topic].name).collect();
        consumer.subscribe(&topics)?;
        Ok(consumer)
    }

    /// Reads until it is asked to stop (`None`) or put out of its group.
    fn read(&self, consumer: &BaseConsumer<Owner>) -> Option<KafkaError> {
        let mut committed_at = self.env.elapsed();
        while !self.stops() {
            match consumer.poll(POLL) {
                Some(Ok(message)) => self.received(consumer.context(), &message),
                Some(Err(error)) if is_refusal(&error) => return Some(error),
                // librdkafka mends the rest by itself.
                Some(Err(error)) => tracing::debug!("{}: {error}", self.spec.name),
                None => {}
            }
            if self.env.elapsed() - committed_at >= COMMIT_EVERY {
                consumer.context().commit(consumer, |_, _| true);
                committed_at = self.env.elapsed();
            }
        }
        consumer.context().commit(consumer, |_, _| true);
        None
    }

    fn received(&self, owner: &Owner, message: &BorrowedMessage<'_>) {
        let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        let topic = TOPICS.iter().position(|topic| topic.name == message.topic());
        let (group, at) = (self.spec.group, self.env.elapsed());
        let (partition, offset) = (message.partition(), message.offset());
        self.controls.received.fetch_add(1, Ordering::AcqRel);
        let (Some(topic), Some(number)) = (topic, number_in(value)) else {
            self.books.lock().unreadable(group);
            return;
        };
        let place = super::count::Place { topic, partition, offset };
        let delivery = Delivery { number, place, digest: digest(key, value), side: self.spec.side, at };
        self.books.lock().delivered(group, delivery);
        owner.positions.lock().insert((topic, partition), offset + 1);
    }
}

/// Whether the group has put this consumer out for good: it does not come back by itself.
fn is_refusal(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::InconsistentGroupProtocol | Code::Fatal | Code::FencedInstanceId | Code::UnknownMemberId)
    )
}

/// What librdkafka tells a consumer's owner.
struct Owner {
    process: Arc<Process>,
    /// Next offset to read of each partition that was read and is still assigned.
    positions: Mutex<BTreeMap<(usize, i32), i64>>,
}

impl Owner {
    /// Commits what was read of the chosen partitions.
    fn commit(&self, consumer: &BaseConsumer<Owner>, chosen: impl Fn(usize, i32) -> bool) {
        let positions: Vec<_> = {
            let mut positions = self.positions.lock();
            let chosen: Vec<_> = positions
                .iter()
                .filter(|((topic, partition), _)| chosen(*topic, *partition))
                .map(|(at, offset)| (*at, *offset))
                .collect();
            positions.retain(|at, _| !chosen.iter().any(|(taken, _)| taken == at));
            chosen
        };
        if positions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &positions {
            // The list takes every offset from 0 on.
            let _ = list.add_partition_offset(TOPICS[*topic].name, *partition, Offset::Offset(*offset));
        }
        let spec = &self.process.spec;
        match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => {
                let mut books = self.process.books.lock();
                for (at, offset) in positions {
                    books.committed(spec.group, spec.side, at, offset);
                }
            }
            Err(error) => {
                // A rebalance: the next commit takes them along. Or put out of the group: what was read and not
                // committed comes again elsewhere.
                tracing::debug!("{}: commit: {error}", spec.name);
                let mut held = self.positions.lock();
                for (at, offset) in positions {
                    held.entry(at).or_insert(offset);
                }
            }
        }
    }
}

impl ClientContext for Owner {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("{}: {facility} {message}", self.process.spec.name);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("{}: {error}: {reason}", self.process.spec.name);
    }
}

impl ConsumerContext for Owner {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let revoked = |topic: usize, partition| list.find_partition(TOPICS[topic].name, partition).is_some();
        self.commit(consumer, revoked);
        self.positions.lock().retain(|(topic, partition), _| !revoked(*topic, *partition));
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Error(_)) {
            return;
        }
        let assigned = consumer.assignment().map_or(0, |list| list.count());
        let state = if assigned == 0 { MemberState::Joining } else { MemberState::Reading(assigned) };
        self.process.state.send_replace(state);
    }
}
