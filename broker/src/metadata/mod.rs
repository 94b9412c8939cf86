//! The cluster's metadata: topics, configs, segment commits, registrations, epochs.
//!
//! Owns the persistent entry kinds (one file each under `entry/`), the [`Image`] that replaying them gives, and
//! [`Metadata`], the handle that proposes entries and follows the shared log. Never touches a partition's data
//! and never speaks the Kafka protocol; the server, the partitions and the groups call it.
//!
//! Rule: what is written is decided by [`Image::apply`] alone, in the order of the log. Every broker that
//! replays the same log holds the same image.

mod checkpoint;
pub mod config;
pub mod entry;
mod image;
mod segments;
mod service;
mod topic_name;
mod varint;
mod writer;

pub use entry::{
    BrokerRegistered, ClusterCreated, CompactionAdvanced, ConfigResource, ConfigsAltered, Entry,
    LeaderEpochRaised, LogStartAdvanced, ObjectBarred, ObjectDeleted, PartitionsAdded, ProducerIdsTaken,
    Rejection, SegmentCommitted, SegmentsMerged, TopicCreated, TopicDeleted, WalBound, WalSealed, WalTrim,
};
pub use image::{
    BrokerImage, EpochStart, Image, MirrorState, PartitionImage, SnapshotAt, TopicImage, WalImage,
    WalPosition,
};
pub use segments::{ObjectId, ObjectImage, PartitionSegments, SegmentRange};
pub use service::{Metadata, OpenError, ProposeError};
pub use topic_name::{InvalidTopicName, names_collide, validate_topic_name};

/// Producer ids that this cluster hands out start here, so that ids mirrored from a source, which start at zero,
/// never meet them (DESIGN §5.5).
pub const PRODUCER_ID_FIRST: i64 = 1 << 62;
