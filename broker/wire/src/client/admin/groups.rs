//! Consumer groups: list, describe, evict members, delete.

use bytes::Bytes;

use super::Each;
use crate::client::{Broker, Client, ClientError};

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

/// A group as its coordinator sees it (classic protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
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
    /// The member's subscription, in the protocol's own encoding.
    pub metadata: Bytes,
    /// The member's assignment, in the protocol's own encoding.
    pub assignment: Bytes,
}

/// All groups of all brokers.
///
/// # Errors
/// Any broker could not be asked: a listing with holes would read as groups that do not exist.
pub async fn list_groups(_client: &Client) -> Result<Vec<GroupListing>, ClientError> {
    unimplemented!("admin verb")
}

/// Each group as its coordinator sees it; one request per coordinator.
///
/// # Errors
/// No coordinator could be asked at all.
pub async fn describe_groups<T: AsRef<str>>(
    _client: &Client,
    _groups: &[T],
) -> Result<Each<String, GroupDescription>, ClientError> {
    unimplemented!("admin verb")
}

/// Deletes groups with their offsets.
///
/// # Errors
/// No coordinator could be asked at all; `NonEmptyGroup` per group.
pub async fn delete_groups<T: AsRef<str>>(
    _client: &Client,
    _groups: &[T],
) -> Result<Each<String, ()>, ClientError> {
    unimplemented!("admin verb")
}

/// Removes members by id (KIP-345, LeaveGroup version 3 and later); for each its outcome.
///
/// # Errors
/// The request as a whole failed; [`ClientError::OutcomeUnknown`] when they may be gone.
pub async fn leave_group<T: AsRef<str>>(
    _client: &Client,
    _group: &str,
    _member_ids: &[T],
    _reason: &str,
) -> Result<Each<String, ()>, ClientError> {
    unimplemented!("admin verb")
}

/// The broker that coordinates a group, asked for now.
///
/// # Errors
/// The look-up failed until the request time-out.
pub async fn find_coordinator(_client: &Client, _group: &str) -> Result<Broker, ClientError> {
    unimplemented!("admin verb")
}
