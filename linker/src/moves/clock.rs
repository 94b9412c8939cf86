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

/// How far another clock is ahead of this service's, ms: at least and at most. An answer says what the clock showed
/// at some moment between question and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    at_least_ms: i64,
    at_most_ms: i64,
}

impl Ahead {
    /// A clock that showed `shown_ms` at some moment from `asked_ms` to `answered_ms` of ours.
    pub(super) fn of(shown_ms: i64, asked_ms: i64, answered_ms: i64) -> Ahead {
        Ahead { at_least_ms: shown_ms - answered_ms, at_most_ms: shown_ms - asked_ms }
    }
}

/// The difference between these clocks and ours that is sure, ms: a slow answer proves nothing.
pub(super) fn skew_ms(clocks: &[Ahead]) -> u64 {
    let ours = Ahead::default();
    let all = || clocks.iter().chain([&ours]);
    let fastest = all().map(|clock| clock.at_least_ms).max().unwrap_or(0);
    let slowest = all().map(|clock| clock.at_most_ms).min().unwrap_or(0);
    u64::try_from(fastest - slowest).unwrap_or(0)
}

/// How far the source's active controller is ahead of this service: it answers DescribeQuorum with its own clock's
/// time as its last fetch (`LeaderState.describeReplicaState`). `None` where nothing tells it: ZooKeeper, or no
/// right to ask.
pub(super) async fn source_ahead(source: &Client, env: &Env) -> Option<Ahead> {
    let partition = PartitionData::default().with_partition_index(0);
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_LOG)))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let asked_ms = env.now_ms();
    let answer = source.send_version(To::Any, request, WITH_TIMES).await.ok()?;
    let answered_ms = env.now_ms();
    let partition = answer.topics.first()?.partitions.first()?;
    let leader = partition.current_voters.iter().find(|voter| voter.replica_id == partition.leader_id)?;
    let shown_ms = leader.last_caught_up_timestamp;
    (shown_ms > 0).then(|| Ahead::of(shown_ms, asked_ms, answered_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_is_sure_counts() {
        // Asked at 1000, answered at 1600: a clock that showed 1300 may be right to the millisecond.
        let slow = Ahead::of(1_300, 1_000, 1_600);
        assert_eq!(skew_ms(&[slow]), 0);
        // Asked at 1000, answered at 1010: it is at least 690 ms ahead.
        let fast = Ahead::of(1_700, 1_000, 1_010);
        assert_eq!(skew_ms(&[fast, slow]), 690);
        let behind = Ahead::of(900, 1_000, 1_010);
        assert_eq!(skew_ms(&[fast, behind]), 790);
    }
}
