//! Nodes: Apache Kafkas, brokers, linking services.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::model::{AwaitExit, Environment, Metric, Node, Scenario};
use super::world::World;
use crate::daemon::Daemon;
use crate::kafka::{Kafka, KafkaOptions};
use crate::wait;

/// A version of Apache Kafka that stands in for Towpath's broker: shows that a scenario asks for nothing that
/// Kafka itself would not do.
const STAND_IN: &str = "TOWPATH_TEST_STAND_IN";

/// A node with its process.
pub(super) enum RunningNode {
    /// Leased from the pool.
    Kafka(Box<Kafka>),
    /// A `towpath` daemon.
    Daemon(Daemon),
}

impl RunningNode {
    /// `None` for a linking service.
    pub(super) fn bootstrap(&self) -> Option<String> {
        match self {
            RunningNode::Kafka(kafka) => Some(kafka.bootstrap()),
            RunningNode::Daemon(daemon) => Some(daemon.bootstrap()).filter(|address| !address.is_empty()),
        }
    }

    async fn kill(&mut self) -> Result<()> {
        match self {
            RunningNode::Kafka(kafka) => kafka.kill(0).await,
            RunningNode::Daemon(daemon) => daemon.kill().await,
        }
    }

    async fn stop(&mut self) -> Result<()> {
        match self {
            RunningNode::Kafka(kafka) => kafka.stop().await,
            RunningNode::Daemon(daemon) => daemon.stop().await,
        }
    }

    async fn start(&mut self) -> Result<()> {
        match self {
            RunningNode::Kafka(kafka) => kafka.start_again().await,
            RunningNode::Daemon(daemon) => daemon.start().await,
        }
    }

    fn pause(&mut self) -> Result<()> {
        match self {
            RunningNode::Kafka(kafka) => kafka.pause(0),
            RunningNode::Daemon(daemon) => daemon.running()?.pause(),
        }
    }

    fn resume(&mut self) -> Result<()> {
        match self {
            RunningNode::Kafka(kafka) => kafka.resume(0),
            RunningNode::Daemon(daemon) => daemon.running()?.resume(),
        }
    }
}

/// What may happen to a node's process.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Kill,
    Stop,
    Start,
    Pause,
    Resume,
}

impl World<'_> {
    /// Starts all nodes: clusters first, because services name their addresses.
    pub(super) async fn start(&mut self, scenario: &Scenario) -> Result<()> {
        let is_service = |node: &Node| matches!(node, Node::Serve { .. });
        let clusters = scenario.nodes.iter().filter(|(_, node)| !is_service(node));
        let services = scenario.nodes.iter().filter(|(_, node)| is_service(node));
        for (name, node) in clusters.chain(services) {
            let running = self.start_node(name, node).await.with_context(|| name.clone())?;
            if let RunningNode::Daemon(daemon) = &running {
                self.set(format!("{name}.http"), daemon.http_address());
                self.set(format!("{name}.dir"), daemon.folder().display().to_string());
            }
            if let Some(bootstrap) = running.bootstrap() {
                self.set(format!("{name}.bootstrap"), bootstrap);
            }
            self.nodes.insert(name.clone(), running);
        }
        Ok(())
    }

    async fn start_node(&self, name: &str, node: &Node) -> Result<RunningNode> {
        let folder = self.folder().join(name);
        let mut daemon = match node {
            Node::Kafka { version, properties } => {
                let mut options = KafkaOptions::new(version);
                options.properties.extend(properties.clone());
                return self.leased(options).await;
            }
            Node::Broker { .. } if std::env::var_os(STAND_IN).is_some() => {
                return self.leased(KafkaOptions::new(&std::env::var(STAND_IN)?)).await;
            }
            Node::Broker { arguments } => {
                let arguments: Result<Vec<String>> = arguments.iter().map(|word| self.fill(word)).collect();
                Daemon::broker(name, &folder, &arguments?)?
            }
            Node::Serve { target, config } => {
                let file = self.service_file(&folder, target, config)?;
                Daemon::serve(name, &folder, |http| {
                    let mut file = file;
                    file.insert("http".to_owned(), json!(http));
                    // JSON is YAML too.
                    Ok(serde_json::to_string_pretty(&file)?)
                })?
            }
        };
        daemon.start().await?;
        Ok(RunningNode::Daemon(daemon))
    }

    async fn leased(&self, options: KafkaOptions) -> Result<RunningNode> {
        Ok(RunningNode::Kafka(Box::new(self.pool.lease(options).await?)))
    }

    /// The service's file: every cluster of the scenario, the target's store, data of its own.
    fn service_file(
        &self,
        folder: &std::path::Path,
        target: &str,
        more: &BTreeMap<String, Value>,
    ) -> Result<Map<String, Value>> {
        let mut clusters = Map::new();
        for (name, node) in &self.nodes {
            if let Some(bootstrap) = node.bootstrap() {
                clusters.insert(name.clone(), json!({ "bootstrap": bootstrap }));
            }
        }
        let Some(RunningNode::Daemon(broker)) = self.nodes.get(target) else {
            bail!("the service's target {target:?} is no broker of the scenario");
        };
        let store = format!("file://{}", broker.folder().join("data/store").display());
        let mut file = Map::new();
        file.insert("clusters".to_owned(), Value::Object(clusters));
        file.insert("store".to_owned(), json!(store));
        file.insert("data".to_owned(), json!(folder.join("data").display().to_string()));
        file.extend(more.clone());
        Ok(file)
    }

    /// Does something to a node's process.
    pub(super) async fn fate(&mut self, name: &str, fate: Fate) -> Result<()> {
        let node = self.nodes.get_mut(name).with_context(|| format!("no node {name:?}"))?;
        match fate {
            Fate::Kill => node.kill().await,
            Fate::Stop => node.stop().await,
            Fate::Start => node.start().await,
            Fate::Pause => node.pause(),
            Fate::Resume => node.resume(),
        }
    }

    fn daemon(&mut self, name: &str) -> Result<&mut Daemon> {
        match self.nodes.get_mut(name) {
            Some(RunningNode::Daemon(daemon)) => Ok(daemon),
            _ => bail!("{name:?} is no daemon of the scenario"),
        }
    }

    /// Waits for the end of a daemon that nobody stops.
    pub(super) async fn await_exit(&mut self, step: &AwaitExit) -> Result<()> {
        let limit = Duration::from_secs(step.within_s);
        let status = self.daemon(&step.node)?.ended(limit).await?;
        match step.code {
            Some(code) if status.code() != Some(code) => {
                bail!("{} ended with {status}, not {code}", step.node)
            }
            _ => Ok(()),
        }
    }

    /// Sets the environment of a daemon's later starts.
    pub(super) fn environment(&mut self, step: &Environment) -> Result<()> {
        let filled: Result<Vec<(String, String)>> =
            step.set.iter().map(|(key, value)| Ok((key.clone(), self.fill(value)?))).collect();
        let filled = filled?;
        self.daemon(&step.of)?.set_environment(filled);
        Ok(())
    }

    /// Waits until a metric is within its bounds.
    pub(super) async fn metric(&mut self, step: &Metric) -> Result<()> {
        let Some(RunningNode::Daemon(daemon)) = self.nodes.get(&step.of) else {
            bail!("{:?} is no daemon of the scenario", step.of);
        };
        let mut last = None;
        let within = wait::until(&step.name, Duration::from_secs(step.within_s), async || {
            let value = daemon.metric(&step.name, &step.label).await?;
            last = Some(value);
            let low = step.at_least.is_none_or(|bound| value >= bound);
            let high = step.at_most.is_none_or(|bound| value <= bound);
            Ok((low && high).then_some(()))
        });
        within.await.with_context(|| format!("last value {last:?}"))
    }
}
