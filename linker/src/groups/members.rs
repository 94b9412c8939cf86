//! Who is in a group, and putting them out of it.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{GroupId, LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::StrBytes;
use towpath_wire::client::admin::{GroupMember, GroupType, describe_groups, leave_group};
use towpath_wire::client::{Client, ClientError, Connection, Pending};

use crate::error::{LinkerError, Side};

/// Why evicted members leave, as the coordinator's log says it (KIP-800).
const EVICTION_REASON: &str = "moved to another cluster by towpath";

/// A group of a cluster as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The coordinator's word: `Stable`, `Empty`, `Dead` for a group that does not exist, …
    pub state: String,
    /// `consumer`, `connect`, …; the fence's own while it stands.
    pub protocol_type: String,
    /// Which protocol the members speak.
    pub group_type: GroupType,
    /// Everybody but the fence member.
    pub live: Vec<GroupMember>,
    /// Members that carry the fence's instance id: one, or none.
    pub fence: Option<GroupMember>,
}

impl Members {
    /// The topics that the members subscribe to.
    pub fn topics(&self) -> BTreeSet<String> {
        self.live.iter().flat_map(|member| member.subscribed.iter().cloned()).collect()
    }

    /// Members that do not say what they read: another protocol type, or a rebalance under way.
    pub fn unreadable(&self) -> Vec<String> {
        let silent = self.live.iter().filter(|member| member.subscribed.is_empty());
        silent.map(|member| member.client_id.clone()).collect()
    }

    /// Whether a rebalance is under way, so that subscriptions are not to be seen for a moment.
    pub fn is_rebalancing(&self) -> bool {
        matches!(self.state.as_str(), "PreparingRebalance" | "CompletingRebalance")
    }
}

/// Looks at `group` on `side`. A group that does not exist has no members.
///
/// # Errors
/// The coordinator cannot be asked, or refuses.
pub async fn look(
    client: &Client,
    side: Side,
    group: &str,
    fence_instance_id: &str,
) -> Result<Members, LinkerError> {
    let failed = |error| LinkerError::cluster(side, format!("describe group {group}"))(error);
    let mut described = describe_groups(client, &[group]).await.map_err(failed)?;
    let found = match described.remove(group) {
        Some(Ok(found)) => found,
        Some(Err(error)) if error.code() != Some(ResponseError::GroupIdNotFound) => {
            return Err(failed(error));
        }
        Some(Err(_)) | None => {
            return Ok(Members {
                state: "Dead".into(),
                protocol_type: String::new(),
                group_type: GroupType::Classic,
                live: Vec::new(),
                fence: None,
            });
        }
    };
    let is_fence = |member: &GroupMember| member.instance_id.as_deref() == Some(fence_instance_id);
    let (fence, live): (Vec<_>, Vec<_>) = found.members.into_iter().partition(is_fence);
    Ok(Members {
        state: found.state,
        protocol_type: found.protocol_type,
        group_type: found.group_type,
        live,
        fence: fence.into_iter().next(),
    })
}

/// Begins to put members out of `group`, by member id (LeaveGroup version 3 and later).
///
/// # Errors
/// The request was not sent.
pub async fn begin_leave(
    connection: &Connection,
    group: &str,
    evicted: &[GroupMember],
) -> Result<Pending<LeaveGroupRequest>, ClientError> {
    let text = |value: &str| StrBytes::from_string(value.to_owned());
    let members = evicted.iter().map(|member| {
        MemberIdentity::default()
            .with_member_id(text(&member.member_id))
            .with_reason(Some(StrBytes::from_static_str(EVICTION_REASON)))
    });
    let request =
        LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_members(members.collect());
    let version = connection.version::<LeaveGroupRequest>()?;
    connection.begin(&request, version).await
}

/// The answer to [`begin_leave`]. One that is gone already is out; a lost answer says nothing, and whoever is still
/// there is seen in the next look.
///
/// # Errors
/// The coordinator refuses.
pub fn read_leave(group: &str, answer: Result<LeaveGroupResponse, ClientError>) -> Result<(), LinkerError> {
    let Ok(answer) = answer else { return Ok(()) };
    let codes = answer.members.iter().map(|member| member.error_code).chain([answer.error_code]);
    let refused = codes
        .filter_map(ResponseError::try_from_code)
        .find(|code| !is_gone(Some(*code)) && !code.is_retriable());
    match refused {
        None => Ok(()),
        Some(code) => {
            let subject = format!("group {group}");
            let error = ClientError::Kafka { api: "LeaveGroup", subject, code, message: None };
            Err(LinkerError::cluster(Side::Source, format!("evict members of group {group}"))(error))
        }
    }
}

/// Members leave `group`, each by its id. One that is gone already has left.
///
/// # Errors
/// The coordinator cannot be asked, or refuses one of them.
pub async fn leave(client: &Client, group: &str, ids: &[&str], reason: &str) -> Result<(), LinkerError> {
    if ids.is_empty() {
        return Ok(());
    }
    let failed = |error| LinkerError::cluster(Side::Source, format!("members leave group {group}"))(error);
    let outcomes = match leave_group(client, group, ids, reason).await {
        Ok(outcomes) => outcomes,
        // The answer was lost: whoever is still there is put out in the caller's next round.
        Err(error) if error.is_outcome_unknown() => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for outcome in outcomes.into_values() {
        match outcome {
            Err(error) if !is_gone(error.code()) => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

/// The coordinator no longer knows the member, or the group.
fn is_gone(code: Option<ResponseError>) -> bool {
    use ResponseError as E;
    matches!(code, Some(E::UnknownMemberId | E::FencedInstanceId | E::GroupIdNotFound))
}
