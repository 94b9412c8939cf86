//! A producer as services have it: librdkafka makes the batches, idempotent, in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use towpath_env::Env;

use super::closed::Wrote;

/// Behind the last record.
const FLUSH_MAX: Duration = Duration::from_secs(60);
/// While the queue is full.
const POLL: Duration = Duration::from_millis(1);

/// Counts what failed for good.
#[derive(Clone, Default)]
struct Failures(Arc<AtomicU64>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes `bytes` in records of `record_bytes`, partitions in turn, as fast as it goes or until `limit`. Blocks.
pub fn write(
    bootstrap: &str,
    (topic, partitions): (&str, i32),
    record_bytes: usize,
    bytes: u64,
    limit: Duration,
) -> Result<Wrote> {
    let failures = Failures::default();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4").set("acks", "all");
    config.set("enable.idempotence", "true").set("linger.ms", "5").set("batch.size", "131072");
    let producer: BaseProducer<Failures> = config.create_with_context(failures.clone())?;
    let value = vec![b'x'; record_bytes];
    let (env, total, mut sent) = (Env::real(), bytes / record_bytes as u64, 0);
    while sent < total && env.elapsed() < limit {
        let record = BaseRecord::<(), [u8]>::to(topic).payload(&value);
        match producer.send(record.partition((sent % partitions as u64) as i32)) {
            Ok(()) => sent += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(POLL);
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
    producer.flush(FLUSH_MAX)?;
    let failed = failures.0.load(Ordering::Relaxed);
    ensure!(failed == 0, "librdkafka gave up {failed} of {sent} records");
    Ok(Wrote { bytes: sent * record_bytes as u64, seconds: env.elapsed().as_secs_f64(), retries: 0 })
}
