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
use super::replicator::{Halt, Held, Replicator};
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
    /// When a mirrored topic was first missing, on the environment's clock.
    gone_since: Mutex<BTreeMap<String, Duration>>,
}

impl Follow {
    /// A follower that has not looked yet.
    pub fn new(mirror: Arc<Mirror>, selection: TopicSelection) -> Follow {
        Follow {
            mirror,
            selection,
            differences: Mutex::default(),
            identities: Mutex::default(),
            gone_since: Mutex::default(),
        }
    }

    /// Differences that the last look found, with what it did about them.
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
        loop {
            // A look that is cut short is begun again by the next run: all it knows is what it sees.
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            if let Err(error) = looked {
                tracing::info!(link = %self.mirror.link, %error, "cannot compare the topics of both sides; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.mirror.env.sleep(interval) => {}
                // Many partitions ask at once when a broker goes.
                () = self.mirror.placement_wanted() => self.mirror.env.sleep(LOOKS_APART_MIN).await,
            }
        }
    }

    /// One look at both clusters: creates, extends, configures and places what is missing. What is wrong with one
    /// topic does not keep the others from being looked after.
    ///
    /// # Errors
    /// A cluster that cannot be asked, a named topic that does not exist, or the first target topic that is not
    /// this link's.
    pub async fn look(&self) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let source = self.source_topics().await?;
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
        let mut selected: Selected<'_> = source
            .topics
            .iter()
            .filter(|(name, topic)| topic.error != Some(UNKNOWN) && self.selection.selects(name, topic))
            .collect();
        self.gone_since.lock().retain(|topic, _| !selected.contains_key(topic));
        self.check_gone(&selected);
        let mut problem = self.check_missing(&selected).err();
        let mut found = BTreeSet::new();
        let target = self.target_topics(&selected).await?;
        for (name, foreign) in self.foreign(&selected, &target).await? {
            selected.remove(&name);
            problem.get_or_insert(foreign);
        }
        for (name, topic) in selected.clone() {
            if self.is_recreated(name, topic) {
                continue;
            }
            if let Err(error) = self.ensure_topic(name, topic, target.topics.get(name), &mut found).await {
                selected.remove(name);
                problem.get_or_insert(error);
            }
        }
        self.place(&selected).await?;
        selected.retain(|name, topic| !self.is_recreated(name, topic));
        self.follow_configs(&selected, &mut found).await?;
        *self.differences.lock() = found;
        problem.map_or(Ok(()), Err)
    }

    /// Only what is needed: a list of all topics of a large cluster is no small thing to ask for.
    async fn source_topics(&self) -> Result<ClusterMetadata, LinkerError> {
        let source = &self.mirror.source;
        let names: Vec<&String> = self.selection.names.iter().collect();
        let asked = match self.selection.patterns.is_empty() && !names.is_empty() {
            true => source.metadata(&names).await,
            false => source.metadata_all().await,
        };
        asked.map_err(LinkerError::cluster(Side::Source, "list topics"))
    }

    async fn target_topics(&self, selected: &Selected<'_>) -> Result<ClusterMetadata, LinkerError> {
        if selected.is_empty() {
            return Ok(ClusterMetadata::default());
        }
        let names: Vec<&String> = selected.keys().copied().collect();
        let mut found = self
            .mirror
            .target
            .metadata(&names)
            .await
            .map_err(LinkerError::cluster(Side::Target, "look up mirror topics"))?;
        found.topics.retain(|_, topic| topic.error != Some(UNKNOWN));
        Ok(found)
    }

    /// Topics that are mirrored and that the source no longer has, or has anew.
    fn check_gone(&self, selected: &Selected<'_>) {
        for placed in self.mirror.partitions() {
            let id = &placed.replicator.id;
            let was = |gone: &str| format!("topic {} was {gone} on the source", id.topic);
            let halt = |gone: &str| Halt {
                reason: format!(
                    "{} under the link; the mirror keeps what it holds (topic id {}, up to offset {})",
                    was(gone),
                    placed.replicator.source_topic_id,
                    placed.replicator.positions().target_log_end
                ),
                fix: RECREATED_FIX.into(),
                since_ms: self.mirror.env.now_ms(),
            };
            match selected.get(&id.topic) {
                None if !self.is_long_gone(&id.topic) => {}
                None => placed.replicator.halt(halt("deleted")),
                Some(topic) if topic.topic_id != placed.replicator.source_topic_id => {
                    placed.replicator.halt_instead_of(&was("deleted"), halt("deleted and re-created"));
                }
                Some(_) => {}
            }
        }
    }

    /// A broker that has just started may not know its topics yet: only an absence that lasts is one.
    fn is_long_gone(&self, topic: &str) -> bool {
        let now = self.mirror.env.elapsed();
        let mut gone_since = self.gone_since.lock();
        now - *gone_since.entry(topic.to_owned()).or_insert(now) >= GONE_FOR
    }

    fn check_missing(&self, selected: &Selected<'_>) -> Result<(), LinkerError> {
        let known: BTreeSet<String> =
            self.mirror.partitions().into_iter().map(|placed| placed.replicator.id.topic.clone()).collect();
        match self.selection.names.iter().find(|&name| !selected.contains_key(name) && !known.contains(name))
        {
            Some(missing) => Err(LinkerError::refused(
                format!("the source has no topic {missing}"),
                "correct `topics:` in the plan, or create the topic",
            )),
            None => Ok(()),
        }
    }

    fn is_recreated(&self, name: &str, topic: &TopicMetadata) -> bool {
        self.identities.lock().get(name).is_some_and(|mirrored| *mirrored != topic.topic_id)
    }

    /// Target topics that exist and are not this link's mirror; of the others the identity is noted.
    async fn foreign(
        &self,
        selected: &Selected<'_>,
        target: &ClusterMetadata,
    ) -> Result<Vec<(String, LinkerError)>, LinkerError> {
        let mirror = &self.mirror;
        let names: Vec<&str> = selected
            .keys()
            .map(|name| name.as_str())
            .filter(|name| target.topics.contains_key(*name))
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let described = describe_topic_configs(&mirror.target, &names)
            .await
            .map_err(LinkerError::cluster(Side::Target, "describe mirror topics"))?;
        let mut foreign = Vec::new();
        for (name, configs) in described {
            let configs = configs.map_err(LinkerError::cluster(Side::Target, format!("describe {name}")))?;
            let value = |key: &str| configs.get(key).and_then(|config| config.value.as_deref()).unwrap_or("");
            if value(MIRROR_LINK) == mirror.link && value(MIRROR_SOURCE_CLUSTER) == mirror.source_cluster_id {
                if let Ok(id) = Uuid::parse_str(value(MIRROR_SOURCE_TOPIC)) {
                    self.identities.lock().insert(name, id);
                }
                continue;
            }
            let owner = match value(MIRROR_LINK) {
                "" => "an ordinary topic".to_owned(),
                link => format!("a mirror of link {link} from cluster {}", value(MIRROR_SOURCE_CLUSTER)),
            };
            let error = LinkerError::Answer {
                side: Side::Target,
                problem: format!("topic {name} exists and is {owner}, not link {}'s mirror", mirror.link),
                fix: "delete or rename the target topic, or take it out of the plan".into(),
            };
            foreign.push((name, error));
        }
        Ok(foreign)
    }

    /// Creates a mirror topic that is missing, or extends one with fewer partitions.
    async fn ensure_topic(
        &self,
        name: &str,
        topic: &TopicMetadata,
        existing: Option<&TopicMetadata>,
        found: &mut BTreeSet<Difference>,
    ) -> Result<(), LinkerError> {
        let target = &self.mirror.target;
        let partitions = topic.partitions.len() as i32;
        let Some(existing) = existing else {
            let new = self.new_topic(name, topic).await?;
            let mut created = create_topic(target, new.clone()).await;
            if created.as_ref().is_err_and(|error| error.code() == Some(ResponseError::InvalidConfig)) {
                // A config that only the source knows: each is tried, and named, by `follow_configs`.
                let configs =
                    new.configs.into_iter().filter(|(key, _)| key.starts_with(OWN_CONFIGS)).collect();
                created = create_topic(target, NewTopic { configs, ..NewTopic::new(name, partitions) }).await;
            }
            created.map_err(LinkerError::cluster(Side::Target, format!("create mirror topic {name}")))?;
            self.identities.lock().insert(name.to_owned(), topic.topic_id);
            return Ok(());
        };
        let held = existing.partitions.len() as i32;
        if held < partitions {
            let what = format!("extend mirror topic {name} to {partitions} partitions");
            create_partitions(target, name, partitions)
                .await
                .map_err(LinkerError::cluster(Side::Target, what))?;
            self.differ(found, name, format!("partitions: source {partitions}, target {held}"), "extended");
        }
        Ok(())
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

    /// Gives every partition a replicator, and every replicator its leaders.
    async fn place(&self, selected: &Selected<'_>) -> Result<(), LinkerError> {
        let mirror = &self.mirror;
        let target = self.target_topics(selected).await?;
        let new: Vec<TopicPartition> = selected
            .iter()
            .flat_map(|(name, topic)| {
                topic.partitions.iter().map(|p| TopicPartition::new(name.as_str(), p.index))
            })
            .filter(|id| mirror.partition(id).is_none() && leader_at(&target, id).is_some())
            .collect();
        let mut held = self.held_by_target(&new).await?;
        for (name, topic) in selected {
            for partition in &topic.partitions {
                let id = TopicPartition::new(name.as_str(), partition.index);
                let target_broker = leader_at(&target, &id);
                let (Some(source_broker), Some(target_broker)) = (partition.leader, target_broker) else {
                    continue;
                };
                let replicator = match (mirror.partition(&id), held.remove(&id)) {
                    (Some(placed), _) => placed.replicator,
                    (None, Some(held)) => Arc::new(self.new_replicator(id, topic.topic_id, held)),
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

    fn new_replicator(&self, id: TopicPartition, topic_id: Uuid, held: Held) -> Replicator {
        let mirrored = self.identities.lock().get(&id.topic).copied().unwrap_or(topic_id);
        let replicator = Replicator::new(id, mirrored, held);
        if mirrored != topic_id {
            replicator.halt(Halt {
                reason: format!(
                    "topic {} on the source has id {topic_id}; the mirror was made from id {mirrored}: it was deleted \
                     and re-created",
                    replicator.id.topic
                ),
                fix: RECREATED_FIX.into(),
                since_ms: self.mirror.env.now_ms(),
            });
        }
        replicator
    }

    /// What the target holds of each partition.
    async fn held_by_target(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Held>, LinkerError> {
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
            let (log_start, log_end) = (first.offset, end.offset);
            let last_epoch = if log_end > log_start { end.leader_epoch } else { -1 };
            held.insert(id, Held { log_start, log_end, last_epoch });
        }
        Ok(held)
    }

    /// Brings the configs of mirror topics to the source's values.
    async fn follow_configs(
        &self,
        selected: &Selected<'_>,
        found: &mut BTreeSet<Difference>,
    ) -> Result<(), LinkerError> {
        if selected.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = selected.keys().map(|name| name.as_str()).collect();
        let describe = async |client, side| {
            describe_topic_configs(client, &names)
                .await
                .map_err(LinkerError::cluster(side, "describe topic configs"))
        };
        let source = describe(&self.mirror.source, Side::Source).await?;
        let mut target = describe(&self.mirror.target, Side::Target).await?;
        for (name, source) in source {
            let (Ok(source), Some(Ok(target))) = (source, target.remove(&name)) else { continue };
            for (what, change) in self.config_changes(&name, (&source, &target), found) {
                let resource = ConfigResource::Topic(name.clone());
                let outcome = match alter_configs(&self.mirror.target, &resource, &[change]).await {
                    Ok(()) => "set on the target".to_owned(),
                    Err(error) => format!("the target refuses it: {error}"),
                };
                self.differ(found, &name, what, &outcome);
            }
        }
        Ok(())
    }

    /// What to change on the target, and the difference that is its reason.
    fn config_changes(
        &self,
        topic: &str,
        (source, target): (&BTreeMap<String, ConfigValue>, &BTreeMap<String, ConfigValue>),
        found: &mut BTreeSet<Difference>,
    ) -> Vec<(String, ConfigChange)> {
        let wanted = followed(source);
        let mut changes = Vec::new();
        for (key, value) in &wanted {
            match target.get(key) {
                Some(held) if held.value.as_deref() == Some(value) => {}
                Some(held) => {
                    let before = held.value.as_deref().unwrap_or("unset");
                    let what = format!("{key}: source {value}, target {before}");
                    changes.push((what, ConfigChange::Set(key.clone(), value.clone())));
                }
                None => {
                    let what = format!("{key}: source {value}");
                    self.differ(found, topic, what, "the target has no such config");
                }
            }
        }
        for (key, held) in target {
            let ours = key.starts_with(OWN_CONFIGS);
            if held.source == ConfigSource::Resource
                && !ours
                && source.contains_key(key)
                && !wanted.contains_key(key)
            {
                let what = format!("{key}: default on the source");
                changes.push((what, ConfigChange::Unset(key.clone())));
            }
        }
        changes
    }

    fn differ(&self, found: &mut BTreeSet<Difference>, topic: &str, what: String, outcome: &str) {
        let difference = Difference { topic: topic.into(), what, outcome: outcome.into() };
        if !self.differences.lock().contains(&difference) {
            tracing::info!(topic, what = %difference.what, outcome, "source and mirror differ");
        }
        found.insert(difference);
    }
}

/// Which broker leads a partition; a topic that was re-created may have partitions that its mirror lacks.
fn leader_at(cluster: &ClusterMetadata, id: &TopicPartition) -> Option<i32> {
    let partitions = &cluster.topics.get(&id.topic)?.partitions;
    partitions.iter().find(|partition| partition.index == id.partition)?.leader
}

/// The source's topics that a link mirrors, by name.
type Selected<'a> = BTreeMap<&'a String, &'a TopicMetadata>;

/// Between two looks, however often one is asked for.
const LOOKS_APART_MIN: Duration = Duration::from_millis(50);
/// How long a topic must be missing to count as deleted.
const GONE_FOR: Duration = Duration::from_secs(2);
const UNKNOWN: ResponseError = ResponseError::UnknownTopicOrPartition;
/// How Towpath's own configs begin.
const OWN_CONFIGS: &str = "towpath.";
const RECREATED_FIX: &str = "if that was meant: `towpath cancel`, delete the target topic, link again; if not: \
    decide which records count before producers write again";

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
