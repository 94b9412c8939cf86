//! Everyday verbs over [`super::Client`], one file per theme. Verbs about many partitions or groups send one
//! request per broker, repeat only what failed retriably, and answer for each item on its own.

mod configs;
mod consumer_protocol;
mod fan_out;
mod group_offsets;
mod groups;
mod partitions;
mod topics;
mod transactions;

use std::collections::BTreeMap;

pub use configs::describe_topic_configs;
pub use configs::{ConfigChange, ConfigResource, ConfigSource, ConfigValue, alter_configs, describe_configs};
pub use group_offsets::{CommitAs, CommittedOffset, offset_commit, offset_fetch, offset_fetch_all};
pub use groups::{
    GroupDescription, GroupListing, GroupMember, GroupType, delete_groups, describe_groups, find_coordinator,
    leave_group, list_groups,
};
pub use partitions::{
    EpochEnd, ListedOffset, OffsetSpec, delete_records, epoch_ends, list_offset, list_offsets,
};
pub use topics::{NewTopic, create_partitions, create_topic, create_topics, delete_topics};
pub use transactions::{
    ActiveProducer, ProducerIdentity, TransactionListing, describe_producers, fence_producer,
    list_transactions,
};

use futures::future::try_join_all;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::{Client, ClientError, To};

/// An outcome for each item asked about.
pub type Each<K, V> = BTreeMap<K, Result<V, ClientError>>;

/// A consumer's replica id.
const CONSUMER: BrokerId = BrokerId(-1);

/// The same request to every broker of the cluster as it is now.
async fn ask_all_brokers<R: Request + Clone + 'static>(
    client: &Client,
    request: &R,
) -> Result<Vec<R::Response>, ClientError> {
    let metadata = client.metadata::<&str>(&[]).await?;
    try_join_all(metadata.brokers.keys().map(|&id| client.send(To::Broker(id), request.clone()))).await
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn name(topic: String) -> TopicName {
    TopicName(StrBytes::from_string(topic))
}

/// How long a broker may work on a request before it answers that time ran out; a little less than we wait.
fn timeout_ms(client: &Client) -> i32 {
    i32::try_from(client.config().attempt_timeout.mul_f64(0.9).as_millis()).unwrap_or(i32::MAX)
}
