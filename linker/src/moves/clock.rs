//! The source's clock, as far as the protocol shows it.

use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::{DescribeQuorumRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;
use towpath_wire::client::{Client, To};

/// The log that a KRaft cluster keeps its metadata in.
const METADATA_LOG: &str = "__cluster_metadata";
/// First version that answers times (KIP-836).
const WITH_TIMES: i16 = 1;

/// How far the source's active controller is ahead of this service, ms: it answers DescribeQuorum with its own
/// clock's time as its last fetch (`LeaderState.describeReplicaState`). `None` where nothing tells it: ZooKeeper,
/// or no right to ask.
pub(super) async fn ahead_ms(source: &Client, env: &Env) -> Option<i64> {
    let partition = PartitionData::default().with_partition_index(0);
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_LOG)))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let asked_ms = env.now_ms();
    let answer = source.send_version(To::Any, request, WITH_TIMES).await.ok()?;
    let middle_ms = asked_ms + (env.now_ms() - asked_ms) / 2;
    let partition = answer.topics.first()?.partitions.first()?;
    let leader = partition.current_voters.iter().find(|voter| voter.replica_id == partition.leader_id)?;
    (leader.last_caught_up_timestamp > 0).then(|| leader.last_caught_up_timestamp - middle_ms)
}
