//! What is mirrored: records as an event stream has them, written in batches as a busy producer makes them.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt, iter};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;
use towpath_tests::mirroring::{connect, ends};
use towpath_wire::batch::{BatchBuilder, Codec};
use towpath_wire::client::admin::{NewTopic, create_topic};
use towpath_wire::client::{Client, To};

/// The topic that is mirrored.
pub const TOPIC: &str = "load";
const PARTITIONS: i32 = 6;
const RECORD_BYTES: usize = 500;
const BATCH_BYTES: usize = 128 << 10;
/// Different batches, repeated.
const BATCHES: usize = 16;
/// Before topic ids in requests.
const PRODUCE_VERSION: i16 = 8;

/// What lies on the source.
pub struct Written {
    /// High watermarks.
    pub ends: Vec<i64>,
    /// Bytes of keys and values, uncompressed.
    pub bytes: u64,
}

/// Fills the topic with `mb` megabytes of values.
pub async fn write(bootstrap: &str, mb: u64, codec: &str) -> Result<Written> {
    let client = connect(bootstrap).await?;
    create_topic(&client, NewTopic::new(TOPIC, PARTITIONS)).await?;
    let batches: Vec<Bytes> = (0..BATCHES).map(|_| batch(codec)).collect::<Result<_>>()?;
    let per_batch = BATCH_BYTES / RECORD_BYTES * RECORD_BYTES;
    let count = mb as usize * 1_000_000 / per_batch;
    let sends =
        (0..count).map(|number| send(&client, number as i32 % PARTITIONS, batches[number % BATCHES].clone()));
    iter(sends).buffer_unordered(8).try_collect::<Vec<()>>().await?;
    Ok(Written { ends: ends(&client, TOPIC).await?, bytes: (count * per_batch) as u64 })
}

async fn send(client: &Client, partition: i32, records: Bytes) -> Result<()> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let leader = To::Leader(TOPIC.to_owned(), partition);
    let response = client.send_version(leader, request, PRODUCE_VERSION).await?;
    let error = response.responses[0].partition_responses[0].error_code;
    ensure!(error == 0, "produce: error {error}");
    Ok(())
}

/// Values that compress about three times, as JSON events do: half of each is random digits.
fn batch(codec: &str) -> Result<Bytes> {
    let env = Env::real();
    let codec = match codec {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        other => anyhow::bail!("no codec {other}"),
    };
    let mut builder = BatchBuilder::new(0).codec(codec);
    for number in 0..BATCH_BYTES / RECORD_BYTES {
        let mut value = String::with_capacity(RECORD_BYTES + 32);
        while value.len() < RECORD_BYTES {
            value += &format!("{{\"product\":{:016x},\"seen\":true}},", env.random_u64());
        }
        builder.append(
            env.now_ms(),
            Some(&number.to_be_bytes()),
            Some(&value.as_bytes()[..RECORD_BYTES]),
            &[],
        );
    }
    Ok(builder.build()?.freeze())
}
