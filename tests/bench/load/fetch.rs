//! A consumer: long polls on a connection of its own, the bytes counted and let go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;
use towpath_wire::batch::views;
use towpath_wire::client::{Client, Connection, To};

/// Named by topic and without a session.
const VERSION: i16 = 11;
/// Kafka's consumer: `fetch.max.bytes`, `max.partition.fetch.bytes`, `fetch.max.wait.ms`.
const BYTES_MAX: i32 = 50 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const WAIT_MAX_MS: i32 = 500;
/// `retry.backoff.ms`.
const BACKOFF: Duration = Duration::from_millis(100);

/// A consumer of some partitions of a topic.
pub struct Reader {
    connection: Arc<Connection>,
    topic: String,
    /// Partition and next offset.
    positions: Vec<(i32, i64)>,
    env: Env,
}

/// A batch that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub partition: i32,
    pub base_offset: i64,
    pub next_offset: i64,
}

impl Reader {
    pub async fn new(client: &Client, topic: &str, positions: Vec<(i32, i64)>) -> Result<Reader> {
        let connection = client.connection(To::Leader(topic.to_owned(), 0)).await?;
        Ok(Reader { connection, topic: topic.to_owned(), positions, env: client.env().clone() })
    }

    /// Waits for what is new, at most half a second.
    pub async fn poll(&mut self) -> Result<Vec<Arrived>> {
        let response = self.connection.send_version(self.request(), VERSION).await?;
        let mut arrived = Vec::new();
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            self.take(&data, &mut arrived)?;
        }
        if response.throttle_time_ms > 0 {
            self.env.sleep(Duration::from_millis(response.throttle_time_ms as u64)).await;
        }
        Ok(arrived)
    }

    fn take(&mut self, data: &PartitionData, arrived: &mut Vec<Arrived>) -> Result<()> {
        let partition = data.partition_index;
        match ResponseError::try_from_code(data.error_code) {
            None => {}
            Some(error) if error.is_retriable() => return Ok(()),
            Some(error) => bail!("{}-{partition}: fetch: {error}", self.topic),
        }
        let Some(position) = self.positions.iter_mut().find(|(index, _)| *index == partition) else {
            bail!("{}-{partition} was not asked for", self.topic)
        };
        // The last batch may be cut: it comes whole with the next answer.
        for batch in views(data.records.as_deref().unwrap_or_default()).map_while(Result::ok) {
            position.1 = batch.next_offset();
            let (base_offset, next_offset) = (batch.base_offset(), batch.next_offset());
            arrived.push(Arrived { partition, base_offset, next_offset });
        }
        Ok(())
    }

    /// Reads up to these offsets of its partitions.
    pub async fn read_to(&mut self, ends: &[i64]) -> Result<()> {
        while !self.is_at(ends) {
            // Nothing new, or a partition that asks for another try.
            if self.poll().await?.is_empty() {
                self.env.sleep(BACKOFF).await;
            }
        }
        Ok(())
    }

    /// Whether it has read up to these offsets of its partitions.
    pub fn is_at(&self, ends: &[i64]) -> bool {
        self.positions.iter().all(|&(partition, next)| next >= ends[partition as usize])
    }

    /// The sum of its positions.
    pub fn offsets(&self) -> i64 {
        self.positions.iter().map(|(_, next)| next).sum()
    }

    fn request(&self) -> FetchRequest {
        let partitions = self.positions.iter().map(|&(partition, next)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(next)
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
        });
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partitions(partitions.collect());
        FetchRequest::default()
            .with_max_wait_ms(WAIT_MAX_MS)
            .with_min_bytes(1)
            .with_max_bytes(BYTES_MAX)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }
}
