//! Keeps a link's mirror topics like their sources: topics, partition counts, configs, leaders, identity.
//!
//! Looks every few seconds, and at once when a fetcher finds that something moved. Differences are recorded in
//! [`Follow::differences`]; what would make the mirror wrong halts the partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use towpath_wire::client::admin::{
    ConfigChange, ConfigResource, ConfigSource, ConfigValue, NewTopic, OffsetSpec, alter_configs,
    create_partitions, create_topic, describe_topic_configs, list_offsets,
};
use towpath_wire::client::{ClusterMetadata, TopicMetadata, TopicPartition};
use uuid::Uuid;

use super::mirror::{Mirror, Placed};
use super::replicator::{Halt, Replicator};
use crate::error::{LinkerError, Side};

/// Config of a mirror topic: the link that may write it.
pub const MIRROR_LINK: &str = "towpath.mirror.link";
/// Config of a mirror topic: the source's cluster id.
pub const MIRROR_SOURCE_CLUSTER: &str = "towpath.mirror.source.cluster.id";
/// Config of a mirror topic: the source topic's id.
pub const MIRROR_SOURCE_TOPIC: &str = "towpath.mirror.source.topic.id";
/// Config of a mirror topic: `mirroring`, or what came after it.
pub const MIRROR_STATE: &str = "towpath.mirror.state";
/// Value of [`MIRROR_STATE`] while the link writes the topic.
pub const MIRRORING: &str = "mirroring";

/// Source configs that say how that cluster runs, not what the topic is: never copied.
const NOT_FOLLOWED: &[&str] = &[
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "message.format.version",
    "message.downconversion.enable",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "index.interval.bytes",
    "flush.messages",
    "flush.ms",
    "file.delete.delay.ms",
    "preallocate",
    "remote.storage.enable",
    "local.retention.ms",
    "local.retention.bytes",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
];

/// Which topics a link mirrors.
#[derive(Clone, Debug, Default)]
pub struct TopicSelection {
    /// By name; each must exist.
    pub names: BTreeSet<String>,
    /// By pattern, matching the whole name; internal topics never match.
    pub patterns: Vec<regex::Regex>,
}

impl TopicSelection {
    fn selects(&self, name: &str, topic: &TopicMetadata) -> bool {
        self.names.contains(name)
            || (!topic.internal && self.patterns.iter().any(|pattern| matches_whole(pattern, name)))
    }
}

fn matches_whole(pattern: &regex::Regex, name: &str) -> bool {
    pattern.find(name).is_some_and(|found| found.len() == name.len())
}

/// A difference between a source topic and its mirror that was found, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// Topic name.
    pub topic: String,
    /// What differs, with both values.
    pub what: String,
    /// What was done, or why nothing was.
    pub outcome: String,
}

/// The follower of one link.
pub struct Follow {
    mirror: Arc<Mirror>,
    selection: TopicSelection,
    differences: Mutex<BTreeSet<Difference>>,
    /// Source topic ids as first seen by this link.
    identities: Mutex<BTreeMap<String, Uuid>>,
}

impl Follow {
    /// A follower that has not looked yet.
    pub fn new(mirror: Arc<Mirror>, selection: TopicSelection) -> Follow {
        Follow { mirror, selection, differences: Mutex::default(), identities: Mutex::default() }
    }

    /// Differences that stand as of the last look.
    pub fn differences(&self) -> Vec<Difference> {
        self.differences.lock().iter().cloned().collect()
    }

    /// The source's topic ids by name, as of the last look.
    pub fn identities(&self) -> BTreeMap<String, Uuid> {
        self.identities.lock().clone()
    }

    /// Looks again and again until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let interval = Duration::from_millis(self.mirror.limits.topic_check_ms);
        while !stop.is_cancelled() {
            if let Err(error) = self.look().await {
                tracing::info!(link = %self.mirror.link, %error, "cannot compare the topics of both sides; trying again");
            }
            self.mirror.placement_done();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.mirror.env.sleep(interval) => {}
                () = self.mirror.placement_wanted() => {}
            }
        }
    }

    /// One look at both clusters: creates, extends, configures and places what is missing.
    ///
    /// # Errors
    /// A cluster that cannot be asked, a named topic that does not exist, or a target topic that is not this
    /// link's.
    pub async fn look(&self) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let source =
            mirror.source.metadata_all().await.map_err(LinkerError::cluster(Side::Source, "list topics"))?;
        if source.cluster_id != mirror.source_cluster_id {
            return Err(LinkerError::Answer {
                side: Side::Source,
                problem: format!(
                    "the bootstrap address now leads to cluster {}, this link was made for {}",
                    source.cluster_id, mirror.source_cluster_id
                ),
                fix: "correct `bootstrap` of the source in the service's file".into(),
            });
        }
        let selected: BTreeMap<&String, &TopicMetadata> =
            source.topics.iter().filter(|(name, topic)| self.selection.selects(name, topic)).collect();
        self.check_gone(&selected)?;
        let names: Vec<&str> = selected.keys().map(|name| name.as_str()).collect();
        let target = self.ensure_topics(&selected, &names).await?;
        self.place(&selected, &target).await?;
        self.follow_configs(&names).await
    }

    /// Topics that are mirrored or named and that the source no longer has.
    fn check_gone(&self, selected: &BTreeMap<&String, &TopicMetadata>) -> Result<(), LinkerError> {
        let known: BTreeSet<String> =
            self.mirror.partitions().into_iter().map(|placed| placed.replicator.id.topic.clone()).collect();
        for placed in self.mirror.partitions() {
            let id = &placed.replicator.id;
            let gone = match selected.get(&id.topic) {
                None => Some("deleted"),
                Some(topic) if topic.error == Some(ResponseError::UnknownTopicOrPartition) => Some("deleted"),
                Some(topic) if topic.topic_id != placed.replicator.source_topic_id => {
                    Some("deleted and re-created")
                }
                Some(_) => None,
            };
            if let Some(gone) = gone {
                placed.replicator.halt(Halt {
                    reason: format!(
                        "topic {} was {gone} on the source under the link; the mirror keeps what it holds (topic id {}, \
                         up to offset {})",
                        id.topic,
                        placed.replicator.source_topic_id,
                        placed.replicator.positions().target_log_end
                    ),
                    fix: "if that was meant: `towpath cancel`, delete the target topic, link again; if not: restore the \
                          topic's producers to the target only after deciding which records count"
                        .into(),
                    since_ms: self.mirror.env.now_ms(),
                });
            }
        }
        match self.selection.names.iter().find(|&name| !selected.contains_key(name) && !known.contains(name))
        {
            Some(missing) => Err(LinkerError::refused(
                format!("the source has no topic {missing}"),
                "correct `topics:` in the plan, or create the topic",
            )),
            None => Ok(()),
        }
    }

    /// Creates mirror topics that are missing and extends those with fewer partitions.
    async fn ensure_topics(
        &self,
        selected: &BTreeMap<&String, &TopicMetadata>,
        names: &[&str],
    ) -> Result<ClusterMetadata, LinkerError> {
        let mirror = &self.mirror;
        let on_target = |what: String| LinkerError::cluster(Side::Target, what);
        let target = mirror.target.metadata_all().await.map_err(on_target("list topics".into()))?;
        let mut changed = false;
        for (name, topic) in selected {
            let partitions = topic.partitions.len() as i32;
            match target.topics.get(*name) {
                None => {
                    let new = self.new_topic(name, topic).await?;
                    create_topic(&mirror.target, new)
                        .await
                        .map_err(on_target(format!("create mirror topic {name}")))?;
                    changed = true;
                }
                Some(existing) if (existing.partitions.len() as i32) < partitions => {
                    self.differ(
                        name,
                        format!("partitions: source {partitions}, target {}", existing.partitions.len()),
                        "extended",
                    );
                    create_partitions(&mirror.target, name, partitions).await.map_err(on_target(format!(
                        "extend mirror topic {name} to {partitions} partitions"
                    )))?;
                    changed = true;
                }
                Some(_) => {}
            }
        }
        self.check_ownership(names).await?;
        match changed {
            true => mirror.target.metadata(names).await.map_err(on_target("look up mirror topics".into())),
            false => Ok(target),
        }
    }

    async fn new_topic(&self, name: &str, topic: &TopicMetadata) -> Result<NewTopic, LinkerError> {
        let what = format!("describe configs of {name}");
        let mut described = describe_topic_configs(&self.mirror.source, &[name])
            .await
            .map_err(LinkerError::cluster(Side::Source, what.clone()))?;
        let configs = match described.remove(name) {
            Some(configs) => configs.map_err(LinkerError::cluster(Side::Source, what))?,
            None => BTreeMap::new(),
        };
        let mut new = NewTopic::new(name, topic.partitions.len() as i32)
            .with_config(MIRROR_LINK, &self.mirror.link)
            .with_config(MIRROR_SOURCE_CLUSTER, &self.mirror.source_cluster_id)
            .with_config(MIRROR_SOURCE_TOPIC, topic.topic_id.to_string())
            .with_config(MIRROR_STATE, MIRRORING);
        for (key, value) in followed(&configs) {
            new = new.with_config(key, value);
        }
        Ok(new)
    }

    /// Every target topic must be this link's mirror of this very source topic.
    async fn check_ownership(&self, names: &[&str]) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let described = describe_topic_configs(&mirror.target, names)
            .await
            .map_err(LinkerError::cluster(Side::Target, "describe mirror topics"))?;
        for (name, configs) in described {
            let configs = configs.map_err(LinkerError::cluster(Side::Target, format!("describe {name}")))?;
            let value = |key: &str| configs.get(key).and_then(|config| config.value.as_deref()).unwrap_or("");
            if value(MIRROR_LINK) != mirror.link || value(MIRROR_SOURCE_CLUSTER) != mirror.source_cluster_id {
                let owner = match value(MIRROR_LINK) {
                    "" => "an ordinary topic".to_owned(),
                    link => format!("a mirror of link {link} from cluster {}", value(MIRROR_SOURCE_CLUSTER)),
                };
                return Err(LinkerError::Answer {
                    side: Side::Target,
                    problem: format!("topic {name} exists and is {owner}, not link {}'s mirror", mirror.link),
                    fix: "delete or rename the target topic, or take it out of the plan".into(),
                });
            }
            if let Ok(id) = Uuid::parse_str(value(MIRROR_SOURCE_TOPIC)) {
                self.identities.lock().insert(name, id);
            }
        }
        Ok(())
    }

    /// Gives every partition a replicator, and every replicator its leaders.
    async fn place(
        &self,
        selected: &BTreeMap<&String, &TopicMetadata>,
        target: &ClusterMetadata,
    ) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let new: Vec<TopicPartition> = selected
            .iter()
            .flat_map(|(name, topic)| {
                topic.partitions.iter().map(|p| TopicPartition::new(name.as_str(), p.index))
            })
            .filter(|id| mirror.partition(id).is_none())
            .collect();
        let mut held = self.held_by_target(&new).await?;
        for (name, topic) in selected {
            for partition in &topic.partitions {
                let id = TopicPartition::new(name.as_str(), partition.index);
                let target_broker = target
                    .topics
                    .get(*name)
                    .and_then(|topic| topic.partitions.iter().find(|p| p.index == partition.index))
                    .and_then(|partition| partition.leader);
                let (Some(source_broker), Some(target_broker)) = (partition.leader, target_broker) else {
                    continue;
                };
                let replicator = match (mirror.partition(&id), held.remove(&id)) {
                    (Some(placed), _) => placed.replicator,
                    (None, Some(range)) => Arc::new(self.new_replicator(id, topic.topic_id, range)),
                    (None, None) => continue,
                };
                mirror.place(Placed {
                    replicator,
                    source_broker,
                    leader_epoch: partition.leader_epoch,
                    target_broker,
                });
            }
        }
        Ok(())
    }

    fn new_replicator(&self, id: TopicPartition, topic_id: Uuid, range: (i64, i64)) -> Replicator {
        let mirrored = self.identities.lock().get(&id.topic).copied().unwrap_or(topic_id);
        let replicator = Replicator::new(id, mirrored, range);
        if mirrored != topic_id {
            replicator.halt(Halt {
                reason: format!(
                    "topic {} on the source has id {topic_id}; the mirror was made from id {mirrored}: it was deleted \
                     and re-created",
                    replicator.id.topic
                ),
                fix: "`towpath cancel`, delete the target topic, link again".into(),
                since_ms: self.mirror.env.now_ms(),
            });
        }
        replicator
    }

    /// First and next offset that the target holds of each partition.
    async fn held_by_target(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, (i64, i64)>, LinkerError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = async |spec| {
            list_offsets(&self.mirror.target, partitions, spec)
                .await
                .map_err(LinkerError::cluster(Side::Target, "list offsets of mirror topics"))
        };
        let (first, mut end) = (list(OffsetSpec::Earliest).await?, list(OffsetSpec::Latest).await?);
        let mut held = BTreeMap::new();
        for (id, first) in first {
            let (Ok(first), Some(Ok(end))) = (first, end.remove(&id)) else { continue };
            held.insert(id, (first.offset, end.offset));
        }
        Ok(held)
    }

    /// Brings the configs of mirror topics to the source's values.
    async fn follow_configs(&self, names: &[&str]) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let source = describe_topic_configs(&mirror.source, names)
            .await
            .map_err(LinkerError::cluster(Side::Source, "describe topic configs"))?;
        let mut target = describe_topic_configs(&mirror.target, names)
            .await
            .map_err(LinkerError::cluster(Side::Target, "describe topic configs"))?;
        for (name, source) in source {
            let (Ok(source), Some(Ok(target))) = (source, target.remove(&name)) else { continue };
            let changes = self.config_changes(&name, &source, &target);
            if !changes.is_empty() {
                alter_configs(&mirror.target, &ConfigResource::Topic(name.clone()), &changes).await.map_err(
                    LinkerError::cluster(Side::Target, format!("change configs of mirror topic {name}")),
                )?;
            }
        }
        Ok(())
    }

    fn config_changes(
        &self,
        topic: &str,
        source: &BTreeMap<String, ConfigValue>,
        target: &BTreeMap<String, ConfigValue>,
    ) -> Vec<ConfigChange> {
        let wanted = followed(source);
        let mut changes = Vec::new();
        for (key, value) in &wanted {
            match target.get(key) {
                Some(held) if held.value.as_deref() == Some(value) => {}
                Some(held) => {
                    let before = held.value.as_deref().unwrap_or("unset");
                    self.differ(
                        topic,
                        format!("{key}: source {value}, target {before}"),
                        "set on the target",
                    );
                    changes.push(ConfigChange::Set(key.clone(), value.clone()));
                }
                None => self.differ(topic, format!("{key}: source {value}"), "the target has no such config"),
            }
        }
        for (key, held) in target {
            let ours = key.starts_with("towpath.");
            if held.source == ConfigSource::Resource
                && !ours
                && source.contains_key(key)
                && !wanted.contains_key(key)
            {
                self.differ(topic, format!("{key}: default on the source"), "set back to the default");
                changes.push(ConfigChange::Unset(key.clone()));
            }
        }
        changes
    }

    fn differ(&self, topic: &str, what: String, outcome: &str) {
        let difference = Difference { topic: topic.into(), what, outcome: outcome.into() };
        if self.differences.lock().insert(difference.clone()) {
            tracing::info!(topic, what = %difference.what, outcome, "source and mirror differ");
        }
    }
}

/// The configs that were set on the source topic itself and describe it.
fn followed(configs: &BTreeMap<String, ConfigValue>) -> BTreeMap<String, String> {
    configs
        .iter()
        .filter(|(name, config)| {
            config.source == ConfigSource::Resource && !NOT_FOLLOWED.contains(&name.as_str())
        })
        .filter_map(|(name, config)| Some((name.clone(), config.value.clone()?)))
        .collect()
}
