//! Readers: one that follows the tail while the broker comes and goes, and one that reads everything back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use towpath_env::Env;

use super::check::{ReadBack, Seen};
use super::ledger::{Name, digest_of};
use super::load::TOPIC;

/// What was read, by partition.
pub type Read = BTreeMap<i32, ReadBack>;

/// A call to a broker that is up.
const CALL_MAX: Duration = Duration::from_secs(30);
/// No record for so long, and the end not reached: the reader gives up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

fn consumer(bootstrap: &str, name: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config.set("client.id", name).set("group.id", format!("{name}-no-group"));
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "error").set("check.crcs", "true");
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set("retry.backoff.ms", "50").set("fetch.error.backoff.ms", "50").set("fetch.wait.max.ms", "100");
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config.create().context("consumer")
}

fn seen(message: &BorrowedMessage<'_>) -> Seen {
    let value = message.payload().unwrap_or_default();
    Seen { offset: message.offset(), name: Name::of(value), digest: digest_of(value) }
}

/// Reads all partitions from `from` (0 where it has none) to their ends of now, with a client of its own.
///
/// # Errors
/// When the broker does not answer, refuses an offset, or gives nothing more before the end.
pub async fn read_back(bootstrap: &str, partitions: i32, from: BTreeMap<i32, i64>) -> Result<Read> {
    let bootstrap = bootstrap.to_owned();
    tokio::task::spawn_blocking(move || {
        let consumer = consumer(&bootstrap, "read-back")?;
        let (mut read, mut list) = (Read::new(), TopicPartitionList::new());
        for partition in 0..partitions {
            let (start, end) = consumer.fetch_watermarks(TOPIC, partition, CALL_MAX).context("ends")?;
            if start != 0 {
                bail!("partition {partition} begins at {start}, and nothing was deleted");
            }
            let from = from.get(&partition).copied().unwrap_or(0);
            read.insert(partition, ReadBack { from, end, records: Vec::new() });
            if from < end {
                list.add_partition_offset(TOPIC, partition, Offset::Offset(from))?;
            }
        }
        consumer.assign(&list)?;
        let env = Env::real();
        let mut last = env.elapsed();
        while read.values().any(|back| next_of(back) < back.end) {
            match consumer.poll(Duration::from_millis(100)) {
                None if env.elapsed() > last + SILENCE_MAX => {
                    let left = read.iter().filter(|(_, back)| next_of(back) < back.end);
                    let left = left.map(|(partition, back)| (*partition, next_of(back), back.end));
                    bail!("nothing more comes of (partition, next, end) {:?}", left.collect::<Vec<_>>());
                }
                None => {}
                Some(Ok(message)) => {
                    last = env.elapsed();
                    let back = read.entry(message.partition()).or_default();
                    // Beyond the end of when it began: not asked for.
                    if message.offset() < back.end {
                        back.records.push(seen(&message));
                    }
                }
                Some(Err(error)) if fatal(&error) => return Err(error).context("read back"),
                Some(Err(_)) => {}
            }
        }
        Ok(read)
    })
    .await?
}

fn next_of(back: &ReadBack) -> i64 {
    back.records.last().map_or(back.from, |seen| seen.offset + 1)
}

/// Errors that a reader does not get over: there is no offset to go back to.
fn fatal(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::Fatal | RDKafkaErrorCode::BadMessage)
    )
}

/// A reader that is assigned all partitions once and stays, whatever happens to the broker.
pub struct TailReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Read>>>,
}

impl Drop for TailReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl TailReader {
    /// Begins to read.
    ///
    /// # Errors
    /// librdkafka's, for settings that it does not take.
    pub fn start(bootstrap: &str, partitions: i32) -> Result<TailReader> {
        let consumer = consumer(bootstrap, "tail")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(TOPIC, partition, Offset::Offset(0))?;
        }
        consumer.assign(&list)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut read = Read::new();
            while !stopped.load(Ordering::Relaxed) {
                match consumer.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => {
                        let back = read.entry(message.partition()).or_default();
                        back.records.push(seen(&message));
                        back.end = message.offset() + 1;
                    }
                    Some(Err(error)) if fatal(&error) => return Err(error).context("a reader of the tail"),
                    Some(Err(_)) | None => {}
                }
            }
            Ok(read)
        });
        Ok(TailReader { stop, thread: Some(thread) })
    }

    /// Ends it; gives what it saw.
    ///
    /// # Errors
    /// What it could not get over.
    pub fn finish(mut self) -> Result<Read> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a reader is finished once")?;
        thread.join().map_err(|_| anyhow!("a reader panicked"))?
    }
}
