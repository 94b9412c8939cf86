//! One side of a link, connected.

use std::collections::BTreeMap;

use towpath_env::Env;
use towpath_plans::model::format_duration;
use towpath_wire::client::admin::{ConfigResource, ConfigValue, describe_configs};
use towpath_wire::client::{Client, ClientConfig};

use crate::config::ServiceConfig;
use crate::error::{LinkerError, Side};

/// A connected cluster, as plans name it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// Its name under `clusters:` in the service's file.
    pub name: String,
    /// The cluster's own id.
    pub id: String,
    /// The raw client towards it.
    pub client: Client,
    /// How it is reached: the diff's librdkafka readers connect by the same settings.
    pub config: ClientConfig,
}

impl Cluster {
    /// Connects to the cluster that the service's file calls `name`.
    ///
    /// # Errors
    /// The file does not name it, or the cluster cannot be reached; `side` says whose fault that is.
    pub async fn connect(
        config: &ServiceConfig,
        name: &str,
        side: Side,
        env: &Env,
    ) -> Result<Cluster, LinkerError> {
        let config = config.client(name)?;
        let client = Client::connect(config.clone(), env.clone())
            .await
            .map_err(LinkerError::cluster(side, format!("connect to cluster {name}")))?;
        Ok(Cluster { name: name.to_owned(), id: client.cluster_id(), client, config })
    }
    /// A warning when coordinators of this source hold the first join of an empty group: a fence is one, and so is the
    /// first member behind a rollback. `None` too when it does not show its brokers' settings.
    pub async fn rebalance_delay(&self) -> Option<String> {
        let brokers = self.client.brokers();
        let brokers: Vec<_> = brokers.iter().map(|broker| ConfigResource::Broker(broker.id)).collect();
        let described = describe_configs(&self.client, &brokers).await.ok()?;
        let delay_ms = |configs: Option<BTreeMap<String, ConfigValue>>| -> Option<u64> {
            configs?.remove(REBALANCE_DELAY)?.value?.parse().ok()
        };
        let longest_ms = described.into_values().filter_map(|configs| delay_ms(configs.ok())).max();
        let longest = format_duration(longest_ms.filter(|ms| *ms > 0)?);
        Some(format!(
            "{} holds the first join of an empty group for {longest} ({REBALANCE_DELAY}): every cutover and rollback \
             pauses its group for so much longer; set it to 0 on its brokers, or leave room for it in pause_max",
            self.name
        ))
    }
}

/// Lets a coordinator hold the first join of an empty group (KIP-134).
const REBALANCE_DELAY: &str = "group.initial.rebalance.delay.ms";
