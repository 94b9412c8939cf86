//! The librdkafka side of the workload clients; runs in the `towpath-client` binary.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message as _, Offset, Timestamp, TopicPartitionList};

use super::protocol::{Command, ConsumeSettings, Event, ProduceSettings, Settings, Verb};
use crate::record::{Blob, Message, Record};

/// For calls that librdkafka wants a limit for.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Runs one client to its end, talking on standard input and output.
///
/// # Errors
/// What the client can't mend; it is also said as an event.
pub fn run(settings: Settings) -> Result<()> {
    let outcome = match settings {
        Settings::Produce(settings) => produce(&settings),
        Settings::Consume(settings) => Consuming::new(settings).and_then(Consuming::run),
    };
    if let Err(error) = &outcome {
        say(&Event::Error { message: format!("{error:#}"), fatal: true })?;
    }
    outcome
}

/// One line, whole, also when several threads speak.
fn say(event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(std::io::stdout().lock().write_all(&line)?)
}

fn config(bootstrap: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("client.id", client_id);
    config.set("broker.address.family", "v4");
    // Standard error is the client's log; the harness shows it when a scenario fails.
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

fn set_all(config: &mut ClientConfig, properties: &std::collections::BTreeMap<String, serde_json::Value>) {
    for (key, value) in properties {
        config.set(key, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
}

/// Says what became of each message, and counts: librdkafka's flush returns when it has handed out the last
/// outcome, which another thread may not have said yet.
#[derive(Clone, Default)]
struct Deliveries {
    said: Arc<(Mutex<u64>, Condvar)>,
}

impl Deliveries {
    fn wait_for(&self, sent: u64) -> Result<()> {
        let (said, changed) = &*self.said;
        let mut said = said.lock();
        while *said < sent {
            if changed.wait_for(&mut said, CALL_MAX).timed_out() {
                bail!("{said} outcomes of {sent} messages after {} s", CALL_MAX.as_secs());
            }
        }
        Ok(())
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, n: Box<u64>) {
        let event = match result {
            Ok(message) => Event::Acked { n: *n, partition: message.partition(), offset: message.offset() },
            Err((error, _)) => Event::Failed { n: *n, error: error.to_string() },
        };
        // The harness closes the pipe only when it no longer listens.
        let _ = say(&event);
        *self.said.0.lock() += 1;
        self.said.1.notify_all();
    }
}

fn produce(settings: &ProduceSettings) -> Result<()> {
    let mut config = config(&settings.bootstrap, &settings.client_id);
    config.set("compression.codec", &settings.codec).set("acks", &settings.acks);
    config.set("enable.idempotence", settings.idempotent.to_string());
    config.set("linger.ms", settings.linger_ms.to_string()).set("message.max.bytes", "4000000");
    if let Some(id) = &settings.transactional_id {
        config.set("transactional.id", id);
    }
    set_all(&mut config, &settings.properties);
    let deliveries = Deliveries::default();
    let producer: ThreadedProducer<Deliveries> = config.create_with_context(deliveries.clone())?;
    let mut sent = 0;
    if settings.transactional_id.is_some() {
        producer.init_transactions(CALL_MAX)?;
    }
    say(&Event::Ready(true))?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Command::Send(message) => {
                send(&producer, &message)?;
                sent += 1;
            }
            Command::Do(verb) => {
                match verb {
                    Verb::Flush => producer.flush(CALL_MAX)?,
                    Verb::Begin => producer.begin_transaction()?,
                    Verb::Commit => producer.commit_transaction(CALL_MAX)?,
                    Verb::Abort => {
                        producer.flush(CALL_MAX)?;
                        producer.abort_transaction(CALL_MAX)?;
                    }
                    Verb::Stop => break,
                }
                if verb != Verb::Begin {
                    deliveries.wait_for(sent)?;
                }
                say(&Event::Done(verb))?;
            }
        }
    }
    producer.flush(CALL_MAX)?;
    deliveries.wait_for(sent)
}

fn send(producer: &ThreadedProducer<Deliveries>, message: &Message) -> Result<()> {
    let mut record: BaseRecord<'_, [u8], [u8], Box<u64>> =
        BaseRecord::with_opaque_to(&message.topic, Box::new(message.n));
    record.partition = message.partition;
    record.timestamp = message.timestamp_ms;
    record.key = message.key.as_ref().map(|key| key.0.as_slice());
    record.payload = message.value.as_ref().map(|value| value.0.as_slice());
    if !message.headers.is_empty() {
        let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref().map(|value| &value.0) })
        });
        record.headers = Some(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                record = same;
                // Its own thread serves the queue; this one waits for room.
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error).context("send"),
        }
    }
}

/// Says how the group treats this member.
struct Rebalances;

impl ClientContext for Rebalances {
    fn error(&self, error: KafkaError, reason: &str) {
        // Reported where librdkafka can't mend it; the rest is in the log.
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal)) {
            let _ = say(&Event::Error { message: format!("{error}: {reason}"), fatal: true });
        }
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let event = match rebalance {
            Rebalance::Revoke(list) => Event::Revoked(partitions(list)),
            Rebalance::Error(error) => Event::Error { message: error.to_string(), fatal: false },
            Rebalance::Assign(_) => return,
        };
        let _ = say(&event);
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            let _ = say(&Event::Assigned(partitions(list)));
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// One consumer's life.
struct Consuming {
    settings: ConsumeSettings,
    consumer: BaseConsumer<Rebalances>,
    /// Of `until_end`: partitions whose end was not reached yet.
    unread: Vec<(String, i32)>,
    ends: Vec<(String, i32, i64, i64)>,
    commands: Receiver<Result<Verb>>,
}

impl Consuming {
    fn new(settings: ConsumeSettings) -> Result<Consuming> {
        let mut config = config(&settings.bootstrap, &settings.client_id);
        config.set("group.id", settings.group.as_deref().unwrap_or("towpath-test-no-group"));
        config.set("isolation.level", &settings.isolation);
        config.set("auto.offset.reset", if settings.from == "none" { "error" } else { &settings.from });
        config.set("enable.auto.commit", (settings.commit == "auto").to_string());
        config.set("auto.commit.interval.ms", "200").set("enable.partition.eof", "true");
        if let Some(id) = &settings.instance_id {
            config.set("group.instance.id", id);
        }
        if settings.protocol == "consumer" {
            config.set("group.protocol", "consumer");
        } else {
            config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "500");
            config.set("partition.assignment.strategy", &settings.assignor);
        }
        set_all(&mut config, &settings.properties);
        let consumer = config.create_with_context(Rebalances)?;
        let (sender, commands) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let verb =
                    line.map_err(anyhow::Error::from).and_then(|line| match serde_json::from_str(&line)? {
                        Command::Do(verb) => Ok(verb),
                        Command::Send(_) => bail!("a consumer sends nothing"),
                    });
                if sender.send(verb).is_err() {
                    break;
                }
            }
        });
        Ok(Consuming { settings, consumer, unread: Vec::new(), ends: Vec::new(), commands })
    }

    fn run(mut self) -> Result<()> {
        if self.settings.assign {
            self.assign()?;
        } else {
            let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
            self.consumer.subscribe(&topics)?;
        }
        say(&Event::Ready(true))?;
        loop {
            if self.settings.until_end && self.unread.is_empty() {
                return say(&Event::End(std::mem::take(&mut self.ends)));
            }
            match self.commands.try_recv() {
                Ok(Ok(Verb::Commit)) => self.commit()?,
                Ok(Ok(_)) | Err(TryRecvError::Disconnected) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(TryRecvError::Empty) => {}
            }
            self.poll()?;
        }
    }

    /// All partitions of the topics, from their beginning when they are read to their end.
    fn assign(&mut self) -> Result<()> {
        if self.settings.until_end && self.settings.topics.len() != 1 {
            bail!("until_end reads one topic");
        }
        let mut list = TopicPartitionList::new();
        for topic in &self.settings.topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), CALL_MAX)?;
            let found = metadata.topics().first().context("no metadata")?;
            if let Some(error) = found.error() {
                bail!("{topic}: {error:?}");
            }
            for partition in found.partitions() {
                let from = if self.settings.until_end { Offset::Beginning } else { Offset::Stored };
                list.add_partition_offset(topic, partition.id(), from)?;
                if self.settings.until_end {
                    let (start, end) = self.consumer.fetch_watermarks(topic, partition.id(), CALL_MAX)?;
                    self.ends.push((topic.clone(), partition.id(), start, end));
                    self.unread.push((topic.clone(), partition.id()));
                }
            }
        }
        Ok(self.consumer.assign(&list)?)
    }

    fn poll(&mut self) -> Result<()> {
        match self.consumer.poll(Duration::from_millis(100)) {
            None => Ok(()),
            Some(Ok(message)) => {
                say(&Event::Record(record(&message)))?;
                drop(message);
                if self.settings.commit == "each" { self.commit() } else { Ok(()) }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                // Without the topic's name: that is why `until_end` reads one topic.
                self.reached_end(partition);
                Ok(())
            }
            Some(Err(error)) => {
                say(&Event::Error { message: error.to_string(), fatal: false })?;
                if self.settings.until_end { Err(error).context("poll") } else { Ok(()) }
            }
        }
    }

    fn reached_end(&mut self, partition: i32) {
        let Some(at) = self.unread.iter().position(|(_, unread)| *unread == partition) else { return };
        self.unread.swap_remove(at);
    }

    fn commit(&mut self) -> Result<()> {
        let positions = self.consumer.position()?;
        match self.consumer.commit(&positions, CommitMode::Sync) {
            Ok(()) => {
                let offsets = positions.elements();
                let offsets = offsets.iter().filter_map(|element| {
                    Some((element.topic().to_owned(), element.partition(), element.offset().to_raw()?))
                });
                say(&Event::Committed(offsets.filter(|(_, _, offset)| *offset >= 0).collect()))
            }
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) => Ok(()),
            Err(error) => say(&Event::Error { message: format!("commit: {error}"), fatal: false }),
        }
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let (timestamp_type, timestamp_ms) = match message.timestamp() {
        Timestamp::NotAvailable => (0, -1),
        Timestamp::CreateTime(ms) => (0, ms),
        Timestamp::LogAppendTime(ms) => (1, ms),
    };
    let headers = message.headers().map(|headers| {
        let all = headers.iter();
        all.map(|header| (header.key.to_owned(), header.value.map(|value| Blob(value.to_vec())))).collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms,
        timestamp_type,
        key: message.key().map(|key| Blob(key.to_vec())),
        value: message.payload().map(|value| Blob(value.to_vec())),
        headers: headers.unwrap_or_default(),
    }
}
