//! The load of a kill run: producers of librdkafka in this process, each on a thread of its own, each with its ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use towpath_env::Env;

use super::ledger::{Fate, Ledger, Name, Sent, digest_of};
use crate::wait;

/// The one topic of a run.
pub const TOPIC: &str = "crash";
/// Records of one producer that wait for their acknowledgement.
const WINDOW: usize = 2_000;
/// Between two portions of a producer.
const TICK: Duration = Duration::from_millis(10);
/// Everything sent is acknowledged so soon after the broker is up.
const FLUSH_MAX: Duration = Duration::from_secs(120);

/// A ledger that its producer writes and the checker reads.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// What the producers do.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// `host:port` of the broker.
    pub bootstrap: String,
    /// Contents follow from it.
    pub seed: u64,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers with an id and sequence numbers; one without comes beside them.
    pub idempotent_producers: usize,
    /// Records per second, all producers together.
    pub rate: u64,
}

/// Makes the topic, whose records are kept for ever.
///
/// # Errors
/// When the broker refuses it.
pub async fn make_topic(bootstrap: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new(TOPIC, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let options = AdminOptions::new().request_timeout(Some(FLUSH_MAX)).operation_timeout(Some(FLUSH_MAX));
    for outcome in admin.create_topics([&topic], &options).await? {
        outcome.map_err(|(topic, code)| anyhow!("make {topic}: {code}"))?;
    }
    Ok(())
}

/// Running producers.
pub struct Load {
    ledgers: Vec<SharedLedger>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Starts the producers.
    ///
    /// # Errors
    /// librdkafka's, for settings that it does not take.
    pub fn start(spec: &LoadSpec) -> Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut ledgers, mut threads) = (Vec::new(), Vec::new());
        for producer in 0..=spec.idempotent_producers {
            let idempotent = producer < spec.idempotent_producers;
            let ledger = Arc::new(Mutex::new(Ledger { idempotent, ..Ledger::default() }));
            let client = client(spec, producer, &ledger)?;
            let feeder =
                Feeder { spec: spec.clone(), producer, ledger: ledger.clone(), stop: stop.clone(), client };
            threads.push(std::thread::spawn(move || feeder.run()));
            ledgers.push(ledger);
        }
        Ok(Load { ledgers, stop, threads })
    }

    /// Records acknowledged so far.
    pub fn acked(&self) -> usize {
        self.ledgers.iter().map(|ledger| ledger.lock().acked).sum()
    }

    /// All ledgers as they are now.
    pub fn ledgers(&self) -> Vec<Ledger> {
        self.ledgers.iter().map(|ledger| ledger.lock().clone()).collect()
    }

    /// Sends no more, and waits until the fate of everything sent is known.
    ///
    /// # Errors
    /// When a producer failed, or records are not acknowledged in time.
    pub async fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = &self.threads;
        let ended = wait::until("every record's fate", FLUSH_MAX * 2, async || {
            Ok(threads.iter().all(JoinHandle::is_finished).then_some(()))
        });
        ended.await?;
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a producer panicked"))??;
        }
        let pending: usize = self.ledgers.iter().map(|ledger| ledger.lock().pending()).sum();
        if pending > 0 {
            bail!("{pending} records have no fate after a flush");
        }
        Ok(())
    }
}

/// Settings with which a client goes on across restarts of its broker.
fn client(spec: &LoadSpec, producer: usize, ledger: &SharedLedger) -> Result<ThreadedProducer<Noting>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &spec.bootstrap).set("broker.address.family", "v4");
    config.set("client.id", format!("crash-{producer}")).set("acks", "all");
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set("retry.backoff.ms", "50").set("retry.backoff.max.ms", "200").set("linger.ms", "3");
    config.set("request.timeout.ms", "10000").set("socket.timeout.ms", "15000");
    // Nothing is given up: whatever is sent must be there in the end.
    config.set("message.timeout.ms", "0");
    config.set("compression.codec", ["none", "lz4", "zstd"][producer % 3]);
    if ledger.lock().idempotent {
        config.set("enable.idempotence", "true");
    } else {
        // With repetitions where an answer was lost.
        config.set("enable.idempotence", "false").set("max.in.flight", "1").set("retries", "2147483647");
    }
    config.set_log_level(RDKafkaLogLevel::Emerg);
    let noting = Noting { ledger: ledger.clone() };
    config.create_with_context(noting).with_context(|| format!("producer {producer}"))
}

/// Notes what became of each record.
struct Noting {
    ledger: SharedLedger,
}

impl ClientContext for Noting {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.ledger.lock().errors.push(format!("{error}: {reason}"));
        }
    }
}

impl ProducerContext for Noting {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let mut ledger = self.ledger.lock();
        let fate = match result {
            Ok(message) if message.offset() >= 0 => Fate::Acked(message.offset()),
            Ok(_) => Fate::AckedSomewhere,
            Err((error, _)) => {
                ledger.errors.push(format!("record {number} was given up: {error}"));
                Fate::GivenUp
            }
        };
        ledger.decided(*number, fate);
    }
}

/// One producer's thread.
struct Feeder {
    spec: LoadSpec,
    producer: usize,
    ledger: SharedLedger,
    stop: Arc<AtomicBool>,
    client: ThreadedProducer<Noting>,
}

impl Feeder {
    fn run(self) -> Result<()> {
        let env = Env::real();
        let producers = (self.spec.idempotent_producers + 1) as f64;
        let per_second = self.spec.rate as f64 / producers;
        let (mut number, mut allowed, mut since) = (0, 0.0, env.elapsed());
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            let now = env.elapsed();
            // What was missed while the window was full is not made up for at once.
            allowed = (allowed + per_second * (now - since).as_secs_f64()).min(per_second / 10.0 + 1.0);
            since = now;
            while allowed >= 1.0 && self.has_room() {
                self.send(number)?;
                number += 1;
                allowed -= 1.0;
            }
        }
        // librdkafka's flush returns when it has handed out the last outcome; the ledger has it a moment later.
        self.client.flush(FLUSH_MAX).context("flush")?;
        while self.ledger.lock().pending() > 0 && env.elapsed() < since + FLUSH_MAX {
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let ledger = self.ledger.lock();
        let given_up = ledger.errors.len();
        ledger.sent.len() < ledger.acked + given_up + WINDOW
    }

    fn send(&self, number: usize) -> Result<()> {
        let value = Name { producer: self.producer, number }.value(self.spec.seed);
        let digest = digest_of(&value);
        // Partitions come in turn, in runs: a batch holds more than one record.
        let partition = ((number / 8) as i32 + self.producer as i32) % self.spec.partitions;
        self.ledger.lock().sent.push(Sent { partition, digest, fate: Fate::Pending });
        let mut record: BaseRecord<'_, [u8], [u8], Box<usize>> =
            BaseRecord::with_opaque_to(TOPIC, Box::new(number)).partition(partition).payload(&value);
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                    record = same;
                    std::thread::sleep(TICK);
                }
                Err((error, _)) => return Err(error).context("send"),
            }
        }
    }
}
