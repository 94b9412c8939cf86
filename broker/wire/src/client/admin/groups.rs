//! Consumer groups: list, describe, evict members, delete.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::Member;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, LeaveGroupRequest,
    ListGroupsRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::consumer_protocol::{assigned_partitions, subscribed_topics};
use super::fan_out::{each, group_not_found, outcome, outcome_with_words, to_coordinator};
use super::{Each, ask_all_brokers, text};
use crate::client::cache::CoordinatorKind;
use crate::client::{Broker, Client, ClientError, To, TopicPartition};

/// A group in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// The group's id.
    pub group: String,
    /// `consumer`, `connect`, …; empty for offsets without members.
    pub protocol_type: String,
    /// `Stable`, `Empty`, …; empty before Kafka 2.6.
    pub state: String,
    /// `classic`, `consumer` (KIP-848), `share`; empty before Kafka 3.8.
    pub group_type: String,
}

/// Which protocol a group's coordinator speaks with its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// KIP-848.
    Consumer,
}

/// A group as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Which protocol.
    pub group_type: GroupType,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`; KIP-848: `Assigning`, `Reconciling`, …
    pub state: String,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// The chosen assignor.
    pub protocol: String,
    /// Members, in the coordinator's order.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id the coordinator gave it.
    pub member_id: String,
    /// The static member's instance id (KIP-345).
    pub instance_id: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The client's address as the broker saw it.
    pub client_host: String,
    /// The topics it subscribes to, sorted; empty for other protocol types than `consumer`.
    pub subscribed: Vec<String>,
    /// The partitions it owns, sorted; empty for other protocol types than `consumer`.
    pub assigned: Vec<TopicPartition>,
}

/// All groups of all brokers, sorted by id.
///
/// # Errors
/// Any broker could not be asked: a listing with holes would read as groups that do not exist.
pub async fn list_groups(client: &Client) -> Result<Vec<GroupListing>, ClientError> {
    let mut groups = BTreeMap::new();
    for answer in ask_all_brokers(client, &ListGroupsRequest::default()).await? {
        outcome("ListGroups", &"a broker", answer.error_code, ())?;
        for group in &answer.groups {
            let listing = GroupListing {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                group_type: group.group_type.to_lowercase(),
            };
            groups.insert(listing.group.clone(), listing);
        }
    }
    Ok(groups.into_values().collect())
}

/// Each group as its coordinator sees it, of the classic protocol or of KIP-848; one request per coordinator and
/// protocol.
///
/// # Errors
/// No coordinator could be asked at all; `GroupIdNotFound` per group.
pub async fn describe_groups<T: AsRef<str>>(
    client: &Client,
    groups: &[T],
) -> Result<Each<String, GroupDescription>, ClientError> {
    let mut described = describe_classic(client, items(groups)).await?;
    let missing = |outcome: &Result<GroupDescription, ClientError>| match outcome {
        Err(error) => error.code() == Some(ResponseError::GroupIdNotFound),
        Ok(_) => false,
    };
    let unknown: Vec<_> = described
        .iter()
        .filter(|(_, outcome)| missing(outcome))
        .map(|(group, _)| (group.clone(), ()))
        .collect();
    if !unknown.is_empty() && client.supports(ConsumerGroupDescribeRequest::KEY, 0) {
        for (group, outcome) in describe_consumer(client, unknown).await? {
            // Neither protocol knows it, or KIP-848 is switched off there: the first answer stands.
            let off =
                matches!(&outcome, Err(error) if error.code() == Some(ResponseError::UnsupportedVersion));
            if !missing(&outcome) && !off {
                described.insert(group, outcome);
            }
        }
    }
    Ok(described)
}

async fn describe_classic(
    client: &Client,
    groups: Vec<(String, ())>,
) -> Result<Each<String, GroupDescription>, ClientError> {
    each(client, DescribeGroupsRequest::KEY, groups, to_coordinator, |connection, groups| async move {
        let request = DescribeGroupsRequest::default().with_groups(ids(groups));
        let answer = connection.send(request).await?;
        let outcomes = answer.groups.iter().map(|group| {
            let id = group.group_id.to_string();
            let outcome = read_classic(group);
            (id, outcome)
        });
        Ok(outcomes.collect())
    })
    .await
}

fn read_classic(group: &DescribedGroup) -> Result<GroupDescription, ClientError> {
    const API: &str = "DescribeGroups";
    let words = group.error_message.as_ref().map(StrBytes::as_str);
    outcome_with_words(API, &format_args!("group {}", group.group_id.0), (group.error_code, words), ())?;
    // Before version 6 (KIP-1043) a group that does not exist is described as dead.
    if group.group_state.as_str() == "Dead" {
        return Err(group_not_found(API, &group.group_id));
    }
    let members = group.members.iter().map(|member| GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        subscribed: subscribed_topics(member.member_metadata.clone()),
        assigned: assigned_partitions(member.member_assignment.clone()),
    });
    Ok(GroupDescription {
        group_type: GroupType::Classic,
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        members: members.collect(),
    })
}

async fn describe_consumer(
    client: &Client,
    groups: Vec<(String, ())>,
) -> Result<Each<String, GroupDescription>, ClientError> {
    each(client, ConsumerGroupDescribeRequest::KEY, groups, to_coordinator, |connection, groups| async move {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids(groups));
        let answer = connection.send(request).await?;
        let outcomes = answer.groups.iter().map(|group| {
            let id = group.group_id.to_string();
            let words = group.error_message.as_ref().map(StrBytes::as_str);
            let description = GroupDescription {
                group_type: GroupType::Consumer,
                state: group.group_state.to_string(),
                protocol_type: "consumer".to_owned(),
                protocol: group.assignor_name.to_string(),
                members: group.members.iter().map(read_consumer_member).collect(),
            };
            let subject = format!("group {id}");
            let outcome =
                outcome_with_words("ConsumerGroupDescribe", &subject, (group.error_code, words), description);
            (id, outcome)
        });
        Ok(outcomes.collect())
    })
    .await
}

fn read_consumer_member(member: &Member) -> GroupMember {
    let mut subscribed: Vec<_> = member.subscribed_topic_names.iter().map(|name| name.to_string()).collect();
    subscribed.sort_unstable();
    let partitions = member.assignment.topic_partitions.iter().flat_map(|topic| {
        topic.partitions.iter().map(|&partition| TopicPartition::new(topic.topic_name.as_str(), partition))
    });
    let mut assigned: Vec<_> = partitions.collect();
    assigned.sort_unstable();
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        subscribed,
        assigned,
    }
}

/// Deletes groups with their offsets.
///
/// # Errors
/// No coordinator could be asked at all; `NonEmptyGroup` per group.
pub async fn delete_groups<T: AsRef<str>>(
    client: &Client,
    groups: &[T],
) -> Result<Each<String, ()>, ClientError> {
    each(client, DeleteGroupsRequest::KEY, items(groups), to_coordinator, |connection, groups| async move {
        let request = DeleteGroupsRequest::default().with_groups_names(ids(groups));
        let answer = connection.send(request).await?;
        let outcomes = answer.results.iter().map(|result| {
            let id = result.group_id.to_string();
            let outcome = outcome("DeleteGroups", &format_args!("group {id}"), result.error_code, ());
            (id, outcome)
        });
        Ok(outcomes.collect())
    })
    .await
}

/// Removes members by id (KIP-345, LeaveGroup version 3 and later); for each its outcome.
///
/// # Errors
/// The request as a whole failed; [`ClientError::OutcomeUnknown`] when they may be gone.
pub async fn leave_group<T: AsRef<str>>(
    client: &Client,
    group: &str,
    member_ids: &[T],
    reason: &str,
) -> Result<Each<String, ()>, ClientError> {
    let members = member_ids.iter().map(|id| {
        MemberIdentity::default().with_member_id(text(id.as_ref())).with_reason(Some(text(reason)))
    });
    let request =
        LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_members(members.collect());
    let answer = client.send(To::Coordinator(group.to_owned()), request).await?;
    outcome("LeaveGroup", &format_args!("group {group}"), answer.error_code, ())?;
    let outcomes = answer.members.iter().map(|member| {
        let id = member.member_id.to_string();
        let subject = format!("member {id} of group {group}");
        let outcome = outcome("LeaveGroup", &subject, member.error_code, ());
        (id, outcome)
    });
    Ok(outcomes.collect())
}

/// The broker that coordinates a group, asked for now.
///
/// # Errors
/// The look-up failed until the request time-out.
pub async fn find_coordinator(client: &Client, group: &str) -> Result<Broker, ClientError> {
    let ask = || async {
        let found = client.look_up_coordinator(CoordinatorKind::Group, group).await;
        found.map_err(|error| client.failure(error, true))
    };
    client.retrying(ask).await
}

fn items<T: AsRef<str>>(groups: &[T]) -> Vec<(String, ())> {
    groups.iter().map(|group| (group.as_ref().to_owned(), ())).collect()
}

fn ids(groups: Vec<(String, ())>) -> Vec<GroupId> {
    groups.into_iter().map(|(group, ())| GroupId(StrBytes::from_string(group))).collect()
}
