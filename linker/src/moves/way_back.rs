//! How long the source will still hold what a group has not read: the horizon of the way back.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::protocol::StrBytes;
use towpath_wire::batch::split;
use towpath_wire::client::admin::{ConfigValue, describe_topic_configs};
use towpath_wire::client::{ClientError, To, TopicPartition};

use super::mover::Mover;
use crate::error::{LinkerError, Side};

/// Enough for the header of a batch; a broker sends one whole batch whatever its size.
const PEEK_BYTES: i32 = 1;

/// The horizon of the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WayBack {
    /// Until when, ms since the epoch; `None` without a limit by time.
    pub(super) until_ms: Option<i64>,
    /// The partition that limits it.
    pub(super) limited_by: Option<String>,
}

impl Mover {
    /// By the source's retention: the first record that the group has not read lives for `retention.ms` after its
    /// own time, at least.
    ///
    /// # Errors
    /// The source cannot be asked.
    pub(super) async fn way_back(
        &self,
        unread: &BTreeMap<TopicPartition, i64>,
    ) -> Result<WayBack, LinkerError> {
        let failed = |error| LinkerError::cluster(Side::Source, "read retention")(error);
        let topics: BTreeSet<&str> = unread.keys().map(|id| id.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let configs = describe_topic_configs(&self.link.source.client, &topics).await.map_err(failed)?;
        let mut retention = BTreeMap::new();
        for (topic, configs) in configs {
            retention.insert(topic, retention_ms(&configs.map_err(failed)?));
        }
        let mut way_back = WayBack::default();
        for (id, offset) in unread {
            let Some(Some(retention_ms)) = retention.get(&id.topic) else { continue };
            let since_ms = self.appended_ms(id, *offset).await.map_err(failed)?;
            let until_ms = since_ms.saturating_add(*retention_ms);
            if way_back.until_ms.is_none_or(|first| until_ms < first) {
                way_back = WayBack { until_ms: Some(until_ms), limited_by: Some(id.to_string()) };
            }
        }
        Ok(way_back)
    }

    /// The time of the first batch from `offset` on; now, when there is none yet.
    async fn appended_ms(&self, id: &TopicPartition, offset: i64) -> Result<i64, ClientError> {
        let now_ms = self.link.env.now_ms();
        let ends = self.placed(id).map(|placed| placed.replicator.positions());
        if ends.is_some_and(|ends| offset >= ends.source_high_watermark) {
            return Ok(now_ms);
        }
        let partition = FetchPartition::default()
            .with_partition(id.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(PEEK_BYTES);
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(id.topic.clone())))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(PEEK_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer =
            self.link.source.client.send(To::Leader(id.topic.clone(), id.partition), request).await?;
        let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let records = data.and_then(|data| data.records).unwrap_or_default();
        let first = split(records).next().and_then(Result::ok);
        Ok(first.map_or(now_ms, |batch| batch.view().base_timestamp_ms()).min(now_ms))
    }
}

/// For how long a topic keeps records at least; `None`: no limit by time (compacted, or kept for ever).
fn retention_ms(configs: &BTreeMap<String, ConfigValue>) -> Option<i64> {
    let value = |name: &str| configs.get(name).and_then(|config| config.value.as_deref());
    if value("cleanup.policy").is_some_and(|policy| !policy.contains("delete")) {
        return None;
    }
    value("retention.ms").and_then(|ms| ms.parse().ok()).filter(|ms: &i64| *ms >= 0)
}
