//! A real Apache Kafka and a mirror of it whose content a test decides, record by record, for tests of the diff.

use std::time::Duration;

use rdkafka::config::ClientConfig as Settings;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use towpath_broker::Broker;
use towpath_linker::cluster::Cluster;
use towpath_linker::link::follow::{
    MIRROR_LINK, MIRROR_SOURCE_CLUSTER, MIRROR_SOURCE_TOPIC, MIRROR_STATE, MIRRORING,
};
use towpath_plans::diff::{Record, TimestampType};
use towpath_wire::batch::BatchBuilder;
use towpath_wire::client::admin::{NewTopic, create_topic};
use towpath_wire::client::{ClientConfig, To, TopicPartition};
use towpath_wire::private::{MirrorAppendPartition, MirrorAppendRequest, MirrorAppendTopic};

use anyhow::{Context, Result, ensure};

use crate::folder::Folder;
use crate::kafka::{Kafka, KafkaOptions};
use crate::mirroring::{broker, connect};

/// How long a producer may take for what a test writes.
pub const WRITTEN_MAX: Duration = Duration::from_secs(60);

/// Apache Kafka as the source, Towpath's broker as the target.
pub struct Clusters {
    /// The source.
    pub source: Cluster,
    /// The target.
    pub target: Cluster,
    /// The source's processes.
    pub kafka: Kafka,
    _broker: Broker,
    _folder: Folder,
}

impl Clusters {
    /// Starts both. Kafka's log cleaner looks for work all the time.
    ///
    /// # Errors
    /// What one of them says.
    pub async fn start() -> Result<Clusters> {
        let options = KafkaOptions::new("3.9.1")
            .property("log.cleaner.backoff.ms", "200")
            .property("log.initial.task.delay.ms", "100");
        let kafka = Kafka::start_with(options).await?;
        let folder = Folder::new("towpath-target-")?;
        let broker = broker(folder.path(), 0).await?;
        let source = cluster("legacy", &kafka.bootstrap()).await?;
        let target = cluster("towpath", &broker.address().to_string()).await?;
        Ok(Clusters { source, target, kafka, _broker: broker, _folder: folder })
    }

    /// A topic of one partition with these records on the source and those on the target, both up to `end`.
    ///
    /// # Errors
    /// What a cluster says.
    pub async fn pair(
        &self,
        topic: NewTopic,
        source: &[Record],
        target: &[Record],
    ) -> Result<TopicPartition> {
        let name = topic.name.clone();
        create_topic(&self.source.client, topic).await?;
        let producer = producer(&self.kafka.bootstrap(), &[])?;
        source.iter().try_for_each(|record| send(&producer, &name, record))?;
        producer.flush(WRITTEN_MAX)?;
        let end = source.last().map_or(0, |record| record.offset + 1);
        self.mirror(&name, target, end).await?;
        Ok(TopicPartition::new(name, 0))
    }

    /// Makes the target's half of a pair.
    async fn mirror(&self, topic: &str, records: &[Record], end: i64) -> Result<()> {
        let metadata = self.source.client.metadata(&[topic]).await?;
        let source_topic_id = metadata.topics.get(topic).context("the source's topic")?.topic_id;
        let mirror = NewTopic::new(topic, 1)
            .with_config(MIRROR_LINK, "views")
            .with_config(MIRROR_SOURCE_CLUSTER, &self.source.id)
            .with_config(MIRROR_SOURCE_TOPIC, source_topic_id.to_string())
            .with_config(MIRROR_STATE, MIRRORING);
        create_topic(&self.target.client, mirror).await?;
        let mut batches = Vec::new();
        for record in records {
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            let mut batch = BatchBuilder::new(record.offset);
            batch.append(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
            batches.extend_from_slice(&batch.build()?);
        }
        let partition = MirrorAppendPartition {
            index: 0,
            from_offset: 0,
            source_leader_epoch: 0,
            source_log_start: 0,
            source_high_watermark: end,
            log_end: end,
            records: batches.into(),
        };
        let partitions = vec![partition];
        let request = MirrorAppendRequest {
            link: "views".into(),
            source_cluster_id: self.source.id.clone(),
            timeout_ms: 30_000,
            topics: vec![MirrorAppendTopic { name: topic.to_owned(), source_topic_id, partitions }],
        };
        let answer = self.target.client.mirror_append(To::Leader(topic.to_owned(), 0), &request).await?;
        let answer = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no answer")?;
        ensure!((answer.error_code, answer.log_end) == (0, end), "{answer:?}");
        Ok(())
    }
}

async fn cluster(name: &str, bootstrap: &str) -> Result<Cluster> {
    let client = connect(bootstrap).await?;
    let config = ClientConfig::plaintext(bootstrap);
    Ok(Cluster { name: name.to_owned(), id: client.cluster_id(), client, config })
}

/// A producer with a thread of its own.
pub type Producer = ThreadedProducer<DefaultProducerContext>;

/// A producer of librdkafka, over the default settings.
///
/// # Errors
/// librdkafka's.
pub fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> Result<Producer> {
    let mut config = Settings::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    Ok(config.create()?)
}

/// Writes a record to partition 0; its offset is the broker's business.
///
/// # Errors
/// When the producer's queue is full.
pub fn send(producer: &Producer, topic: &str, record: &Record) -> Result<()> {
    let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(0);
    sent.timestamp = Some(record.timestamp_ms);
    sent.key = record.key.as_deref();
    sent.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        sent.headers = Some(headers);
    }
    producer.send(sent).map_err(|(error, _)| error)?;
    Ok(())
}

/// Records with null keys, tombstones, empty values, repeated and null headers among them.
pub fn records(offsets: std::ops::Range<i64>) -> Vec<Record> {
    let record = |offset: i64| Record {
        offset,
        timestamp_ms: 1_700_000_000_000 + offset,
        timestamp_type: TimestampType::CreateTime,
        key: (offset % 7 != 3).then(|| format!("key-{offset}").into_bytes()),
        value: match offset % 11 {
            4 => None,
            5 => Some(Vec::new()),
            _ => Some(format!("value of {offset}").into_bytes()),
        },
        headers: match offset % 3 {
            0 => vec![("same".into(), Some(vec![1, 2, 3])), ("same".into(), None)],
            _ => Vec::new(),
        },
    };
    offsets.map(record).collect()
}
