//! The persistent entry kinds, one file each, and what applying them means.
//!
//! An entry is judged twice. [`Entry::validate`] looks at the entry alone, when it is proposed: what a later
//! version may judge differently (config values, names) belongs there. [`super::Image::apply`] looks at the
//! image, at replay: only rules that every version shares for ever belong there, or two versions would replay
//! one log to two images.

mod broker_registered;
mod cluster_created;
pub(super) mod codec;
mod compaction_advanced;
mod configs_altered;
mod leader_epoch_raised;
mod log_start_advanced;
mod object_barred;
mod object_deleted;
mod partitions_added;
mod producer_ids_taken;
mod segment_committed;
mod segments_merged;
mod topic_created;
mod topic_deleted;
mod wal_bound;
mod wal_sealed;

pub use broker_registered::BrokerRegistered;
pub use cluster_created::ClusterCreated;
pub use compaction_advanced::CompactionAdvanced;
pub use configs_altered::{ConfigResource, ConfigsAltered};
pub use leader_epoch_raised::LeaderEpochRaised;
pub use log_start_advanced::LogStartAdvanced;
pub use object_barred::ObjectBarred;
pub use object_deleted::ObjectDeleted;
pub use partitions_added::PartitionsAdded;
pub use producer_ids_taken::ProducerIdsTaken;
pub use segment_committed::{SegmentCommitted, WalTrim};
pub use segments_merged::SegmentsMerged;
pub use topic_created::TopicCreated;
pub use topic_deleted::TopicDeleted;
pub use wal_bound::WalBound;
pub use wal_sealed::WalSealed;

use thiserror::Error;
use uuid::Uuid;

use super::config::InvalidConfig;
use super::image::Image;
use super::segments::ObjectId;
use super::topic_name::InvalidTopicName;

/// One change of the metadata.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // each variant is its file
pub enum Entry {
    ClusterCreated(ClusterCreated),
    TopicCreated(TopicCreated),
    TopicDeleted(TopicDeleted),
    PartitionsAdded(PartitionsAdded),
    ConfigsAltered(ConfigsAltered),
    SegmentCommitted(SegmentCommitted),
    SegmentsMerged(SegmentsMerged),
    LogStartAdvanced(LogStartAdvanced),
    LeaderEpochRaised(LeaderEpochRaised),
    BrokerRegistered(BrokerRegistered),
    ProducerIdsTaken(ProducerIdsTaken),
    WalBound(WalBound),
    ObjectBarred(ObjectBarred),
    ObjectDeleted(ObjectDeleted),
    WalSealed(WalSealed),
    CompactionAdvanced(CompactionAdvanced),
}

impl Entry {
    /// What can be judged without an image. Called when an entry is proposed, never at replay.
    pub fn validate(&self) -> Result<(), Rejection> {
        match self {
            Entry::TopicCreated(entry) => entry.validate(),
            Entry::PartitionsAdded(entry) => entry.validate(),
            Entry::ConfigsAltered(entry) => entry.validate(),
            _ => Ok(()),
        }
    }

    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        match self {
            Entry::ClusterCreated(entry) => entry.apply(image),
            Entry::TopicCreated(entry) => entry.apply(image),
            Entry::TopicDeleted(entry) => entry.apply(image),
            Entry::PartitionsAdded(entry) => entry.apply(image),
            Entry::ConfigsAltered(entry) => entry.apply(image),
            Entry::SegmentCommitted(entry) => entry.apply(image),
            Entry::SegmentsMerged(entry) => entry.apply(image),
            Entry::LogStartAdvanced(entry) => entry.apply(image),
            Entry::LeaderEpochRaised(entry) => entry.apply(image),
            Entry::BrokerRegistered(entry) => entry.apply(image),
            Entry::ProducerIdsTaken(entry) => entry.apply(image),
            Entry::WalBound(entry) => entry.apply(image),
            Entry::ObjectBarred(entry) => entry.apply(image),
            Entry::ObjectDeleted(entry) => entry.apply(image),
            Entry::WalSealed(entry) => entry.apply(image),
            Entry::CompactionAdvanced(entry) => entry.apply(image),
        }
    }
}

impl From<ClusterCreated> for Entry {
    fn from(entry: ClusterCreated) -> Entry {
        Entry::ClusterCreated(entry)
    }
}

impl From<TopicCreated> for Entry {
    fn from(entry: TopicCreated) -> Entry {
        Entry::TopicCreated(entry)
    }
}

impl From<TopicDeleted> for Entry {
    fn from(entry: TopicDeleted) -> Entry {
        Entry::TopicDeleted(entry)
    }
}

impl From<PartitionsAdded> for Entry {
    fn from(entry: PartitionsAdded) -> Entry {
        Entry::PartitionsAdded(entry)
    }
}

impl From<ConfigsAltered> for Entry {
    fn from(entry: ConfigsAltered) -> Entry {
        Entry::ConfigsAltered(entry)
    }
}

impl From<SegmentCommitted> for Entry {
    fn from(entry: SegmentCommitted) -> Entry {
        Entry::SegmentCommitted(entry)
    }
}

impl From<SegmentsMerged> for Entry {
    fn from(entry: SegmentsMerged) -> Entry {
        Entry::SegmentsMerged(entry)
    }
}

impl From<LogStartAdvanced> for Entry {
    fn from(entry: LogStartAdvanced) -> Entry {
        Entry::LogStartAdvanced(entry)
    }
}

impl From<LeaderEpochRaised> for Entry {
    fn from(entry: LeaderEpochRaised) -> Entry {
        Entry::LeaderEpochRaised(entry)
    }
}

impl From<BrokerRegistered> for Entry {
    fn from(entry: BrokerRegistered) -> Entry {
        Entry::BrokerRegistered(entry)
    }
}

impl From<ProducerIdsTaken> for Entry {
    fn from(entry: ProducerIdsTaken) -> Entry {
        Entry::ProducerIdsTaken(entry)
    }
}

impl From<WalBound> for Entry {
    fn from(entry: WalBound) -> Entry {
        Entry::WalBound(entry)
    }
}

impl From<ObjectBarred> for Entry {
    fn from(entry: ObjectBarred) -> Entry {
        Entry::ObjectBarred(entry)
    }
}

impl From<ObjectDeleted> for Entry {
    fn from(entry: ObjectDeleted) -> Entry {
        Entry::ObjectDeleted(entry)
    }
}

impl From<WalSealed> for Entry {
    fn from(entry: WalSealed) -> Entry {
        Entry::WalSealed(entry)
    }
}

impl From<CompactionAdvanced> for Entry {
    fn from(entry: CompactionAdvanced) -> Entry {
        Entry::CompactionAdvanced(entry)
    }
}

/// Why an entry takes no effect: the rule it broke.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The cluster has its id already.
    #[error("the cluster already exists as {0}")]
    ClusterExists(String),
    /// The store belongs to another broker.
    #[error(
        "the store belongs to broker {node_id}, last at {address}, and takes no second one; fix: start with \
         node_id {node_id}, or name another --store"
    )]
    NotAlone {
        /// The broker that is registered.
        node_id: i32,
        /// Where it said it is.
        address: String,
    },
    /// A topic of this name exists.
    #[error("topic '{0}' already exists")]
    TopicExists(String),
    /// A topic of this id exists.
    #[error("topic id {0} is already taken by topic '{1}'")]
    TopicIdTaken(Uuid, String),
    /// The name would share its metric name with another topic's.
    #[error("topic '{name}' collides with existing topic '{other}': '.' and '_' are one in metric names")]
    TopicCollides {
        /// The name refused.
        name: String,
        /// The topic that exists.
        other: String,
    },
    /// No topic has this id.
    #[error("no topic has the id {0}; it may have been deleted")]
    UnknownTopic(Uuid),
    /// No topic has this name.
    #[error("no topic is named '{0}'; it may have been deleted")]
    UnknownTopicName(String),
    /// The topic has fewer partitions.
    #[error("topic {topic_id} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic_id: Uuid,
        /// The index asked for.
        partition: i32,
    },
    /// The name is not allowed.
    #[error(transparent)]
    TopicName(#[from] InvalidTopicName),
    /// A config is unknown, read-only or has a bad value.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// Partition counts only grow, from 1 to [`PARTITIONS_MAX`].
    #[error("topic '{topic}' cannot have {asked} partitions: it has {held}, and the count goes up only, to {max}", max = PARTITIONS_MAX)]
    PartitionCount {
        /// The topic.
        topic: String,
        /// The count asked for.
        asked: i32,
        /// The count it has.
        held: i32,
    },
    /// The log start only moves forward.
    #[error("log start of {topic_id}-{partition} is {held} and does not go back to {asked}")]
    LogStartBackward {
        /// The topic.
        topic_id: Uuid,
        /// The partition.
        partition: i32,
        /// The log start it has.
        held: i64,
        /// The log start asked for.
        asked: i64,
    },
    /// The boundary of compaction only moves forward.
    #[error("{topic_id}-{partition} is compacted to {held} and does not go back to {asked}")]
    CompactionBackward {
        /// The topic.
        topic_id: Uuid,
        /// The partition.
        partition: i32,
        /// The boundary it has.
        held: i64,
        /// The boundary asked for.
        asked: i64,
    },
    /// Leader epochs only rise, and so do their start offsets.
    #[error("leader epoch of {topic_id}-{partition} is {held} and does not change to {asked} at this offset")]
    LeaderEpochBackward {
        /// The topic.
        topic_id: Uuid,
        /// The partition.
        partition: i32,
        /// The epoch it has.
        held: i32,
        /// The epoch asked for.
        asked: i32,
    },
    /// A committed range would overlap, or lie before, what is committed.
    #[error(
        "{topic_id}-{partition}: offsets from {base_offset} of object {object} are committed already, up to {end}"
    )]
    RangeOverlaps {
        /// The topic.
        topic_id: Uuid,
        /// The partition.
        partition: i32,
        /// The range's first offset.
        base_offset: i64,
        /// The partition's committed end (exclusive).
        end: i64,
        /// The object refused.
        object: ObjectId,
    },
    /// The object was barred before it was committed.
    #[error("object {0} was barred for deletion before this commit; write its data under a new id")]
    ObjectBarred(ObjectId),
    /// The object was begun so long ago that it may have been deleted as an orphan meanwhile.
    #[error(
        "object {object} was begun at entry {born}, and only those begun at {floor} or later can be committed; write its data under a new id"
    )]
    ObjectLate {
        /// The object refused.
        object: ObjectId,
        /// How many slots were applied when it was begun.
        born: u64,
        /// The floor.
        floor: u64,
    },
    /// The object is committed already.
    #[error("object {0} is committed already")]
    ObjectExists(ObjectId),
    /// Ranges of the index still point to the object.
    #[error("object {object} still holds {live_ranges} live ranges; merge or expire them first")]
    ObjectInUse {
        /// The object.
        object: ObjectId,
        /// How many.
        live_ranges: u32,
    },
    /// Deleting comes after barring.
    #[error("object {0} is not barred; bar it, wait out the grace, then delete it")]
    ObjectNotBarred(ObjectId),
    /// The WAL boundary only moves forward.
    #[error("the WAL of broker {node_id} is trimmed to {held} and does not go back to {asked}")]
    WalBackward {
        /// The broker.
        node_id: i32,
        /// The boundary it has.
        held: u64,
        /// The boundary asked for.
        asked: u64,
    },
    /// Another broker came up under the same id.
    #[error(
        "broker {node_id} was registered again, under epoch {held} at {address}: what is still written under epoch {asked} takes no effect"
    )]
    Fenced {
        /// The broker.
        node_id: i32,
        /// The newest registration.
        held: i64,
        /// Where the newer broker is.
        address: String,
        /// The registration that the entry came from.
        asked: i64,
    },
    /// The broker has no WAL yet.
    #[error("broker {0} has no WAL yet; bind one first")]
    NoWal(i32),
    /// The store belongs to another WAL.
    #[error(
        "this store belongs to the WAL {bound} of broker {node_id}, not to {offered}: start with the data folder that holds it, or accept the loss of what it alone holds"
    )]
    OtherWalBound {
        /// The broker.
        node_id: i32,
        /// The WAL that the store names.
        bound: Uuid,
        /// The WAL that the broker came up with.
        offered: Uuid,
    },
    /// Somebody else took these producer ids first.
    #[error("the next producer id is {next}, not {from}; take a block from there")]
    ProducerIdsGone {
        /// The id asked from.
        from: i64,
        /// The next free id.
        next: i64,
    },
    /// No range of a merge matched: everything it would replace is gone.
    #[error("nothing of what object {0} replaces is there any more; drop it")]
    NothingToReplace(ObjectId),
}

/// Most partitions of one topic.
pub const PARTITIONS_MAX: i32 = 10_000;
