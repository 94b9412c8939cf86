//! The fence member: a static member of the source group that keeps everybody else from consuming and committing
//! (DESIGN §8, step 2).
//!
//! Its protocol type is its own, so Apache Kafka refuses every other JoinGroup (`INCONSISTENT_GROUP_PROTOCOL`) and
//! every commit from elsewhere (`UNKNOWN_MEMBER_ID`). It counts only after SyncGroup and a heartbeat: only then
//! has the coordinator persisted it. A join that the coordinator still holds (`group.initial.rebalance.delay.ms`, the
//! first one of an empty group) keeps everybody out too, but ends with the coordinator: nothing may rest on it.

mod renewal;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_plans::transition::FenceHold;
use towpath_wire::client::admin::GroupMember;
use towpath_wire::client::{Client, ClientError, Connection, To};

use super::members;
use crate::error::{LinkerError, Side};

/// Protocol type and protocol name of the fence member.
pub const PROTOCOL: &str = "towpath-fence";
/// First version with static membership (KIP-345), last one that answers the whole membership at once.
const JOIN_VERSION: i16 = 5;
/// First version of SyncGroup with static membership.
const SYNC_VERSION: i16 = 3;
/// Session time-outs to ask for, longest first: how long the fence outlives a linker that is dead. Clusters bound
/// it by `group.max.session.timeout.ms`, 30 minutes unless somebody set it lower.
const SESSIONS_MS: [i32; 8] = [1_800_000, 900_000, 600_000, 300_000, 60_000, 30_000, 10_000, 6_000];
/// How long a coordinator may hold the join: `group.initial.rebalance.delay.ms` and some air.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// The fence of one group.
pub struct Fence {
    client: Client,
    env: Env,
    group: String,
    instance_id: String,
    /// Which of [`SESSIONS_MS`] the cluster allows.
    session: AtomicUsize,
    connection: Mutex<Option<Arc<Connection>>>,
    /// The member id that the coordinator gave last to a join of this process, journaled or not.
    taken: Mutex<Option<String>>,
    /// The membership that was renewed last, with its generation of now.
    renewed: Mutex<Option<FenceHold>>,
    renewing: tokio::sync::Mutex<()>,
}

/// What a try to join led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The fence stands, confirmed by a heartbeat.
    Holds(FenceHold),
    /// Somebody else is in the group: look who, then try again.
    Occupied,
    /// The coordinator wants another try: it moved, or began a new generation meanwhile.
    Again,
}

/// What the coordinator says of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It stands as it was given.
    Stands,
    /// The coordinator no longer knows it, in its words.
    Gone(String),
}

impl Fence {
    /// The fence of `group`; the static member carries `instance_id`.
    pub fn new(client: Client, env: Env, group: &str, instance_id: String) -> Fence {
        Fence {
            client,
            env,
            group: group.into(),
            instance_id,
            session: AtomicUsize::new(0),
            connection: Mutex::default(),
            taken: Mutex::default(),
            renewed: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// The fence member's instance id.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// How long the fence outlives this service, at most: the longest session that the cluster was seen to allow.
    pub fn session(&self) -> Duration {
        Duration::from_millis(u64::from(SESSIONS_MS[self.session.load(Ordering::Relaxed)].unsigned_abs()))
    }

    /// Puts `evicted` out of the group and at once tries to join as the fence member: both requests go out together
    /// on one connection, whose order the coordinator keeps, so that nobody comes back in between but by luck. A
    /// fence with the same instance id is taken over.
    ///
    /// # Errors
    /// The coordinator cannot be asked, or refuses for a reason that no other try mends.
    pub async fn join(&self, evicted: &[GroupMember]) -> Result<Joined, LinkerError> {
        let to = To::Coordinator(self.group.clone());
        let connection = match self.connection(&to).await {
            Ok(connection) => connection,
            Err(error) => return self.interrupted("reach its coordinator", error),
        };
        let left = match evicted {
            [] => None,
            evicted => Some(members::begin_leave(&connection, &self.group, evicted).await),
        };
        let answer = match self.ask_to_join(&connection, "").await {
            Ok(answer) => answer,
            // A join whose answer was lost is taken over by the next one: same instance id.
            Err(error) => return self.interrupted("join", error),
        };
        match left {
            Some(Ok(left)) => members::read_leave(&self.group, left.wait().await)?,
            Some(Err(error)) => return self.interrupted("put members out", error),
            None => {}
        }
        if let Some(code) = ResponseError::try_from_code(answer.error_code) {
            if code.is_retriable() {
                self.drop_connection(&to);
            }
            return self.refused_to_join(code);
        }
        *self.taken.lock() = Some(answer.member_id.to_string());
        let hold = FenceHold {
            member_id: answer.member_id.to_string(),
            instance_id: self.instance_id.clone(),
            generation: answer.generation_id,
            since_ms: self.env.now_ms(),
        };
        if let Some(code) = self.sync(&connection, &hold).await? {
            use ResponseError as E;
            return match code {
                E::RebalanceInProgress | E::UnknownMemberId | E::IllegalGeneration | E::FencedInstanceId => {
                    Ok(Joined::Again)
                }
                code if code.is_retriable() => Ok(Joined::Again),
                code => Err(self.failed("complete its join", self.kafka("SyncGroup", code))),
            };
        }
        match self.heartbeat(&hold).await? {
            Membership::Stands => Ok(Joined::Holds(FenceHold { since_ms: self.env.now_ms(), ..hold })),
            Membership::Gone(_) => Ok(Joined::Again),
        }
    }

    /// A connection of the fence's own: the coordinator holds a JoinGroup, and whatever comes behind it.
    async fn connection(&self, to: &To) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.connection.lock().clone().filter(|open| open.is_usable()) {
            return Ok(connection);
        }
        let connection = self.client.connection(to.clone()).await?;
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }

    fn drop_connection(&self, to: &To) {
        *self.connection.lock() = None;
        self.client.forget_route(to);
    }

    fn interrupted(&self, what: &str, error: ClientError) -> Result<Joined, LinkerError> {
        self.drop_connection(&To::Coordinator(self.group.clone()));
        match error.is_retriable() || error.is_outcome_unknown() {
            true => Ok(Joined::Again),
            false => Err(self.failed(what, error)),
        }
    }

    /// With the member id of a membership that goes on, or without one.
    async fn ask_to_join(
        &self,
        connection: &Connection,
        member_id: &str,
    ) -> Result<JoinGroupResponse, ClientError> {
        let session_ms = SESSIONS_MS[self.session.load(Ordering::Relaxed)];
        let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str(PROTOCOL));
        let request = JoinGroupRequest::default()
            .with_group_id(self.id())
            .with_member_id(text(member_id))
            .with_session_timeout_ms(session_ms)
            .with_rebalance_timeout_ms(JOIN_MAX.as_millis() as i32)
            .with_group_instance_id(Some(text(&self.instance_id)))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL))
            .with_protocols(vec![protocol]);
        let mut given_up = GivenUp(Some(self));
        let answer = connection.begin(&request, JOIN_VERSION).await?.wait_within(JOIN_MAX).await;
        given_up.0 = None;
        answer
    }

    fn refused_to_join(&self, code: ResponseError) -> Result<Joined, LinkerError> {
        use ResponseError as E;
        match code {
            E::InconsistentGroupProtocol => Ok(Joined::Occupied),
            E::InvalidSessionTimeout => {
                let next = self.session.load(Ordering::Relaxed) + 1;
                if next == SESSIONS_MS.len() {
                    return Err(self.failed("join", self.kafka("JoinGroup", code)));
                }
                self.session.store(next, Ordering::Relaxed);
                Ok(Joined::Again)
            }
            E::UnknownMemberId | E::FencedInstanceId | E::RebalanceInProgress => Ok(Joined::Again),
            code if code.is_retriable() => Ok(Joined::Again),
            code => Err(self.failed("join", self.kafka("JoinGroup", code))),
        }
    }

    /// `Some`: the coordinator's error.
    async fn sync(
        &self,
        connection: &Connection,
        hold: &FenceHold,
    ) -> Result<Option<ResponseError>, LinkerError> {
        let own = SyncGroupRequestAssignment::default()
            .with_member_id(text(&hold.member_id))
            .with_assignment(Bytes::new());
        let request = SyncGroupRequest::default()
            .with_group_id(self.id())
            .with_generation_id(hold.generation)
            .with_member_id(text(&hold.member_id))
            .with_group_instance_id(Some(text(&hold.instance_id)))
            .with_assignments(vec![own]);
        let answer = connection.send_version(request, SYNC_VERSION).await;
        let answer = answer.map_err(|error| self.failed("complete its join", error))?;
        Ok(ResponseError::try_from_code(answer.error_code))
    }

    /// The fence member leaves: the given membership alone, or whoever carries the instance id where none is known.
    /// It is not joined for this. Answers another member that carries the instance id: a newer fence, or somebody
    /// else's; it stays.
    ///
    /// # Errors
    /// The coordinator cannot be asked, or refuses.
    pub async fn leave(
        &self,
        hold: Option<&FenceHold>,
        reason: &str,
    ) -> Result<Option<GroupMember>, LinkerError> {
        if let Some(hold) = hold {
            members::leave(&self.client, &self.group, &[&hold.member_id], reason).await?;
        }
        // A lost answer, or a fence that was set just before a crash and never journaled.
        while let Some(left) = self.look().await?.fence {
            if hold.is_some() && !self.is_own(hold, &left) {
                return Ok(Some(left));
            }
            members::leave(&self.client, &self.group, &[&left.member_id], reason).await?;
        }
        Ok(None)
    }

    /// The membership of a member that was looked at: enough to make just that one leave.
    pub fn seen(&self, member: &GroupMember) -> FenceHold {
        FenceHold {
            member_id: member.member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation: -1,
            since_ms: self.env.now_ms(),
        }
    }

    /// Whether a member that carries the instance id is the given membership, or one that this process was given.
    /// Kafka gives a new member id to each static member that joins: another one is another holder's.
    pub fn is_own(&self, hold: Option<&FenceHold>, member: &GroupMember) -> bool {
        hold.is_some_and(|hold| hold.member_id == member.member_id)
            || self.taken.lock().as_ref() == Some(&member.member_id)
    }

    /// The source group, the fence member apart from the others.
    ///
    /// # Errors
    /// The coordinator cannot be asked, or refuses.
    pub async fn look(&self) -> Result<members::Members, LinkerError> {
        members::look(&self.client, Side::Source, &self.group, &self.instance_id).await
    }

    fn kafka(&self, api: &'static str, code: ResponseError) -> ClientError {
        ClientError::Kafka { api, subject: format!("group {}", self.group), code, message: None }
    }

    fn failed(&self, what: &str, error: ClientError) -> LinkerError {
        let what = format!("the fence member of group {} cannot {what}", self.group);
        LinkerError::cluster(Side::Source, what)(error)
    }

    fn id(&self) -> GroupId {
        GroupId(text(&self.group))
    }
}

/// A join that nobody waits for any longer: the coordinator answers nothing else on its connection before it.
/// [`Fence::leave`], and the next join, find what it has led to.
struct GivenUp<'a>(Option<&'a Fence>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(fence) = self.0 {
            fence.drop_connection(&To::Coordinator(fence.group.clone()));
        }
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
