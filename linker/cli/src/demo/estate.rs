//! Both sides of the demo: the bundled broker as target, and a source; all that begins with `towpath-demo-`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::timeout;
use towpath_broker::{Broker, BrokerConfig};
use towpath_env::Env;
use towpath_wire::client::admin::{self, NewTopic};
use towpath_wire::client::{Client, ClientConfig, ClientError};

use super::count::Side;
use crate::broker::stopped_itself;
use crate::failure::Failure;

/// What every topic and group of the demo begins with.
pub const PREFIX: &str = "towpath-demo-";
/// Index of the views in [`TOPICS`].
pub const VIEWS: usize = 0;
/// Index of the carts in [`TOPICS`].
pub const CARTS: usize = 1;
/// Index of the searches in [`TOPICS`].
pub const SEARCHES: usize = 2;
/// The family's topics.
pub const TOPICS: [Topic; 3] = [
    Topic { name: "towpath-demo-product-views", partitions: 6 },
    Topic { name: "towpath-demo-carts", partitions: 3 },
    Topic { name: "towpath-demo-searches", partitions: 2 },
];
/// The family's groups.
pub const GROUPS: [Group; 2] = [
    Group { name: "towpath-demo-ranker", fence: "evict", assignor: "range", topics: &[VIEWS, CARTS] },
    Group {
        name: "towpath-demo-features",
        fence: "wait",
        assignor: "cooperative-sticky",
        topics: &[VIEWS, CARTS, SEARCHES],
    },
];
/// How long the source may take to forget what the demo made there.
const CLEAN_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One topic of the family.
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
}

/// One group of the family.
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// What its plan says: evict its members, or wait until they have left.
    pub fence: &'static str,
    /// librdkafka's `partition.assignment.strategy`: `range` rebalances eagerly, `cooperative-sticky` does not.
    pub assignor: &'static str,
    /// What it reads: indices in [`TOPICS`].
    pub topics: &'static [usize],
}

/// Both clusters, and the folder that the demo works in.
pub struct Estate {
    folder: TempDir,
    source_address: String,
    source: Client,
    /// The embedded stand-in; `None` with `--legacy`.
    stand_in: Option<Broker>,
    target: Option<Broker>,
    target_address: String,
}

impl Estate {
    /// Starts the target, and the stand-in unless `legacy` names a real Kafka.
    ///
    /// # Errors
    /// A broker does not start, or the legacy cluster does not answer.
    pub async fn start(legacy: Option<&str>, env: &Env) -> Result<Estate> {
        let folder =
            tempfile::Builder::new().prefix(PREFIX).tempdir().context("cannot make a temporary folder")?;
        let (source_address, stand_in) = match legacy {
            Some(address) => (address.to_owned(), None),
            None => {
                let data = folder.path().join("stand-in");
                let mut config = BrokerConfig { data, ..BrokerConfig::default() };
                // Ids from 2^62 on are the target's own: it refuses to mirror them.
                config.producer_ids_from_zero = true;
                // Kafka's default lets an empty group wait for 3 s, the fence as well as members that come back:
                // that would be the pause of each move, and say nothing about the move.
                config.groups.initial_rebalance_delay_ms = 0;
                let broker = start_broker(config, env).await?;
                (broker.address().to_string(), Some(broker))
            }
        };
        let config =
            ClientConfig { client_id: "towpath-demo".into(), ..ClientConfig::plaintext(&source_address) };
        let source = Client::connect(config, env.clone())
            .await
            .with_context(|| format!("no Kafka answers at {source_address}"))?;
        let (data, store) = (folder.path().join("target"), Some(store_url(folder.path())));
        let target = start_broker(BrokerConfig { data, store, ..BrokerConfig::default() }, env).await?;
        let target_address = target.address().to_string();
        Ok(Estate { folder, source_address, source, stand_in, target: Some(target), target_address })
    }

    /// `bootstrap.servers` of a side.
    pub fn bootstrap(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source_address,
            Side::Target => &self.target_address,
        }
    }

    /// A file in the demo's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the target keeps its durable state, and the linking service its journal and evidence.
    pub fn store(&self) -> String {
        store_url(self.folder.path())
    }

    /// Whether the source is somebody else's Kafka.
    pub fn is_legacy(&self) -> bool {
        self.stand_in.is_none()
    }

    /// Id of the source cluster.
    pub fn source_id(&self) -> String {
        self.source.cluster_id()
    }

    /// Names of the demo that the source knows: left behind by a demo that could not clean up, or made by this one.
    ///
    /// # Errors
    /// The source does not answer.
    pub async fn names_at_source(&self) -> Result<Vec<String>> {
        let mut names = self.topics_at_source().await?;
        names.extend(self.groups_at_source().await?);
        Ok(names)
    }

    async fn topics_at_source(&self) -> Result<Vec<String>, ClientError> {
        let known = self.source.metadata_all().await?;
        let ours = TOPICS.iter().map(|topic| topic.name).filter(|name| known.topics.contains_key(*name));
        Ok(ours.map(str::to_owned).collect())
    }

    async fn groups_at_source(&self) -> Result<Vec<String>, ClientError> {
        let known = admin::list_groups(&self.source).await?;
        let ours =
            GROUPS.iter().map(|group| group.name).filter(|name| known.iter().any(|it| it.group == *name));
        Ok(ours.map(str::to_owned).collect())
    }

    /// Creates the family's topics at the source.
    ///
    /// # Errors
    /// The source refuses.
    pub async fn create_topics(&self) -> Result<()> {
        for topic in &TOPICS {
            let new = NewTopic::new(topic.name, topic.partitions);
            admin::create_topic(&self.source, new)
                .await
                .with_context(|| format!("cannot create topic {}", topic.name))?;
        }
        Ok(())
    }

    /// Deletes the demo's groups and topics at the source and waits until the source no longer knows them.
    ///
    /// # Errors
    /// Some are left; the message names them.
    pub async fn clean_source(&self) -> Result<()> {
        let mut last = None;
        let cleaned = timeout(CLEAN_MAX, async {
            loop {
                match self.clean_once().await {
                    Ok(()) => match self.names_at_source().await {
                        Ok(names) if names.is_empty() => return,
                        Ok(names) => last = Some(names.join(", ")),
                        Err(error) => last = Some(error.to_string()),
                    },
                    Err(error) => last = Some(error.to_string()),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await;
        if cleaned.is_err() {
            let left = last.unwrap_or_else(|| "it does not answer".into());
            bail!(
                "{} could not be cleaned: {left}\nfix: delete the topics and groups that begin with {PREFIX} there",
                self.source_address
            );
        }
        Ok(())
    }

    async fn clean_once(&self) -> Result<(), ClientError> {
        let groups = self.groups_at_source().await?;
        for (group, described) in admin::describe_groups(&self.source, &groups).await? {
            // Members that are still there, the fence member among them, would keep the group alive.
            let members: Vec<String> = described
                .map(|it| it.members)
                .unwrap_or_default()
                .into_iter()
                .map(|it| it.member_id)
                .collect();
            if !members.is_empty() {
                admin::leave_group(&self.source, &group, &members, "the demo has ended").await?;
            }
        }
        if !groups.is_empty() {
            admin::delete_groups(&self.source, &groups).await?;
        }
        let topics = self.topics_at_source().await?;
        if !topics.is_empty() {
            admin::delete_topics(&self.source, &topics).await?;
        }
        Ok(())
    }

    /// Resolves when an embedded broker can't go on; says why.
    pub fn failed(&self) -> impl Future<Output = Failure> + use<> {
        let both = [("the target", &self.target), ("the stand-in", &self.stand_in)].map(|(which, broker)| {
            let failed = broker.as_ref().map(Broker::failed);
            async move {
                match failed {
                    Some(failed) => stopped_itself(which, &failed.await),
                    None => std::future::pending().await,
                }
            }
        });
        async move {
            let [target, stand_in] = both;
            tokio::select! {
                failure = target => failure,
                failure = stand_in => failure,
            }
        }
    }

    /// Stops the embedded brokers; the folder goes with the value.
    pub async fn stop(mut self) {
        for broker in [self.target.take(), self.stand_in.take()].into_iter().flatten() {
            broker.stop().await;
        }
    }
}

fn store_url(folder: &Path) -> String {
    format!("file://{}", folder.join("store").display())
}

async fn start_broker(config: BrokerConfig, env: &Env) -> Result<Broker> {
    let config = BrokerConfig { listen: ([127, 0, 0, 1], 0).into(), ..config };
    Broker::start(config, env.clone()).await.context("the embedded broker does not start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_begins_with_the_demos_prefix() {
        let topics = TOPICS.iter().map(|topic| topic.name);
        assert!(topics.chain(GROUPS.iter().map(|group| group.name)).all(|name| name.starts_with(PREFIX)));
        assert!(GROUPS.iter().all(|group| group.topics.iter().all(|topic| *topic < TOPICS.len())));
    }
}
