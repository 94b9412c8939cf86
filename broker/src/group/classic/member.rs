//! One member of a classic group.

use bytes::Bytes;

/// One protocol (for consumers: assignor) that a member supports, in its order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Name, for example `range` or `cooperative-sticky`.
    pub name: String,
    /// What the leader needs for the assignment; opaque to the coordinator.
    pub metadata: Bytes,
}

/// Identifies a request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A JoinGroup that waits for the next generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParkedJoin {
    pub token: Token,
    /// The latest moment to answer it while the group is held; `None`: the group is not held.
    pub answer_by_ms: Option<u64>,
}

/// One member, in memory. What survives a crash of it is [`crate::group::records::MemberRecord`].
#[derive(Clone, Debug)]
pub struct Member {
    /// The coordinator's name for it.
    pub id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from, as Kafka prints it.
    pub client_host: String,
    /// How long it may take to re-join (ms): `max.poll.interval.ms` of consumers.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent (ms).
    pub session_timeout_ms: i32,
    /// Supported protocols, in its order of preference.
    pub protocols: Vec<Protocol>,
    /// Its part of the current generation's assignment.
    pub assignment: Bytes,
    /// UTC ms of its first join, for the operator.
    pub since_ms: i64,
    /// Version of its last JoinGroup.
    pub(super) join_version: i16,
    /// Connection of its last JoinGroup: clients before v4 never learn a member id from an error.
    pub(super) connection_id: u64,
    /// It has not been part of a generation yet.
    pub(super) is_new: bool,
    /// It has sent SyncGroup in the current generation.
    pub(super) has_synced: bool,
    /// It is removed when it has not been heard of by then (monotonic ms).
    pub(super) session_deadline_ms: u64,
    pub(super) join: Option<ParkedJoin>,
    pub(super) sync: Option<Token>,
}

impl Member {
    /// The metadata of protocol `name`, empty when the member does not support it.
    pub fn metadata(&self, name: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|protocol| protocol.name == name)
            .map_or(Bytes::new(), |p| p.metadata.clone())
    }

    /// Whether its JoinGroup waits for an answer.
    pub fn is_joining(&self) -> bool {
        self.join.is_some()
    }

    pub(super) fn supports(&self, name: &str) -> bool {
        self.protocols.iter().any(|protocol| protocol.name == name)
    }

    /// Whether its silence counts. A member whose request is parked can't send heartbeats; only one that has
    /// never been in a generation may be dropped then, because nothing else would ever bound its wait.
    pub(super) fn may_expire(&self, held: bool) -> bool {
        match (self.is_new, self.join.is_some() || self.sync.is_some()) {
            (_, false) => true,
            (true, true) => !held,
            (false, true) => false,
        }
    }
}
