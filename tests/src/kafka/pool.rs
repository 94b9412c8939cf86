//! Apache Kafkas that tests use one after the other: a JVM's start costs more than most tests.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use towpath_wire::client::Client;
use towpath_wire::client::admin::{delete_groups, delete_topics, describe_groups, leave_group, list_groups};

use super::{Kafka, KafkaOptions};
use crate::{mirroring, wait};

const EMPTY_MAX: Duration = Duration::from_secs(30);

/// Clusters that nobody uses now.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<Vec<Kafka>>,
}

impl Pool {
    /// The one of this process.
    pub fn shared() -> &'static Pool {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        SHARED.get_or_init(Pool::default)
    }

    /// A running cluster with these options and without topics and groups.
    ///
    /// # Errors
    /// As [`Kafka::start_with`].
    pub async fn lease(&self, options: KafkaOptions) -> Result<Kafka> {
        while let Some(mut kafka) = self.idle(&options) {
            // One that can't be emptied is stopped.
            if kafka.start_again().await.is_ok() && empty(&kafka.bootstrap()).await.is_ok() {
                return Ok(kafka);
            }
        }
        Kafka::start_with(options).await
    }

    /// Keeps a cluster for whoever asks for its like. One that ended badly is better dropped, and one with ACLs is:
    /// the next test would be denied what this one denied.
    pub fn give_back(&self, kafka: Kafka) {
        if !kafka.options.has_acls() {
            self.idle.lock().push(kafka);
        }
    }

    fn idle(&self, options: &KafkaOptions) -> Option<Kafka> {
        let mut idle = self.idle.lock();
        let at = idle.iter().position(|kafka| kafka.options == *options)?;
        Some(idle.swap_remove(at))
    }
}

/// Deletes all groups and topics, and waits until they are gone.
async fn empty(bootstrap: &str) -> Result<()> {
    let client = mirroring::connect(bootstrap).await?;
    wait::until("all groups to be deleted", EMPTY_MAX, async || {
        let groups = list_groups(&client).await?;
        let names: Vec<&str> = groups.iter().map(|listing| listing.group.as_str()).collect();
        if !names.is_empty() {
            put_out_all(&client, &names).await?;
            delete_groups(&client, &names).await?;
        }
        Ok(names.is_empty().then_some(()))
    })
    .await?;
    wait::until("all topics to be deleted", EMPTY_MAX, async || {
        let topics = client.metadata_all().await?.topics;
        // Kafka's own stay.
        let names: Vec<&str> =
            topics.keys().map(String::as_str).filter(|name| !name.starts_with("__")).collect();
        if !names.is_empty() {
            delete_topics(&client, &names).await?;
        }
        Ok(names.is_empty().then_some(()))
    })
    .await
    .context("empty a cluster")
}

/// Members that were killed, and fences of services that are gone, would linger until their sessions end.
async fn put_out_all(client: &Client, groups: &[&str]) -> Result<()> {
    for (group, described) in describe_groups(client, groups).await? {
        let members: Vec<String> =
            described.into_iter().flat_map(|group| group.members).map(|member| member.member_id).collect();
        if !members.is_empty() {
            leave_group(client, &group, &members, "the test has ended").await?;
        }
    }
    Ok(())
}
