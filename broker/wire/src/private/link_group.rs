//! LinkGroup: what a link asks of a group. One JSON document in a BYTES field, both ways: rare, small, additive
//! (unknown fields are ignored, new ones have defaults).

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::PrivateError;

/// One operation on one group by one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGroupRequest {
    /// The link's name.
    pub link: String,
    /// The group id.
    pub group: String,
    /// What to do.
    pub op: GroupOp,
}

/// What to do with a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum GroupOp {
    /// The group belongs to this link; its route is `source` if it had none. No-op if it is this link's already,
    /// LINK_CONFLICT if it is another's.
    Declare,
    /// Replaces committed offsets, removes none. Only while the route is not `target`.
    Sync {
        /// The positions, in the target's offsets.
        offsets: Vec<GroupOffset>,
    },
    /// One conditional operation: offsets, route and attempt in one batch of `__consumer_offsets`. Repeating an
    /// attempt (same number, same `to`) is a no-op answered with the state; a lower attempt, or another `from`,
    /// is ROUTE_CONFLICT.
    Route {
        /// Number of the attempt, counted up by the link.
        attempt: u64,
        /// The route that the group must have.
        from: Route,
        /// The route that it gets.
        to: Route,
        /// The positions that it gets, in the target's offsets.
        offsets: Vec<GroupOffset>,
    },
    /// Drops the route: the group becomes an ordinary one and keeps its offsets.
    Forget,
    /// Changes nothing and answers the state.
    Describe,
}

/// On which side a group consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// On the source: early members are held here.
    Source,
    /// On neither: fenced at the source, not yet switched.
    Draining,
    /// On the target.
    Target,
}

/// A committed position: the next record to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffset {
    /// Topic name.
    pub topic: String,
    /// Partition index.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// −1: epochs belong to one side.
    #[serde(default = "no_epoch")]
    pub leader_epoch: i32,
    /// The commit's metadata string.
    #[serde(default)]
    pub metadata: Option<String>,
}

fn no_epoch() -> i32 {
    -1
}

/// The answer: an error, or the state after the operation (also with an error, where that helps).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGroupResponse {
    /// Why it was refused.
    #[serde(default)]
    pub error: Option<LinkGroupError>,
    /// The group now.
    #[serde(default)]
    pub state: Option<LinkGroupState>,
}

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGroupError {
    /// A Kafka error code or one of [`super::code`].
    pub code: i16,
    /// What failed and what to do.
    pub message: String,
}

/// A group as its coordinator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGroupState {
    /// The group id.
    pub group: String,
    /// The link it belongs to.
    #[serde(default)]
    pub link: Option<String>,
    /// Its route; `None` for an ordinary group.
    #[serde(default)]
    pub route: Option<Route>,
    /// The last attempt that changed the route; 0 before the first.
    #[serde(default)]
    pub attempt: u64,
    /// The classic protocol's state name (`Empty`, `Stable`, …).
    #[serde(default)]
    pub classic_state: String,
    /// The generation.
    #[serde(default)]
    pub generation: i32,
    /// Its members, held ones included.
    #[serde(default)]
    pub members: Vec<LinkGroupMember>,
    /// Distinct client connections whose OffsetFetch was held in the last 30 s: consumers that `assign()`.
    #[serde(default)]
    pub held_fetchers: u32,
    /// Committed positions.
    #[serde(default)]
    pub offsets: Vec<GroupOffset>,
    /// When each of `offsets` was committed, in ms since the epoch: same length, same order.
    #[serde(default)]
    pub commit_times_ms: Vec<i64>,
    /// The coordinator's clock when it answered, in ms since the epoch; 0: it does not say.
    #[serde(default)]
    pub now_ms: i64,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGroupMember {
    /// The member id.
    pub member_id: String,
    /// The static instance id.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// The client id.
    #[serde(default)]
    pub client_id: String,
    /// Where it connects from.
    #[serde(default)]
    pub client_host: String,
    /// Whether its join is parked until the route is `target`.
    #[serde(default)]
    pub held: bool,
    /// Since when it is in this state, in ms since the epoch.
    #[serde(default)]
    pub since_ms: i64,
}

impl LinkGroupRequest {
    /// The body without a header.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a body without a header.
    pub fn decode(body: &[u8]) -> Result<LinkGroupRequest, PrivateError> {
        decode("LinkGroupRequest", body)
    }
}

impl LinkGroupResponse {
    /// The body without a header.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a body without a header.
    pub fn decode(body: &[u8]) -> Result<LinkGroupResponse, PrivateError> {
        decode("LinkGroupResponse", body)
    }
}

fn encode(message: &impl Serialize) -> Bytes {
    // Can't fail: no maps with odd keys, no fallible Serialize impl in these types, and memory is the writer.
    let json = serde_json::to_vec(message).unwrap_or_default();
    let mut out = BytesMut::with_capacity(4 + json.len());
    out.put_u32(json.len() as u32);
    out.put_slice(&json);
    out.freeze()
}

fn decode<T: DeserializeOwned>(api: &'static str, body: &[u8]) -> Result<T, PrivateError> {
    let malformed =
        |position, reason: &str| PrivateError::Malformed { api, position, reason: reason.to_owned() };
    let Some((size, json)) = body.split_first_chunk::<4>() else {
        return Err(malformed(0, "it has no size"));
    };
    if u32::from_be_bytes(*size) as usize != json.len() {
        return Err(malformed(0, "its size is not that of the document"));
    }
    serde_json::from_slice(json).map_err(|error| malformed(4 + error.column(), &error.to_string()))
}
