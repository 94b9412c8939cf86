//! Towpath's own APIs over Kafka's framing: mirror appends and the route of groups.
//!
//! Both use request header v1 and response header v0 and non-flexible primitives, version 0. Owns only their
//! encoding; the broker's `mirror` and `group` rooms decide what they mean.

mod link_group;
mod mirror_append;

pub use link_group::{
    GroupOffset, GroupOp, LinkGroupError, LinkGroupMember, LinkGroupRequest, LinkGroupResponse,
    LinkGroupState, Route,
};
pub use mirror_append::{
    MirrorAppendPartition, MirrorAppendPartitionResponse, MirrorAppendRequest, MirrorAppendResponse,
    MirrorAppendTopic, MirrorAppendTopicResponse,
};

use crate::Fault;

/// API key of [`MirrorAppendRequest`]. Kafka's own keys are far below and count up slowly.
pub const MIRROR_APPEND: i16 = 30001;
/// API key of [`LinkGroupRequest`].
pub const LINK_GROUP: i16 = 30002;

/// Error codes beyond Kafka's own, in these APIs only.
pub mod code {
    /// The topic is not a mirror topic of this link.
    pub const NOT_MIRROR_TOPIC: i16 = 1001;
    /// The source's cluster id or topic id is not the one that the mirror topic was made for.
    pub const MIRROR_IDENTITY_CHANGED: i16 = 1002;
    /// The batches would go back behind the mirror's end.
    pub const MIRROR_OFFSET_BACKWARD: i16 = 1003;
    /// A replay has other content at the same offsets. The partition is halted.
    pub const MIRROR_MISMATCH: i16 = 1004;
    /// The partition was halted earlier and needs a person.
    pub const MIRROR_HALTED: i16 = 1005;
    /// The group's route or attempt is not what the request expects.
    pub const ROUTE_CONFLICT: i16 = 1006;
    /// The group or topic belongs to another link.
    pub const LINK_CONFLICT: i16 = 1007;
    /// The source uses a producer id of the target's own range (2^62 and above).
    pub const PRODUCER_ID_RESERVED: i16 = 1008;
    /// A stretch before this one never arrived: the batches would leave a hole behind the mirror's end.
    pub const MIRROR_GAP: i16 = 1009;
}

/// A private request or response that does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateError {
    /// The bytes do not have the shape of the message.
    #[error("{api} is malformed at byte {position}: {reason}; fix: run the same version on both ends")]
    Malformed {
        /// Which message.
        api: &'static str,
        /// Offset in the body.
        position: usize,
        /// What is wrong.
        reason: String,
    },
}

impl PrivateError {
    /// Whose fault it is: the peer's.
    pub fn kind(&self) -> Fault {
        Fault::Caller
    }
}

#[cfg(test)]
mod tests;
