//! Produce requests whose batches are not copied, on a connection of their own, repeated as a producer would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ProduceResponse};
use kafka_protocol::protocol::Decodable;
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_wire::client::{Client, Connection, PendingRaw, To};

/// Named by topic, without tagged fields: the body is laid out by hand.
const VERSION: i16 = 8;
const ACKS_ALL: i16 = -1;
const TIMEOUT_MS: i32 = 60_000;
/// `retry.backoff.ms` of Kafka's producer.
const BACKOFF: Duration = Duration::from_millis(100);

/// A producer's connection to one topic.
pub struct Writer {
    connection: Arc<Connection>,
    topic: String,
    env: Env,
    /// A broker that throttles is left alone until then, as Kafka's clients do (KIP-219).
    resume_at: Mutex<Duration>,
}

/// What a request became.
#[derive(Debug, Default)]
pub struct Acked {
    /// Partition and the offset that its batch was given.
    pub offsets: Vec<(i32, i64)>,
    /// How often a partition was refused with an error that asks for another try.
    pub retries: u64,
}

impl Writer {
    pub async fn new(client: &Client, topic: &str) -> Result<Writer> {
        let connection = client.connection(To::Leader(topic.to_owned(), 0)).await?;
        let (env, resume_at) = (client.env().clone(), Mutex::default());
        Ok(Writer { connection, topic: topic.to_owned(), env, resume_at })
    }

    /// The same connection, for another topic of the same leader.
    pub fn to_topic(&self, topic: &str) -> Writer {
        let (connection, env) = (self.connection.clone(), self.env.clone());
        Writer { connection, topic: topic.to_owned(), env, resume_at: Mutex::default() }
    }

    /// Puts a request on its way; it is written when this returns, behind those before it.
    pub async fn begin(&self, batches: Vec<(i32, Bytes)>) -> Result<Sent<'_>> {
        let pending = self.write(&batches).await?;
        Ok(Sent { writer: self, batches, pending })
    }

    async fn write(&self, batches: &[(i32, Bytes)]) -> Result<PendingRaw> {
        let resume_at = *self.resume_at.lock();
        if let Some(wait) = resume_at.checked_sub(self.env.elapsed()) {
            self.env.sleep(wait).await;
        }
        let body = body(&self.topic, batches);
        Ok(self.connection.begin_raw("Produce", ApiKey::Produce as i16, VERSION, body).await?)
    }

    fn throttle(&self, throttle_ms: i32) {
        if throttle_ms > 0 {
            let until = self.env.elapsed() + Duration::from_millis(throttle_ms as u64);
            let mut resume_at = self.resume_at.lock();
            *resume_at = until.max(*resume_at);
        }
    }
}

/// A request that was written.
pub struct Sent<'a> {
    writer: &'a Writer,
    batches: Vec<(i32, Bytes)>,
    pending: PendingRaw,
}

impl Sent<'_> {
    /// Waits until all of it is acknowledged.
    pub async fn acked(mut self) -> Result<Acked> {
        let mut acked = Acked::default();
        loop {
            let mut answer = self.pending.wait().await?;
            let answer = ProduceResponse::decode(&mut answer, VERSION).context("an answer to Produce")?;
            self.writer.throttle(answer.throttle_time_ms);
            let mut again = Vec::new();
            for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
                match ResponseError::try_from_code(partition.error_code) {
                    None => acked.offsets.push((partition.index, partition.base_offset)),
                    Some(error) if error.is_retriable() => again.push(partition.index),
                    Some(error) => bail!("{}-{}: produce: {error}", self.writer.topic, partition.index),
                }
            }
            if again.is_empty() {
                return Ok(acked);
            }
            acked.retries += again.len() as u64;
            self.batches.retain(|(partition, _)| again.contains(partition));
            self.writer.env.sleep(BACKOFF).await;
            self.pending = self.writer.write(&self.batches).await?;
        }
    }
}

/// The request's body, the batches as they are.
fn body(topic: &str, batches: &[(i32, Bytes)]) -> Vec<Bytes> {
    let mut head = BytesMut::with_capacity(32 + topic.len());
    head.put_i16(-1);
    head.put_i16(ACKS_ALL);
    head.put_i32(TIMEOUT_MS);
    head.put_i32(1);
    head.put_i16(topic.len() as i16);
    head.put_slice(topic.as_bytes());
    head.put_i32(batches.len() as i32);
    let mut parts = Vec::with_capacity(2 * batches.len());
    for (partition, batch) in batches {
        head.put_i32(*partition);
        head.put_i32(batch.len() as i32);
        parts.push(head.split().freeze());
        parts.push(batch.clone());
    }
    parts
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ProduceRequest;

    use super::*;

    #[test]
    fn a_body_laid_out_by_hand_is_what_the_protocol_says() {
        let batches = [(4, Bytes::from_static(b"one")), (0, Bytes::from_static(b"three"))];
        let mut bytes: Bytes = body("views", &batches).concat().into();
        let request = ProduceRequest::decode(&mut bytes, VERSION).unwrap();
        assert!(bytes.is_empty());
        assert_eq!((request.acks, request.timeout_ms, request.topic_data.len()), (-1, TIMEOUT_MS, 1));
        assert_eq!(request.topic_data[0].name.as_str(), "views");
        let read = request.topic_data[0].partition_data.iter();
        let read: Vec<(i32, Bytes)> =
            read.map(|data| (data.index, data.records.clone().unwrap_or_default())).collect();
        assert_eq!(read, batches);
    }
}
