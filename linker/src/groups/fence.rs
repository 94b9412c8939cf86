//! The fence member: a static member of the source group that keeps everybody else from consuming and committing
//! (DESIGN §8, step 2).
//!
//! Its protocol type is its own, so Apache Kafka refuses every other JoinGroup (`INCONSISTENT_GROUP_PROTOCOL`) and
//! every commit from elsewhere (`UNKNOWN_MEMBER_ID`). It counts only after SyncGroup and a heartbeat: only then
//! has the coordinator persisted it.
//!
//! A rebalance that leaves it in its group is no lapse: while it is a member, nobody else can be. Kafka 4 begins one
//! when an evicted client that had asked for a new member id goes away. The fence then joins again with the member
//! id that it has, and goes on with the new generation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_plans::transition::FenceHold;
use towpath_wire::client::admin::{CommitAs, GroupMember, offset_commit};
use towpath_wire::client::{Client, ClientError, Connection, To};

use super::members;
use super::positions::Committed;
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

    /// Gives up a join that is under way; [`Fence::leave`] finds what it may have led to.
    pub fn give_up(&self) {
        self.drop_connection(&To::Coordinator(self.group.clone()));
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
        connection.begin(&request, JOIN_VERSION).await?.wait_within(JOIN_MAX).await
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

    /// Whether the coordinator still knows exactly this membership; keeps its session alive, and goes along with a
    /// rebalance.
    ///
    /// # Errors
    /// The coordinator cannot be asked.
    pub async fn heartbeat(&self, hold: &FenceHold) -> Result<Membership, LinkerError> {
        let generation = self.generation(hold);
        let request = HeartbeatRequest::default()
            .with_group_id(self.id())
            .with_generation_id(generation)
            .with_member_id(text(&hold.member_id))
            .with_group_instance_id(Some(text(&hold.instance_id)));
        let answer = self.client.send(To::Coordinator(self.group.clone()), request).await;
        let answer = answer.map_err(|error| self.failed("heartbeat", error))?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(Membership::Stands),
            Some(code) if is_another_generation(code) => self.renew(hold, generation).await,
            Some(code) => self.judge("Heartbeat", code),
        }
    }

    /// Commits as the fence member, with its own generation.
    ///
    /// # Errors
    /// The coordinator cannot be asked, or refuses a partition for another reason than the membership.
    pub async fn commit(&self, hold: &FenceHold, offsets: &Committed) -> Result<Membership, LinkerError> {
        if offsets.is_empty() {
            return self.heartbeat(hold).await;
        }
        let generation = self.generation(hold);
        let Some(code) = self.try_commit(hold, generation, offsets).await? else {
            return Ok(Membership::Stands);
        };
        if !is_another_generation(code) {
            return self.judge("OffsetCommit", code);
        }
        if let gone @ Membership::Gone(_) = self.renew(hold, generation).await? {
            return Ok(gone);
        }
        match self.try_commit(hold, self.generation(hold), offsets).await? {
            None => Ok(Membership::Stands),
            // Yet another rebalance: the next round commits.
            Some(code) => Err(self.failed("commit", self.kafka("OffsetCommit", code))),
        }
    }

    /// `Some`: what the coordinator says against the membership.
    async fn try_commit(
        &self,
        hold: &FenceHold,
        generation: i32,
        offsets: &Committed,
    ) -> Result<Option<ResponseError>, LinkerError> {
        let member = CommitAs::Member {
            generation,
            member_id: hold.member_id.clone(),
            instance_id: Some(hold.instance_id.clone()),
        };
        let outcomes = offset_commit(&self.client, &self.group, &member, offsets).await;
        let outcomes: BTreeMap<_, _> = outcomes.map_err(|error| self.failed("commit", error))?;
        for outcome in outcomes.into_values() {
            let Err(error) = outcome else { continue };
            match error.code().filter(|code| is_lost(*code)) {
                Some(code) => return Ok(Some(code)),
                None => return Err(self.failed("commit", error)),
            }
        }
        Ok(None)
    }

    /// The generation of a membership now: a renewal began a later one than the journal has.
    fn generation(&self, hold: &FenceHold) -> i32 {
        let renewed = self.renewed.lock();
        match renewed.as_ref().filter(|renewed| renewed.member_id == hold.member_id) {
            Some(renewed) => renewed.generation,
            None => hold.generation,
        }
    }

    /// Joins again with the member id of `hold`, which only a member that never left may do.
    async fn renew(&self, hold: &FenceHold, generation: i32) -> Result<Membership, LinkerError> {
        let _renewing = self.renewing.lock().await;
        if self.generation(hold) != generation {
            return Ok(Membership::Stands);
        }
        let to = To::Coordinator(self.group.clone());
        let failed = |error| self.failed("go along with a rebalance", error);
        let connection = self.connection(&to).await.map_err(failed)?;
        let answer = match self.ask_to_join(&connection, &hold.member_id).await {
            Ok(answer) => answer,
            Err(error) => {
                self.drop_connection(&to);
                return Err(failed(error));
            }
        };
        if let Some(code) = ResponseError::try_from_code(answer.error_code) {
            return match is_another_generation(code) {
                true => Err(failed(self.kafka("JoinGroup", code))),
                false => self.judge("JoinGroup", code),
            };
        }
        let renewed = FenceHold { generation: answer.generation_id, ..hold.clone() };
        if let Some(code) = self.sync(&connection, &renewed).await? {
            return match is_another_generation(code) {
                true => Err(failed(self.kafka("SyncGroup", code))),
                false => self.judge("SyncGroup", code),
            };
        }
        let generation = renewed.generation;
        tracing::info!(group = self.group, generation, "the fence went along with a rebalance");
        *self.renewed.lock() = Some(renewed);
        Ok(Membership::Stands)
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

    fn judge(&self, api: &'static str, code: ResponseError) -> Result<Membership, LinkerError> {
        if is_lost(code) {
            return Ok(Membership::Gone(towpath_wire::client::code_name(code)));
        }
        Err(self.failed("keep its membership", self.kafka(api, code)))
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

/// The membership may go on with another generation.
fn is_another_generation(code: ResponseError) -> bool {
    matches!(code, ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration)
}

/// The coordinator does not know this membership, or another generation has begun.
fn is_lost(code: ResponseError) -> bool {
    use ResponseError as E;
    matches!(
        code,
        E::UnknownMemberId
            | E::IllegalGeneration
            | E::FencedInstanceId
            | E::RebalanceInProgress
            | E::GroupIdNotFound
            | E::StaleMemberEpoch
            | E::FencedMemberEpoch
    )
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
