//! The shop: idempotent producers that go on writing to the source while everything happens.
//!
//! First a history as fast as it goes, then live: the shop's clock runs faster than the wall's, so that its
//! sessions, batches and quiet moments fit into a demo.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use rdkafka::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use towpath_env::Env;

use super::count::{Books, Place};
use super::estate::{CARTS, SEARCHES, TOPICS, VIEWS};
use super::workload::{Event, Kind, Workload, WorkloadOptions};

/// So many minutes of the shop pass in one minute of the demo.
const SHOP_CLOCK: u32 = 60;
/// Session starts in a mean hour of the shop: in its evening some 200 events a second of the demo, batches apart.
const SESSIONS_PER_HOUR: f64 = 600.0;
/// Feeds and campaigns in a day of the shop: a few in a demo.
const BATCHES_PER_DAY: f64 = 72.0;
/// The most that live producers write in a second, batches included.
const LIVE_PER_SECOND_MAX: u64 = 8_000;
/// How long a tick of live production is.
const TICK: Duration = Duration::from_millis(10);
/// How long the last acknowledgements may take.
const FLUSH_MAX: Duration = Duration::from_secs(20);
/// Room for the largest event with its key and headers; librdkafka's own default has none.
const MESSAGE_BYTES_MAX: &str = "1048588";
/// One codec for each topic, in the order of [`TOPICS`].
const CODECS: [&str; 3] = ["lz4", "zstd", "gzip"];

/// Producers at work.
pub struct Production {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    books: Arc<Mutex<Books>>,
    stop: AtomicBool,
    failed: AtomicU64,
    /// Events of the history that were handed to librdkafka.
    history_is_sent: AtomicBool,
}

impl Production {
    /// Starts to produce: `history` events at once, then live until [`Production::stop`].
    ///
    /// # Errors
    /// librdkafka refuses its configuration.
    pub fn start(bootstrap: &str, history: u64, books: Arc<Mutex<Books>>, env: Env) -> Result<Production> {
        let shared = Arc::new(Shared {
            books,
            stop: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            history_is_sent: AtomicBool::new(false),
        });
        let producers = CODECS.iter().map(|codec| producer(bootstrap, codec, &shared));
        let mut shop = Shop {
            producers: producers.collect::<Result<Vec<_>>>()?,
            shared: Arc::clone(&shared),
            events: events(),
            env,
        };
        let thread = std::thread::Builder::new().name("demo-shop".into()).spawn(move || shop.run(history))?;
        Ok(Production { shared, thread: Some(thread) })
    }

    /// Whether the history was sent.
    pub fn is_live(&self) -> bool {
        self.shared.history_is_sent.load(Ordering::Acquire)
    }

    /// Whether the producers gave up by themselves.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the production and waits for the last acknowledgement.
    ///
    /// # Errors
    /// A record was refused, or not acknowledged in time.
    pub fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow!("the producers' thread panicked"))??;
        match self.shared.failed.load(Ordering::Acquire) {
            0 => Ok(()),
            failed => bail!("the source refused {failed} records"),
        }
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        // Best effort on the way out of an error that was told already.
        let _ = self.stop();
    }
}

fn events() -> Workload {
    let options = WorkloadOptions::new(SEED);
    Workload::new(WorkloadOptions {
        start_ms: options.start_ms + EVENING_MS,
        sessions_per_hour: SESSIONS_PER_HOUR,
        batches_per_day: BATCHES_PER_DAY,
        ..options
    })
}

/// From the workload's morning to its evening.
const EVENING_MS: i64 = 8 * 60 * 60 * 1_000;
/// Every demo is the same shop on the same day: one with a batch half a minute after the history.
const SEED: u64 = 6;

/// The topic of an event: views with the impressions before them, carts with the orders they become, searches.
fn topic_of(kind: Kind) -> usize {
    match kind {
        Kind::View | Kind::Impression => VIEWS,
        Kind::Cart | Kind::Order => CARTS,
        Kind::Search => SEARCHES,
    }
}

/// What producers and consumers compare: nothing but these bytes.
pub fn digest(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.write(value);
    hasher.finish()
}

/// The number that the workload wrote into an event.
pub fn number_in(value: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"number\":";
    // The field stands second; what follows may be a megabyte.
    let head = &value[..value.len().min(80)];
    let at = head.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let digits = value[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[at..at + digits]).ok()?.parse().ok()
}

fn producer(bootstrap: &str, codec: &str, shared: &Arc<Shared>) -> Result<ThreadedProducer<Acks>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("client.id", format!("towpath-demo-shop-{codec}"));
    config.set("enable.idempotence", "true").set("acks", "all").set("compression.codec", codec);
    config.set("linger.ms", "10").set("message.max.bytes", MESSAGE_BYTES_MAX);
    config.set("allow.auto.create.topics", "false");
    Ok(config.create_with_context(Acks { shared: Arc::clone(shared) })?)
}

/// Enters acknowledgements into the books.
struct Acks {
    shared: Arc<Shared>,
}

impl ClientContext for Acks {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("producer: {facility} {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("producer: {error}: {reason}");
    }
}

/// An event on its way.
struct Sent {
    number: u64,
    topic: usize,
    digest: u64,
}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match result {
            Ok(message) => {
                let (partition, offset) = (message.partition(), message.offset());
                let place = Place { topic: sent.topic, partition, offset };
                self.shared.books.lock().acknowledged(sent.number, place, sent.digest);
            }
            Err((error, _)) => {
                tracing::info!("record {} of {}: {error}", sent.number, TOPICS[sent.topic].name);
                self.shared.failed.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

/// The producers' thread.
struct Shop {
    producers: Vec<ThreadedProducer<Acks>>,
    shared: Arc<Shared>,
    events: Workload,
    env: Env,
}

impl Shop {
    fn run(&mut self, history: u64) -> Result<()> {
        self.send_next(history)?;
        self.shared.history_is_sent.store(true, Ordering::Release);
        self.live()?;
        for producer in &self.producers {
            producer.flush(FLUSH_MAX).context("the source did not acknowledge the last records in time")?;
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    fn send_next(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            match self.events.next() {
                Some(event) if !self.stops() => self.send(&event)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// What the shop's clock brings, bounded: after a batch the clock goes on from where it was held up.
    fn live(&mut self) -> Result<()> {
        const PER_TICK_MAX: u64 = LIVE_PER_SECOND_MAX * TICK.as_millis() as u64 / 1_000;
        let Some(mut next) = self.events.next() else { return Ok(()) };
        let (mut shop_ms, mut wall) = (next.at_ms, self.env.elapsed());
        while !self.stops() {
            std::thread::sleep(TICK);
            let now = self.env.elapsed();
            shop_ms += (now - wall).as_millis() as i64 * i64::from(SHOP_CLOCK);
            wall = now;
            let mut sent = 0;
            while next.at_ms <= shop_ms {
                if sent == PER_TICK_MAX {
                    shop_ms = next.at_ms;
                    break;
                }
                self.send(&next)?;
                sent += 1;
                let Some(event) = self.events.next() else { return Ok(()) };
                next = event;
            }
        }
        Ok(())
    }

    fn send(&self, event: &Event) -> Result<()> {
        let topic = topic_of(event.kind);
        let digest = digest(event.key.as_bytes(), event.value.as_bytes());
        let sent = Sent { number: event.number, topic, digest };
        let mut record = BaseRecord::with_opaque_to(TOPICS[topic].name, Box::new(sent))
            .key(event.key.as_bytes())
            .payload(event.value.as_bytes())
            .headers(OwnedHeaders::new().insert(Header { key: "kind", value: Some(event.kind.name()) }));
        loop {
            match self.producers[topic].send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) if !self.stops() => {
                    record = same;
                    // librdkafka's own thread makes room.
                    std::thread::sleep(TICK);
                }
                Err((error, _)) => return Err(error).context("the producers cannot go on"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_carries_the_number_that_a_reader_finds() {
        for event in events().take(5_000) {
            assert_eq!(number_in(event.value.as_bytes()), Some(event.number));
        }
        assert_eq!(number_in(b"{}"), None);
        assert_eq!(number_in(b"{\"number\":x"), None);
    }

    #[test]
    fn a_batch_arrives_while_groups_move_and_fits_a_laptop() {
        let (mut minutes, mut from) = ([0_u64; 30], None);
        for event in events().skip(30_000) {
            let minute = ((event.at_ms - *from.get_or_insert(event.at_ms)) / 60_000) as usize;
            let Some(count) = minutes.get_mut(minute) else { break };
            *count += 1;
        }
        let leaps = |pair: &[u64]| pair[1] > 5 * pair[0];
        assert_eq!(minutes.windows(2).filter(|pair| leaps(pair)).count(), 1, "{minutes:?}");
        assert!(minutes.iter().all(|count| (400..10_000).contains(count)), "{minutes:?}");
        assert!(minutes.iter().sum::<u64>() < 100_000, "{minutes:?}");
    }
}
