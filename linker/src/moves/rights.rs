//! Which of the rights that a move needs the source grants: the cluster itself answers (KIP-430), nothing is tried.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeGroupsRequest, GroupId, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use towpath_plans::gates::{Permission, Resource, Right, rights};
use towpath_wire::client::{ClientError, To};

use super::mover::Mover;
use crate::error::{LinkerError, Side};

/// First version of DescribeGroups that answers operations; later ones answer none for a group of KIP-848.
const GROUPS_VERSION: i16 = 5;
/// The cluster did not say: an older broker, or one without this answer.
const NOT_SAID: i32 = i32::MIN;
/// `AclOperation` codes by name.
const OPERATIONS: [(&str, u32); 9] = [
    ("Read", 3),
    ("Write", 4),
    ("Create", 5),
    ("Delete", 6),
    ("Alter", 7),
    ("Describe", 8),
    ("ClusterAction", 9),
    ("DescribeConfigs", 10),
    ("AlterConfigs", 11),
];

/// The operations that the cluster allows us, one bit each; [`NOT_SAID`] when it does not tell.
type Allowed = i32;

impl Mover {
    /// The rights of this group's move, each with whether it is granted and the command that grants it.
    ///
    /// # Errors
    /// The source cannot be asked.
    pub(super) async fn permissions(&self) -> Result<Vec<Permission>, LinkerError> {
        let failed = |error| LinkerError::cluster(Side::Source, "ask for permissions")(error);
        let (topics, group, cluster) =
            tokio::try_join!(self.allowed_on_topics(), self.allowed_on_group(), self.allowed_on_cluster())
                .map_err(failed)?;
        let config = &self.link.source.config;
        let bootstrap = config.bootstrap.join(",");
        let user = config.security.sasl.as_ref().map_or("ANONYMOUS", |sasl| sasl.username.as_str());
        let principal = format!("User:{user}");
        let mine = rights(&self.link.plan).into_iter().filter(|right| match &right.resource {
            Resource::Group(name) => *name == self.group.name,
            Resource::TransactionalId(id) => self.group.transactional_ids.contains(id),
            _ => true,
        });
        let judged = mine.map(|right| {
            let granted = match &right.resource {
                Resource::Topic(name) => topics.get(name).is_none_or(|allowed| grants(&right, *allowed)),
                Resource::TopicPrefix(_) => {
                    let mirrored = self.link.plan.topics.iter();
                    let mut of_prefix = topics
                        .iter()
                        .filter(|(name, _)| mirrored.clone().any(|selector| selector.matches(name)));
                    of_prefix.all(|(_, allowed)| grants(&right, *allowed))
                }
                Resource::Group(_) => grants(&right, group),
                Resource::Cluster => grants(&right, cluster),
                // No answer of Kafka's tells before it is tried.
                Resource::TransactionalId(_) => true,
            };
            right.observed(granted, &bootstrap, &principal)
        });
        Ok(judged.collect())
    }

    async fn allowed_on_topics(&self) -> Result<BTreeMap<String, Allowed>, ClientError> {
        let mut names: Vec<String> =
            self.link.mirror.partitions().iter().map(|placed| placed.replicator.id.topic.clone()).collect();
        names.dedup();
        names.push(super::observe::OFFSETS_TOPIC.into());
        let topics = names.iter().map(|name| {
            let name = TopicName(StrBytes::from_string(name.clone()));
            MetadataRequestTopic::default().with_name(Some(name))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let answer = self.link.source.client.send(To::Any, request).await?;
        let allowed = answer.topics.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?.to_string();
            match topic.error_code {
                0 => Some((name, topic.topic_authorized_operations)),
                // TOPIC_AUTHORIZATION_FAILED: not even Describe.
                29 => Some((name, 0)),
                _ => None,
            }
        });
        Ok(allowed.collect())
    }

    async fn allowed_on_group(&self) -> Result<Allowed, ClientError> {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(StrBytes::from_string(self.group.name.clone()))])
            .with_include_authorized_operations(true);
        let to = To::Coordinator(self.group.name.clone());
        let answer = self.link.source.client.send_version(to, request, GROUPS_VERSION).await?;
        Ok(match answer.groups.first() {
            // GROUP_AUTHORIZATION_FAILED: not even Describe.
            Some(group) if group.error_code == 30 => 0,
            Some(group) if group.error_code == 0 => group.authorized_operations,
            _ => NOT_SAID,
        })
    }

    async fn allowed_on_cluster(&self) -> Result<Allowed, ClientError> {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        match self.link.source.client.send(To::Any, request).await {
            Ok(answer) => Ok(answer.cluster_authorized_operations),
            // Before Kafka 2.8.
            Err(ClientError::Unsupported { .. }) => Ok(NOT_SAID),
            Err(error) => Err(error),
        }
    }
}

fn grants(right: &Right, allowed: Allowed) -> bool {
    let bit = |name: &String| OPERATIONS.iter().find(|(known, _)| known == name).map(|(_, code)| 1 << code);
    allowed == NOT_SAID || right.operations.iter().all(|name| bit(name).is_none_or(|bit| allowed & bit != 0))
}

#[cfg(test)]
mod tests {
    use towpath_plans::Plan;
    use towpath_plans::model::{GroupPlan, TopicSelector};

    use super::*;

    #[test]
    fn a_right_is_granted_when_every_operation_is() {
        let mut plan = Plan::new("views", "legacy", "towpath");
        plan.topics = vec![TopicSelector::Name("views".into())];
        plan.groups = vec![GroupPlan::named("ranker")];
        let right = rights(&plan)
            .into_iter()
            .find(|right| right.resource == Resource::Topic("views".into()))
            .unwrap();
        let (read, describe, configs) = (1 << 3, 1 << 8, 1 << 10);
        assert!(grants(&right, read | describe | configs));
        assert!(!grants(&right, read | describe));
        assert!(!grants(&right, 0));
        assert!(grants(&right, NOT_SAID), "a cluster that does not tell is not taken for one that forbids");
    }
}
