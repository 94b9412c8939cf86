//! What goes into the machine and what comes out of it.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::member::{Protocol, Token};

/// The time, as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic ms; deadlines are in it.
    pub mono_ms: u64,
    /// UTC ms; what is shown and stored is in it.
    pub wall_ms: i64,
}

/// One JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinInput {
    /// Request version: decides MEMBER_ID_REQUIRED (4) and skip_assignment (9).
    pub version: i16,
    /// The member id; empty at first.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// The client's address as Kafka prints it.
    pub client_host: String,
    /// Number of its connection.
    pub connection_id: u64,
    /// Session timeout (ms), already checked against the broker's bounds.
    pub session_timeout_ms: i32,
    /// Rebalance timeout (ms); the session timeout in version 0.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// The id that the member gets if it is new: made by the caller, because randomness is an effect.
    pub new_member_id: String,
}

/// One SyncGroup.
#[derive(Clone, Debug)]
pub struct SyncInput {
    /// The member id.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// The generation the member believes in.
    pub generation: i32,
    /// Version 5 names the protocol type it believes in.
    pub protocol_type: Option<String>,
    /// Version 5 names the protocol it believes in.
    pub protocol: Option<String>,
    /// From the leader: (member id, assignment).
    pub assignments: Vec<(String, Bytes)>,
}

/// One member in a LeaveGroup.
#[derive(Clone, Debug)]
pub struct LeaveInput {
    /// The member id; empty when a static member is named by its instance id.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
}

/// Answer to a JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinAnswer {
    /// `None`: joined.
    pub error: Option<ResponseError>,
    /// The generation joined; −1 on errors.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol the members voted for.
    pub protocol: Option<String>,
    /// Member id of the leader.
    pub leader: String,
    /// A static leader that came back must not compute a new assignment (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: String,
    /// For the leader: everybody.
    pub members: Vec<JoinedMember>,
}

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

impl JoinAnswer {
    /// A refusal.
    pub fn error(error: ResponseError, member_id: &str) -> JoinAnswer {
        JoinAnswer {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }
}

/// Answer to a SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncAnswer {
    /// `None`: assigned.
    pub error: Option<ResponseError>,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The group's protocol.
    pub protocol: Option<String>,
    /// The member's part.
    pub assignment: Bytes,
}

impl SyncAnswer {
    /// A refusal.
    pub fn error(error: ResponseError) -> SyncAnswer {
        SyncAnswer { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// What the machine wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the group's metadata as it stands; answers that follow may leave only once it is durable.
    Persist,
    /// Answer a JoinGroup.
    Join(Token, JoinAnswer),
    /// Answer a SyncGroup.
    Sync(Token, SyncAnswer),
}

/// The machine's wishes, collected during one call.
pub type Effects = Vec<Effect>;
