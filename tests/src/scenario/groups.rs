//! Committed offsets of groups, through librdkafka.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::model::ExpectOffsets;
use super::topics::{CALL_MAX, all_partitions};
use super::world::World;
use crate::wait;

/// By partition; -1: nothing committed.
async fn committed(bootstrap: &str, group: &str, topic: &str) -> Result<Vec<i64>> {
    let mut partitions = all_partitions(bootstrap, Some(topic)).await?;
    partitions.sort_unstable();
    let (bootstrap, group) = (bootstrap.to_owned(), group.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", &bootstrap).set("group.id", &group).create()?;
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &partitions {
            list.add_partition(topic, *partition);
        }
        let offsets = consumer.committed_offsets(list, CALL_MAX)?;
        let mut all: Vec<(i32, i64)> = Vec::new();
        for element in offsets.elements() {
            element.error().with_context(|| format!("{}-{}", element.topic(), element.partition()))?;
            let offset = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(-1);
            all.push((element.partition(), offset));
        }
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, offset)| offset).collect())
    })
    .await?
}

impl World<'_> {
    /// Waits until a group's offsets are the expected ones.
    pub(super) async fn expect_offsets(&mut self, step: &ExpectOffsets) -> Result<()> {
        let bootstrap = self.bootstrap(&step.on)?;
        let other = step.same_as.as_ref().map(|node| self.bootstrap(node)).transpose()?;
        let mut seen = (Vec::new(), step.offsets.clone());
        let equal = wait::until("the group's offsets", Duration::from_secs(step.within_s), async || {
            seen.0 = committed(&bootstrap, &step.group, &step.topic).await?;
            if let Some(other) = &other {
                seen.1 = committed(other, &step.group, &step.topic).await?;
            }
            Ok((seen.0 == seen.1).then_some(()))
        });
        if let Err(error) = equal.await {
            bail!("{error:#}: {} has committed {:?}, expected {:?}", step.group, seen.0, seen.1);
        }
        Ok(())
    }
}
