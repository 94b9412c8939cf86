//! Apache Kafkas that scenarios use one after the other: a JVM's start costs more than most scenarios.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use towpath_wire::client::Client;
use towpath_wire::client::admin::{describe_groups, leave_group};

use super::topics::{CALL_MAX, all_partitions, topics_of};
use crate::kafka::{Kafka, KafkaOptions};
use crate::{mirroring, wait};

type Properties = BTreeMap<String, String>;

/// Clusters that nobody uses now.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<(Properties, Kafka)>>,
}

impl Pool {
    /// A cluster of `version` with these server properties and no topics.
    pub(super) async fn lease(&self, version: &str, properties: &Properties) -> Result<Kafka> {
        let fits = |(own, kafka): &(Properties, Kafka)| own == properties && kafka.version() == version;
        let idle = {
            let mut idle = self.idle.lock();
            idle.iter().position(fits).map(|at| idle.swap_remove(at).1)
        };
        if let Some(kafka) = idle {
            return Ok(kafka);
        }
        let mut options = KafkaOptions::new(version);
        options.properties = properties.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Kafka::start_with(options).await
    }

    /// Empties a cluster for the next scenario; one that can't be emptied is stopped.
    pub(super) async fn give_back(&self, mut kafka: Kafka, properties: Properties) {
        if kafka.start_again().await.is_ok() && empty(&kafka.bootstrap()).await.is_ok() {
            self.idle.lock().push((properties, kafka));
        }
    }
}

/// Deletes all groups and topics, and waits until they are gone.
async fn empty(bootstrap: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(CALL_MAX)).request_timeout(Some(CALL_MAX));
    let lister: BaseConsumer = config.set("group.id", "towpath-test-no-group").create()?;
    let list = || -> Result<Vec<String>> {
        let groups = lister.fetch_group_list(None, CALL_MAX)?;
        Ok(groups.groups().iter().map(|group| group.name().to_owned()).collect())
    };
    let client = mirroring::connect(bootstrap).await?;
    wait::until("all groups to be deleted", Duration::from_secs(30), async || {
        let groups = list()?;
        let names: Vec<&str> = groups.iter().map(String::as_str).collect();
        if !names.is_empty() {
            put_out_all(&client, &names).await?;
            admin.delete_groups(&names, &options).await?;
        }
        Ok(names.is_empty().then_some(()))
    })
    .await?;
    let topics = topics_of(bootstrap).await?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    if !names.is_empty() {
        for deleted in admin.delete_topics(&names, &options).await? {
            deleted.map_err(|(topic, code)| anyhow::anyhow!("delete {topic}: {code}"))?;
        }
    }
    wait::until("all topics to be deleted", CALL_MAX, async || {
        Ok(all_partitions(bootstrap, None).await?.is_empty().then_some(()))
    })
    .await
}

/// Members that were killed, and fences of services that are gone, would linger until their sessions end.
async fn put_out_all(client: &Client, groups: &[&str]) -> Result<()> {
    for (group, described) in describe_groups(client, groups).await? {
        let members: Vec<String> = described?.members.into_iter().map(|member| member.member_id).collect();
        if !members.is_empty() {
            leave_group(client, &group, &members, "the scenario has ended").await?;
        }
    }
    Ok(())
}
