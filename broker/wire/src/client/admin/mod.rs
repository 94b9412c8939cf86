//! Everyday verbs over [`super::Client`], one file per theme. Verbs about many partitions or groups send one
//! request per broker, repeat only what failed retriably, and answer for each item on its own.

mod configs;
mod group_offsets;
mod groups;
mod partitions;
mod topics;
mod transactions;

use std::collections::BTreeMap;

pub use configs::describe_topic_configs;
pub use configs::{ConfigChange, ConfigResource, ConfigSource, ConfigValue, alter_configs, describe_configs};
pub use group_offsets::{
    CommitAs, CommittedOffset, OffsetToCommit, offset_commit, offset_fetch, offset_fetch_all,
};
pub use groups::{
    GroupDescription, GroupListing, GroupMember, delete_groups, describe_groups, find_coordinator,
    leave_group, list_groups,
};
pub use partitions::{EpochEnd, ListedOffset, OffsetSpec, delete_records, epoch_ends, list_offsets};
pub use topics::{NewTopic, create_partitions, create_topic, create_topics, delete_topics};
pub use transactions::{
    ActiveProducer, ProducerIdentity, TransactionListing, describe_producers, fence_producer,
    list_transactions,
};

use super::ClientError;

/// An outcome for each item asked about.
pub type Each<K, V> = BTreeMap<K, Result<V, ClientError>>;
