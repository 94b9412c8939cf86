//! What a plan must meet before anything is changed (DESIGN §13, "wrong plan").

use std::collections::BTreeSet;

use towpath_plans::model::{PlanFile, Problem, TopicSelector, check_estate};
use towpath_plans::{PlanError, Side};
use towpath_wire::client::ClusterMetadata;
use towpath_wire::client::admin::{describe_topic_configs, offset_fetch_all};

use super::Service;
use crate::cluster::Cluster;
use crate::error::LinkerError;
use crate::link::follow::{MIRROR_LINK, MIRROR_SOURCE_CLUSTER};

/// A plan that may be linked, and the clusters it is about.
pub struct Checked {
    /// The plan with the places of what it names.
    pub file: PlanFile,
    /// The source, connected.
    pub source: Cluster,
    /// The target, connected.
    pub target: Cluster,
    /// The topics that it mirrors now.
    pub topics: Vec<String>,
    /// What stands in nobody's way and should be known.
    pub warnings: Vec<String>,
}

impl Service {
    /// Checks a plan against itself, the service's file, the other plans and both clusters. Changes nothing.
    ///
    /// # Errors
    /// Every problem of the first step that has any, each with file, line, column and fix; or a cluster that
    /// cannot be asked.
    pub async fn check(&self, file: &str, yaml: &str) -> Result<Checked, LinkerError> {
        let file = PlanFile::read(file, yaml).map_err(LinkerError::Plan)?;
        self.check_clusters(&file)?;
        let plan = &file.plan;
        let source = Cluster::connect(&self.config, &plan.source, Side::Source, &self.env).await?;
        let target = Cluster::connect(&self.config, &plan.target, Side::Target, &self.env).await?;
        if source.id == target.id {
            let message = format!("{} and {} are one cluster ({})", plan.source, plan.target, source.id);
            return Err(one(file.problem_at("target", message, "give the target's own bootstrap address")));
        }
        let on_source =
            source.client.metadata_all().await.map_err(LinkerError::cluster(Side::Source, "list topics"))?;
        let topics = self.check_topics(&file, &on_source)?;
        self.check_other_plans(&file, &on_source)?;
        self.check_target(&file, &source, &target, &topics).await?;
        self.check_groups(&file, &source, &target).await?;
        let warnings = source.rebalance_delay().await.into_iter().collect();
        Ok(Checked { file, source, target, topics, warnings })
    }

    fn check_clusters(&self, file: &PlanFile) -> Result<(), LinkerError> {
        let known = || self.config.clusters.keys().cloned().collect::<Vec<_>>().join(", ");
        let mut problems = Vec::new();
        for (path, name) in [("source", &file.plan.source), ("target", &file.plan.target)] {
            if !self.config.clusters.contains_key(name) {
                let message = format!("the service's file has no cluster {name}");
                let fix = format!("add it under `clusters:` or name one of: {}", known());
                problems.push(file.problem_at(path, message, fix));
            }
        }
        all(problems)
    }

    fn check_topics(&self, file: &PlanFile, source: &ClusterMetadata) -> Result<Vec<String>, LinkerError> {
        let mut problems = Vec::new();
        let mut topics = BTreeSet::new();
        for selector in &file.plan.topics {
            let found: Vec<&String> = source
                .topics
                .iter()
                .filter(|(name, topic)| selector.matches(name) && !topic.internal)
                .map(|(name, _)| name)
                .collect();
            if found.is_empty() {
                let (message, fix) = match selector {
                    TopicSelector::Name(name) => {
                        (format!("the source has no topic {name}"), "correct the name, or create the topic")
                    }
                    TopicSelector::Pattern(_) => {
                        (format!("no topic of the source matches {selector}"), "correct the pattern")
                    }
                };
                problems.push(file.problem_at(&format!("topics[{selector}]"), message, fix));
            }
            topics.extend(found.into_iter().cloned());
        }
        all(problems)?;
        Ok(topics.into_iter().collect())
    }

    /// One link for a topic, one plan for a group.
    fn check_other_plans(&self, file: &PlanFile, source: &ClusterMetadata) -> Result<(), LinkerError> {
        let topics: Vec<String> = source.topics.keys().cloned().collect();
        let mut plans = Vec::new();
        for (name, record) in self.journal.recorded().families {
            if !record.is_over() && name != file.plan.family {
                plans.push(PlanFile::of(format!("family {name}"), record.linked.plan));
            }
        }
        plans.push(file.clone());
        check_estate(&plans, &topics).map_err(LinkerError::Plan)
    }

    /// A target topic of the same name must be this link's own mirror.
    async fn check_target(
        &self,
        file: &PlanFile,
        source: &Cluster,
        target: &Cluster,
        topics: &[String],
    ) -> Result<(), LinkerError> {
        let on_target = || LinkerError::cluster(Side::Target, "look up topics");
        let held = target.client.metadata_all().await.map_err(on_target())?;
        let names: Vec<&str> =
            topics.iter().filter(|name| held.topics.contains_key(*name)).map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut problems = Vec::new();
        for (name, configs) in describe_topic_configs(&target.client, &names).await.map_err(on_target())? {
            let configs = configs.map_err(LinkerError::cluster(Side::Target, format!("describe {name}")))?;
            let value = |key: &str| configs.get(key).and_then(|config| config.value.as_deref()).unwrap_or("");
            let (link, cluster) = (value(MIRROR_LINK), value(MIRROR_SOURCE_CLUSTER));
            if link != file.plan.family || cluster != source.id {
                let what = match link {
                    "" => "an ordinary topic".to_owned(),
                    link => format!("a mirror of link {link} from cluster {cluster}"),
                };
                let message = format!("the target has a topic {name} already: it is {what}");
                let fix = "delete it at the target, or take it out of the plan";
                problems.push(file.problem_at(&format!("topics[{name}]"), message, fix));
            }
        }
        all(problems)
    }

    /// Every topic that a group has committed offsets for must be mirrored by some link between these clusters.
    async fn check_groups(
        &self,
        file: &PlanFile,
        source: &Cluster,
        target: &Cluster,
    ) -> Result<(), LinkerError> {
        let plan = &file.plan;
        let recorded = self.journal.recorded();
        let by_another =
            |topic: &str| recorded.carrier_of(topic, &plan.family, &source.id, &target.id).is_some();
        let mut problems = Vec::new();
        for group in &plan.groups {
            let what = format!("committed offsets of group {}", group.name);
            let committed = offset_fetch_all(&source.client, &group.name, false)
                .await
                .map_err(LinkerError::cluster(Side::Source, what))?;
            let read: BTreeSet<&str> = committed.keys().map(|id| id.topic.as_str()).collect();
            for topic in read {
                let by_uses = plan.uses.iter().any(|used| used == topic) && by_another(topic);
                if !plan.mirrors(topic) && !by_uses {
                    let message = format!("group {} reads {topic}, which no link mirrors", group.name);
                    let fix = format!(
                        "add {topic} under `topics:`, or under `uses:` when another plan's link carries it; or delete \
                         the group's offsets of {topic} if it no longer reads it"
                    );
                    problems.push(file.problem_at(&format!("groups[{}]", group.name), message, fix));
                }
            }
        }
        all(problems)
    }
}

fn one(problem: Problem) -> LinkerError {
    LinkerError::Plan(PlanError { problems: vec![problem] })
}

fn all(problems: Vec<Problem>) -> Result<(), LinkerError> {
    if problems.is_empty() { Ok(()) } else { Err(LinkerError::Plan(PlanError { problems })) }
}
