//! The records of `__consumer_offsets`, in Apache Kafka's own formats, plus one of ours.
//!
//! | key version | key | value |
//! | --- | --- | --- |
//! | 0, 1 | group, topic, partition | a committed offset (value versions 0 to 4) |
//! | 2 | group | the group's generation and members (value versions 0 to 4) |
//! | 30002 | group | its route (ours; Kafka's own readers skip key versions they don't know) |
//!
//! A record without value removes what its key names. We write value version 3, which every Apache Kafka since
//! 2.1 reads (version 1 for an offset with its own expiry), and read all of them.

mod codec;

use bytes::Bytes;
use towpath_wire::private::Route;

pub use codec::RecordError;
use codec::{Reader, Writer};

/// Key version of the route record. The number of the LinkGroup API, far from what Kafka uses.
const ROUTE_KEY_VERSION: i16 = 30_002;
const ROUTE_VALUE_VERSION: i16 = 0;
const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
/// The value version written for offsets and groups.
const VALUE_VERSION: i16 = 3;
/// The value version of an offset that carries its own expiry (OffsetCommit v2 to v4).
const EXPIRING_OFFSET_VERSION: i16 = 1;
/// The last value version known, and the first that is flexible.
const FLEXIBLE_VERSION: i16 = 4;

/// A key of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A committed offset.
    Offset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A group's generation and members.
    Group(String),
    /// A group's route.
    Route(String),
}

/// A committed offset as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    /// Next offset to read.
    pub offset: i64,
    /// Epoch of the record before it; −1 unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
    /// UTC ms of the commit.
    pub commit_ms: i64,
    /// UTC ms of its own expiry, if the client set one.
    pub expire_ms: Option<i64>,
}

/// A group as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// `consumer`, `connect`, ...; empty when it never had members.
    pub protocol_type: String,
    /// Its generation.
    pub generation: i32,
    /// The protocol of the generation.
    pub protocol: Option<String>,
    /// Member id of the leader.
    pub leader: Option<String>,
    /// UTC ms of the last change of state; −1 unknown.
    pub state_since_ms: i64,
    /// Its members, with their parts.
    pub members: Vec<MemberRecord>,
}

/// A member as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its id.
    pub member_id: String,
    /// `group.instance.id`, if any.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its rebalance timeout (ms).
    pub rebalance_timeout_ms: i32,
    /// Its session timeout (ms).
    pub session_timeout_ms: i32,
    /// Its metadata for the generation's protocol.
    pub subscription: Bytes,
    /// Its part of the assignment.
    pub assignment: Bytes,
}

/// A group's route as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRecord {
    /// The link that owns the group.
    pub link: String,
    /// Which side may consume.
    pub route: Route,
    /// Number of the last move; 0 before the first.
    pub attempt: u64,
    /// UTC ms of the last change.
    pub since_ms: i64,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A committed offset, or its removal.
    Offset(Key, Option<OffsetRecord>),
    /// A group, or its removal.
    Group(String, Option<GroupRecord>),
    /// A route, or its removal.
    Route(String, Option<RouteRecord>),
}

/// One record to be written: key, and value or removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Encoded key.
    pub key: Bytes,
    /// Encoded value; `None` removes.
    pub value: Option<Bytes>,
}

impl Record {
    /// A committed offset.
    pub fn offset(group: &str, topic: &str, partition: i32, value: Option<&OffsetRecord>) -> Record {
        let mut key = Writer::new(OFFSET_KEY_VERSION);
        key.string(group);
        key.string(topic);
        key.i32(partition);
        Record { key: key.finish(), value: value.map(encode_offset) }
    }

    /// A group's metadata.
    pub fn group(group: &str, value: Option<&GroupRecord>) -> Record {
        let mut key = Writer::new(GROUP_KEY_VERSION);
        key.string(group);
        Record { key: key.finish(), value: value.map(encode_group) }
    }

    /// A group's route.
    pub fn route(group: &str, value: Option<&RouteRecord>) -> Record {
        let mut key = Writer::new(ROUTE_KEY_VERSION);
        key.string(group);
        Record { key: key.finish(), value: value.map(encode_route) }
    }

    /// Reads a record; `None` when its key version belongs to something that is not ours to know.
    pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Entry>, RecordError> {
        let (version, mut reader) = Reader::new(key)?;
        match version {
            0 | OFFSET_KEY_VERSION => {
                let (group, topic) = (reader.string()?, reader.string()?);
                let key = Key::Offset { group, topic, partition: reader.i32()? };
                Ok(Some(Entry::Offset(key, value.map(decode_offset).transpose()?)))
            }
            GROUP_KEY_VERSION => {
                Ok(Some(Entry::Group(reader.string()?, value.map(decode_group).transpose()?)))
            }
            ROUTE_KEY_VERSION => {
                Ok(Some(Entry::Route(reader.string()?, value.map(decode_route).transpose()?)))
            }
            _ => Ok(None),
        }
    }

    /// Bytes of key and value.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

fn encode_offset(offset: &OffsetRecord) -> Bytes {
    let version = if offset.expire_ms.is_some() { EXPIRING_OFFSET_VERSION } else { VALUE_VERSION };
    let mut out = Writer::new(version);
    out.i64(offset.offset);
    if version == VALUE_VERSION {
        out.i32(offset.leader_epoch);
    }
    out.string(&offset.metadata);
    out.i64(offset.commit_ms);
    if let Some(expire_ms) = offset.expire_ms {
        out.i64(expire_ms);
    }
    out.finish()
}

fn decode_offset(value: &Bytes) -> Result<OffsetRecord, RecordError> {
    let (version, mut reader) = Reader::value(value, FLEXIBLE_VERSION)?;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = reader.string()?;
    let commit_ms = reader.i64()?;
    let expire_ms = if version == EXPIRING_OFFSET_VERSION { Some(reader.i64()?) } else { None };
    // Version 4 may carry the topic's id as a tagged field; the name in the key is what we go by.
    reader.tagged_fields()?;
    let expire_ms = expire_ms.filter(|expire_ms| *expire_ms >= 0);
    Ok(OffsetRecord { offset, leader_epoch, metadata, commit_ms, expire_ms })
}

fn encode_group(group: &GroupRecord) -> Bytes {
    let mut out = Writer::new(VALUE_VERSION);
    out.string(&group.protocol_type);
    out.i32(group.generation);
    out.nullable_string(group.protocol.as_deref());
    out.nullable_string(group.leader.as_deref());
    out.i64(group.state_since_ms);
    out.i32(group.members.len() as i32);
    for member in &group.members {
        out.string(&member.member_id);
        out.nullable_string(member.instance_id.as_deref());
        out.string(&member.client_id);
        out.string(&member.client_host);
        out.i32(member.rebalance_timeout_ms);
        out.i32(member.session_timeout_ms);
        out.bytes(&member.subscription);
        out.bytes(&member.assignment);
    }
    out.finish()
}

fn decode_group(value: &Bytes) -> Result<GroupRecord, RecordError> {
    let (version, mut reader) = Reader::value(value, FLEXIBLE_VERSION)?;
    let protocol_type = reader.string()?;
    let generation = reader.i32()?;
    let protocol = reader.nullable_string()?;
    let leader = reader.nullable_string()?;
    let state_since_ms = if version >= 2 { reader.i64()? } else { -1 };
    let count = reader.array()?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(decode_member(version, &mut reader)?);
    }
    reader.tagged_fields()?;
    Ok(GroupRecord { protocol_type, generation, protocol, leader, state_since_ms, members })
}

fn decode_member(version: i16, reader: &mut Reader) -> Result<MemberRecord, RecordError> {
    let member_id = reader.string()?;
    let instance_id = if version >= 3 { reader.nullable_string()? } else { None };
    let (client_id, client_host) = (reader.string()?, reader.string()?);
    let rebalance_timeout_ms = if version >= 1 { Some(reader.i32()?) } else { None };
    let session_timeout_ms = reader.i32()?;
    let (subscription, assignment) = (reader.bytes()?, reader.bytes()?);
    reader.tagged_fields()?;
    Ok(MemberRecord {
        member_id,
        instance_id,
        client_id,
        client_host,
        // Version 0 knows no rebalance timeout of its own.
        rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription,
        assignment,
    })
}

fn encode_route(route: &RouteRecord) -> Bytes {
    let mut out = Writer::new(ROUTE_VALUE_VERSION);
    out.string(&route.link);
    out.i16(match route.route {
        Route::Source => 0,
        Route::Draining => 1,
        Route::Target => 2,
    });
    out.i64(route.attempt as i64);
    out.i64(route.since_ms);
    out.finish()
}

fn decode_route(value: &Bytes) -> Result<RouteRecord, RecordError> {
    let (_, mut reader) = Reader::value(value, i16::MAX)?;
    let link = reader.string()?;
    let route = match reader.i16()? {
        0 => Route::Source,
        1 => Route::Draining,
        2 => Route::Target,
        other => return Err(RecordError::Route(other)),
    };
    Ok(RouteRecord { link, route, attempt: reader.i64()? as u64, since_ms: reader.i64()? })
}

#[cfg(test)]
mod tests;
