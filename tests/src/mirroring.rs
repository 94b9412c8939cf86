//! A mirror without a service around it: the linker's data path from a real Kafka into an embedded broker, and
//! the raw logs of both sides to compare.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_broker::{Broker, BrokerConfig};
use towpath_env::Env;
use towpath_linker::config::Limits;
use towpath_linker::link::follow::{Follow, TopicSelection};
use towpath_linker::link::mirror::{Mirror, MirrorSpec};
use towpath_linker::metrics::LinkMetrics;
use towpath_wire::batch::{Batch, BatchBuilder, split};
use towpath_wire::client::admin::{OffsetSpec, list_offsets};
use towpath_wire::client::{Client, ClientConfig, To, TopicPartition};

use crate::wait;

/// How long a mirror may take to catch up with what a test wrote.
pub const CAUGHT_UP_MAX: Duration = Duration::from_secs(60);

/// Before topic ids and sessions: the same bytes, named by topic.
const FETCH_VERSION: i16 = 11;
const PRODUCE_VERSION: i16 = 8;

/// A raw client of the cluster at `bootstrap`.
///
/// # Errors
/// When it can't be reached.
pub async fn connect(bootstrap: &str) -> Result<Client> {
    Ok(Client::connect(ClientConfig::plaintext(bootstrap), Env::real()).await?)
}

/// Starts Towpath's broker in this process, on the data under `folder`.
///
/// # Errors
/// The broker's.
pub async fn broker(folder: &Path, port: u16) -> Result<Broker> {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], port).into(),
        data: folder.join("data"),
        ..BrokerConfig::default()
    };
    Ok(Broker::start(config, Env::real()).await?)
}

/// A running mirror; dropping it is as good as killing the linker.
pub struct Link {
    /// The data path.
    pub mirror: Arc<Mirror>,
    /// What keeps topics alike.
    pub follow: Arc<Follow>,
    /// Its counters.
    pub metrics: LinkMetrics,
    stop: CancellationToken,
    following: JoinHandle<()>,
}

/// What to link, where the defaults do not fit.
pub struct LinkOptions {
    /// The link's name.
    pub name: String,
    /// Bounds.
    pub limits: Limits,
    /// Per source broker; 0: none.
    pub bandwidth_bytes_per_s: u64,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        // Tests change topics and want to see it followed soon.
        let limits = Limits { topic_check_ms: 300, fetch_wait_ms: 200, ..Limits::default() };
        LinkOptions { name: "link".to_owned(), limits, bandwidth_bytes_per_s: 0 }
    }
}

impl Link {
    /// Mirrors `topics` of `source` into `target` until it is dropped.
    ///
    /// # Errors
    /// What the first look at the topics says.
    pub async fn start(source: &Client, target: &Client, topics: &[&str]) -> Result<Link> {
        Link::start_with(LinkOptions::default(), source, target, topics).await
    }

    /// [`Link::start`] with options.
    ///
    /// # Errors
    /// As [`Link::start`].
    pub async fn start_with(
        options: LinkOptions,
        source: &Client,
        target: &Client,
        topics: &[&str],
    ) -> Result<Link> {
        let metrics = LinkMetrics::register(&Registry::new(), &options.name)?;
        let mirror = Mirror::new(MirrorSpec {
            link: options.name,
            env: Env::real(),
            source: source.clone(),
            source_cluster_id: source.cluster_id(),
            target: target.clone(),
            limits: options.limits,
            bandwidth_bytes_per_s: options.bandwidth_bytes_per_s,
            metrics: metrics.clone(),
        });
        let names = topics.iter().map(|&topic| topic.to_owned()).collect();
        let selection = TopicSelection { names, patterns: Vec::new() };
        let follow = Arc::new(Follow::new(mirror.clone(), selection));
        follow.look().await?;
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow.clone().run(stop.clone()));
        Ok(Link { mirror, follow, metrics, stop, following })
    }

    /// Ends it as a shutdown would.
    ///
    /// # Errors
    /// When a task of it panicked.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        (&mut self.following).await?;
        self.mirror.pause().await;
        Ok(())
    }

    /// Ends it where it is, as a kill would: nothing is waited for.
    pub fn abandon(&self) {
        self.stop.cancel();
        self.following.abort();
        let mirror = self.mirror.clone();
        tokio::spawn(async move { mirror.pause().await });
    }

    /// Waits until every partition of `topic` is halted; gives the first one's reason.
    ///
    /// # Errors
    /// When it is not, in time.
    pub async fn halted(&self, topic: &str) -> Result<String> {
        let what = format!("the mirror of {topic} to halt");
        wait::until(&what, CAUGHT_UP_MAX, async || {
            let partitions = self.mirror.partitions();
            let halts = partitions.iter().filter(|placed| placed.replicator.id.topic == topic);
            let halts: Option<Vec<_>> = halts.map(|placed| placed.replicator.halted()).collect();
            Ok(halts.and_then(|halts| halts.into_iter().next()).map(|halt| halt.reason))
        })
        .await
    }

    /// Waits until the target's end is the source's, for all partitions that the source has of `topics`.
    ///
    /// # Errors
    /// When it is not, in time, or a partition halts.
    pub async fn caught_up(&self, source: &Client, target: &Client, topics: &[&str]) -> Result<()> {
        for topic in topics {
            wait::until(&format!("{topic} to be mirrored"), CAUGHT_UP_MAX, async || {
                for placed in self.mirror.partitions() {
                    if let Some(halt) =
                        placed.replicator.halted().filter(|_| placed.replicator.id.topic == *topic)
                    {
                        bail!("halted: {}", halt.reason);
                    }
                }
                let (theirs, ours) = (ends(source, topic).await?, ends(target, topic).await);
                Ok(ours.is_ok_and(|ours| ours == theirs).then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The partitions of `topic` there are, in order.
///
/// # Errors
/// The cluster's.
pub async fn partitions(client: &Client, topic: &str) -> Result<Vec<TopicPartition>> {
    let metadata = client.metadata(&[topic]).await?;
    let partitions = metadata.topics.get(topic).map(|topic| topic.partitions.len()).unwrap_or_default();
    ensure!(partitions > 0, "there is no topic {topic}");
    Ok((0..partitions as i32).map(|index| TopicPartition::new(topic, index)).collect())
}

/// Writes one batch of `count` records, with keys `key-0`, `key-1` and so on, stamped now.
///
/// # Errors
/// The broker's.
pub async fn produce(client: &Client, id: &TopicPartition, count: usize) -> Result<i64> {
    let (mut batch, now_ms) = (BatchBuilder::new(0), Env::real().now_ms());
    for number in 0..count {
        let (key, value) = (format!("key-{number}"), format!("value {number} of {count} for {id}"));
        batch.append(now_ms, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    let data =
        PartitionProduceData::default().with_index(id.partition).with_records(Some(batch.build()?.freeze()));
    let name = TopicName(StrBytes::from_string(id.topic.clone()));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    // Named by topic, not by its id.
    let leader = To::Leader(id.topic.clone(), id.partition);
    let response = client.send_version(leader, request, PRODUCE_VERSION).await?;
    let partition = &response.responses[0].partition_responses[0];
    ensure!(partition.error_code == 0, "{id}: produce: error {}", partition.error_code);
    Ok(partition.base_offset)
}

/// High watermarks by partition.
///
/// # Errors
/// The cluster's.
pub async fn ends(client: &Client, topic: &str) -> Result<Vec<i64>> {
    let partitions = partitions(client, topic).await?;
    let listed = list_offsets(client, &partitions, OffsetSpec::Latest).await?;
    let ends: Result<Vec<i64>, _> = listed.into_values().map(|end| end.map(|end| end.offset)).collect();
    Ok(ends?)
}

/// One partition as its broker keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLog {
    /// First offset available.
    pub log_start: i64,
    /// Where readers end.
    pub high_watermark: i64,
    /// Whole batches from the log start on, byte for byte.
    pub batches: Vec<Bytes>,
}

impl RawLog {
    /// Reads all of a partition.
    ///
    /// # Errors
    /// The broker's, or a log with what is no batch.
    pub async fn read(client: &Client, id: &TopicPartition) -> Result<RawLog> {
        let connection = client.connection(To::Leader(id.topic.clone(), id.partition)).await?;
        let start = list_offsets(client, std::slice::from_ref(id), OffsetSpec::Earliest).await?;
        let log_start = start.into_values().next().context("no log start")??.offset;
        let mut log = RawLog { log_start, high_watermark: log_start, batches: Vec::new() };
        let mut at = log_start;
        loop {
            let partition = FetchPartition::default()
                .with_partition(id.partition)
                .with_fetch_offset(at)
                .with_partition_max_bytes(8 << 20);
            let topic = FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(id.topic.clone())))
                .with_partitions(vec![partition]);
            let request = FetchRequest::default()
                .with_max_bytes(8 << 20)
                .with_session_epoch(-1)
                .with_topics(vec![topic]);
            let mut response = connection.send_version(request, FETCH_VERSION).await?;
            let mut topic = response.responses.pop().context("no topic")?;
            let data = topic.partitions.pop().context("no partition")?;
            ensure!(data.error_code == 0, "{id}: fetch at {at}: error {}", data.error_code);
            (log.log_start, log.high_watermark) = (data.log_start_offset, data.high_watermark);
            let records = data.records.unwrap_or_default();
            if records.is_empty() {
                return Ok(log);
            }
            for batch in split(records) {
                let batch = batch?;
                batch.check_crc()?;
                at = batch.next_offset();
                log.batches.push(batch.into_bytes());
            }
        }
    }

    /// All bytes.
    pub fn bytes(&self) -> Bytes {
        let mut all = BytesMut::new();
        self.batches.iter().for_each(|batch| all.extend_from_slice(batch));
        all.freeze()
    }

    /// The batches, to look into.
    ///
    /// # Panics
    /// Never: they were read as batches.
    pub fn views(&self) -> impl Iterator<Item = Batch> + '_ {
        self.batches.iter().filter_map(|batch| Batch::new(batch.clone()).ok())
    }
}

/// Both sides of every partition of `topic` hold the same bytes at the same offsets.
///
/// # Errors
/// The first difference.
pub async fn same_bytes(source: &Client, target: &Client, topic: &str) -> Result<Vec<RawLog>> {
    let mut logs = Vec::new();
    for id in partitions(source, topic).await? {
        let (theirs, ours) = (RawLog::read(source, &id).await?, RawLog::read(target, &id).await?);
        for (theirs, ours) in theirs.batches.iter().zip(&ours.batches) {
            let (theirs_seen, ours_seen) = (Batch::new(theirs.clone())?, Batch::new(ours.clone())?);
            ensure!(theirs == ours, "{id}: source {theirs_seen:?}, target {ours_seen:?}");
        }
        let count = |log: &RawLog| (log.log_start, log.high_watermark, log.batches.len());
        let (left, right) = (count(&theirs), count(&ours));
        ensure!(left == right, "{id}: (start, end, batches) source {left:?}, target {right:?}");
        logs.push(ours);
    }
    Ok(logs)
}
