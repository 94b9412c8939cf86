//! Topics: made, changed, deleted, measured, through librdkafka (the product's own client is not to vouch for
//! itself).

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::model::{AwaitEnds, AwaitRecords, DeleteRecords, OnTopic, Topic};
use super::nodes::RunningNode;
use super::world::World;
use crate::clients::ClientKind;
use crate::clients::reading::WholeTopic;
use crate::wait;

/// One administrative call.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CALL_MAX)).request_timeout(Some(CALL_MAX))
}

/// Topic and partition of everything on a cluster but Kafka's own topics; or of one topic.
pub(super) async fn all_partitions(bootstrap: &str, topic: Option<&str>) -> Result<Vec<(String, i32)>> {
    let (bootstrap, wanted) = (bootstrap.to_owned(), topic.map(str::to_owned));
    // librdkafka's call blocks; loads and consumers go on meanwhile.
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
        let metadata = consumer.fetch_metadata(wanted.as_deref(), CALL_MAX)?;
        let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
        let partitions = topics.flat_map(|topic| {
            topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id()))
        });
        Ok(partitions.collect())
    })
    .await?
}

/// The names of a cluster's topics.
pub(super) async fn topics_of(bootstrap: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> =
        all_partitions(bootstrap, None).await?.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Partition, log start and high watermark of a topic's partitions.
pub(super) async fn bounds(bootstrap: &str, topic: &str) -> Result<Vec<(i32, i64, i64)>> {
    let mut partitions = all_partitions(bootstrap, Some(topic)).await?;
    partitions.sort_unstable();
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
        let bounds = partitions.into_iter().map(|(_, partition)| {
            let (start, end) = consumer.fetch_watermarks(&topic, partition, CALL_MAX)?;
            Ok((partition, start, end))
        });
        bounds.collect()
    })
    .await?
}

impl World<'_> {
    /// Creates a topic and waits until every partition has a leader.
    pub(super) async fn create_topic(&mut self, step: &Topic) -> Result<()> {
        let bootstrap = self.bootstrap(&step.on)?;
        let partitions = step.partitions.unwrap_or(1);
        let mut topic = NewTopic::new(&step.name, partitions, TopicReplication::Fixed(1));
        // Records years old are kept unless a scenario wants them gone, as on the harness's own Kafkas.
        let towpath = matches!(self.nodes.get(&step.on), Some(RunningNode::Daemon(_)));
        if towpath && !step.configs.contains_key("retention.ms") {
            topic = topic.set("retention.ms", "-1");
        }
        for (key, value) in &step.configs {
            topic = topic.set(key, value);
        }
        for outcome in admin(&bootstrap)?.create_topics([&topic], &options()).await? {
            outcome.map_err(|(topic, code)| anyhow!("create {topic}: {code}"))?;
        }
        wait::until(&format!("the partitions of {}", step.name), CALL_MAX, async || {
            // A partition without a leader answers with an error that passes.
            Ok(bounds(&bootstrap, &step.name).await.ok().filter(|found| found.len() == partitions as usize))
        })
        .await
        .map(drop)
    }

    /// Sets configs, raises the partition count.
    pub(super) async fn alter_topic(&mut self, step: &Topic) -> Result<()> {
        let admin = admin(&self.bootstrap(&step.on)?)?;
        if let Some(count) = step.partitions {
            let more = NewPartitions::new(&step.name, count as usize);
            for outcome in admin.create_partitions([&more], &options()).await? {
                outcome.map_err(|(topic, code)| anyhow!("add partitions to {topic}: {code}"))?;
            }
        }
        if !step.configs.is_empty() {
            // The call replaces all configs: a step names all that the topic is to have.
            let mut change = AlterConfig::new(ResourceSpecifier::Topic(&step.name));
            for (key, value) in &step.configs {
                change = change.set(key, value);
            }
            for outcome in admin.alter_configs([&change], &options()).await? {
                outcome.map_err(|(resource, code)| anyhow!("alter {resource:?}: {code}"))?;
            }
        }
        Ok(())
    }

    /// Deletes a topic and waits until it is gone.
    pub(super) async fn delete_topic(&mut self, step: &OnTopic) -> Result<()> {
        let bootstrap = self.bootstrap(&step.on)?;
        for outcome in admin(&bootstrap)?.delete_topics(&[&step.topic], &options()).await? {
            outcome.map_err(|(topic, code)| anyhow!("delete {topic}: {code}"))?;
        }
        wait::until(&format!("{} to be gone", step.topic), CALL_MAX, async || {
            Ok((!topics_of(&bootstrap).await?.contains(&step.topic)).then_some(()))
        })
        .await
    }

    /// Deletes records before an offset.
    pub(super) async fn delete_records(&mut self, step: &DeleteRecords) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&step.topic, step.partition, Offset::Offset(step.before))?;
        let deleted = admin(&self.bootstrap(&step.on)?)?.delete_records(&list, &options()).await?;
        for element in deleted.elements() {
            element
                .error()
                .with_context(|| format!("delete records of {}-{}", step.topic, step.partition))?;
        }
        Ok(())
    }

    /// Waits until a topic holds few enough records.
    pub(super) async fn await_records(&mut self, step: &AwaitRecords) -> Result<()> {
        let bootstrap = self.bootstrap(&step.on)?;
        let mut last = 0;
        let found = wait::until("few enough records", Duration::from_secs(step.within_s), async || {
            let kind = ClientKind::Rdkafka;
            let whole =
                WholeTopic::read(&kind, &bootstrap, &step.topic, "read_uncommitted", self.folder()).await?;
            last = whole.records.len();
            Ok((last <= step.at_most).then_some(()))
        });
        found
            .await
            .with_context(|| format!("{} holds {last} records, not at most {}", step.topic, step.at_most))
    }

    /// Waits until one node's ends are another's.
    pub(super) async fn await_ends(&mut self, step: &AwaitEnds) -> Result<()> {
        let (on, reach) = (self.bootstrap(&step.on)?, self.bootstrap(&step.reach)?);
        for topic in &step.topics {
            let mut seen = (Vec::new(), Vec::new());
            let reached = wait::until("equal ends", Duration::from_secs(step.within_s), async || {
                // The topic may not exist yet on the node that is waited for.
                seen = (bounds(&on, topic).await.unwrap_or_default(), bounds(&reach, topic).await?);
                let ends = |bounds: &[(i32, i64, i64)]| -> Vec<(i32, i64)> {
                    bounds.iter().map(|(partition, _, end)| (*partition, *end)).collect()
                };
                Ok((ends(&seen.0) == ends(&seen.1)).then_some(()))
            });
            if let Err(error) = reached.await {
                bail!(
                    "{error}: {topic} is (partition, start, end) {:?} on {}, {:?} on {}",
                    seen.0,
                    step.on,
                    seen.1,
                    step.reach
                );
            }
        }
        Ok(())
    }
}
