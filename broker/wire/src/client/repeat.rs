//! When a call may be repeated: Kafka's error table, cut by what the API does.

use std::any::Any;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::*;

/// What an answer's error codes ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Every part of the request failed in a way that passes: send it again.
    pub(super) repeat: bool,
    /// The metadata that led here is out of date.
    pub(super) metadata_stale: bool,
    /// The coordinator has moved.
    pub(super) coordinator_stale: bool,
    /// A topic or its id is not known there: worth a short wait only.
    pub(super) topic_unknown: bool,
}

/// Judges an answer of `api_key`.
pub(super) fn judge(api_key: i16, response: &dyn Any) -> Verdict {
    let codes = codes(response);
    let mut verdict = Verdict { repeat: !codes.is_empty(), ..Verdict::default() };
    for code in codes {
        let Some(code) = ResponseError::try_from_code(code) else {
            // A part that succeeded must not be done again.
            verdict.repeat = false;
            continue;
        };
        verdict.repeat &= passes(api_key, code);
        verdict.metadata_stale |= is_metadata_stale(code);
        verdict.coordinator_stale |= is_coordinator_stale(code);
        verdict.topic_unknown |= is_topic_unknown(code);
    }
    verdict
}

/// Whether a request that failed with this code was not carried out and may succeed later.
pub(super) fn passes(api_key: i16, code: ResponseError) -> bool {
    use ResponseError as E;
    let api = ApiKey::try_from(api_key);
    match code {
        // The time-out is of the waiting, not of the work.
        E::RequestTimedOut => is_harmless(api_key),
        // The records are in the leader's log; the same bytes fail the same way.
        E::NotEnoughReplicasAfterAppend | E::CorruptMessage => !matches!(api, Ok(ApiKey::Produce)),
        // The request itself carries the old epoch.
        E::FencedLeaderEpoch => false,
        // Marked final in the crate's table; Kafka's clients wait for the transaction to end.
        E::ConcurrentTransactions => true,
        code => code.is_retriable(),
    }
}

/// Whether carrying a request out twice is the same as once.
///
/// Not among them: Produce (without a producer id), JoinGroup and LeaveGroup, creating and deleting.
pub(super) fn is_harmless(api_key: i16) -> bool {
    let Ok(api) = ApiKey::try_from(api_key) else { return false };
    matches!(
        api,
        ApiKey::Fetch
            | ApiKey::ListOffsets
            | ApiKey::Metadata
            | ApiKey::OffsetCommit
            | ApiKey::OffsetFetch
            | ApiKey::FindCoordinator
            | ApiKey::Heartbeat
            | ApiKey::SyncGroup
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::ApiVersions
            | ApiKey::DeleteRecords
            | ApiKey::OffsetForLeaderEpoch
            | ApiKey::DescribeAcls
            | ApiKey::DescribeConfigs
            | ApiKey::DescribeLogDirs
            | ApiKey::DescribeCluster
            | ApiKey::DescribeQuorum
            | ApiKey::DescribeProducers
            | ApiKey::DescribeTransactions
            | ApiKey::ListTransactions
            | ApiKey::ConsumerGroupDescribe
            | ApiKey::DescribeTopicPartitions
            | ApiKey::ListConfigResources
    )
}

pub(super) fn is_metadata_stale(code: ResponseError) -> bool {
    use ResponseError as E;
    matches!(
        code,
        E::NotLeaderOrFollower
            | E::LeaderNotAvailable
            | E::ReplicaNotAvailable
            | E::ListenerNotFound
            | E::KafkaStorageError
            | E::FencedLeaderEpoch
            | E::UnknownLeaderEpoch
            | E::NotController
    ) || is_topic_unknown(code)
}

pub(super) fn is_coordinator_stale(code: ResponseError) -> bool {
    matches!(code, ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable)
}

pub(super) fn is_topic_unknown(code: ResponseError) -> bool {
    use ResponseError as E;
    matches!(code, E::UnknownTopicOrPartition | E::UnknownTopicId | E::InconsistentTopicId)
}

/// The error codes of a response: the one at its top if that is set, else one for each part.
fn codes(response: &dyn Any) -> Vec<i16> {
    per_partition(response)
        .or_else(|| per_group(response))
        .or_else(|| per_resource(response))
        .or_else(|| at_top(response))
        .unwrap_or_default()
}

/// Reads a response of type `T`, if it is one.
fn of<T: 'static>(response: &dyn Any, read: impl FnOnce(&T) -> Vec<i16>) -> Option<Vec<i16>> {
    response.downcast_ref::<T>().map(read)
}

fn top_or(top: i16, parts: impl Iterator<Item = i16>) -> Vec<i16> {
    if top != 0 { vec![top] } else { parts.collect() }
}

fn per_partition(response: &dyn Any) -> Option<Vec<i16>> {
    of(response, |answer: &ProduceResponse| {
        answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .map(|part| part.error_code)
            .collect()
    })
    .or_else(|| {
        of(response, |answer: &FetchResponse| {
            let parts = answer.responses.iter().flat_map(|topic| &topic.partitions);
            top_or(answer.error_code, parts.map(|part| part.error_code))
        })
    })
    .or_else(|| {
        of(response, |answer: &ListOffsetsResponse| {
            answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &OffsetForLeaderEpochResponse| {
            answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &DeleteRecordsResponse| {
            answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &DescribeProducersResponse| {
            answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
        })
    })
}

fn per_group(response: &dyn Any) -> Option<Vec<i16>> {
    of(response, |answer: &OffsetCommitResponse| {
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
    })
    .or_else(|| {
        of(response, |answer: &OffsetFetchResponse| {
            let parts = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code);
            let groups = answer.groups.iter().flat_map(|group| {
                let parts = group.topics.iter().flat_map(|topic| &topic.partitions);
                top_or(group.error_code, parts.map(|part| part.error_code))
            });
            // An empty group succeeds; one unstable partition leaves nothing to use.
            let mut codes = top_or(answer.error_code, parts.chain(groups));
            if codes.contains(&ResponseError::UnstableOffsetCommit.code()) {
                codes.retain(|&code| code != 0);
            }
            codes
        })
    })
    .or_else(|| {
        of(response, |answer: &TxnOffsetCommitResponse| {
            answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &DescribeGroupsResponse| {
            answer.groups.iter().map(|group| group.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &ConsumerGroupDescribeResponse| {
            answer.groups.iter().map(|group| group.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &DeleteGroupsResponse| {
            answer.results.iter().map(|group| group.error_code).collect()
        })
    })
    .or_else(|| {
        of(response, |answer: &FindCoordinatorResponse| {
            top_or(answer.error_code, answer.coordinators.iter().map(|each| each.error_code))
        })
    })
    // A member's own code is final; only the code at the top is about the way.
    .or_else(|| of(response, |answer: &LeaveGroupResponse| vec![answer.error_code]))
}

fn per_resource(response: &dyn Any) -> Option<Vec<i16>> {
    of(response, |answer: &CreateTopicsResponse| answer.topics.iter().map(|topic| topic.error_code).collect())
        .or_else(|| {
            of(response, |answer: &DeleteTopicsResponse| {
                answer.responses.iter().map(|topic| topic.error_code).collect()
            })
        })
        .or_else(|| {
            of(response, |answer: &CreatePartitionsResponse| {
                answer.results.iter().map(|topic| topic.error_code).collect()
            })
        })
        .or_else(|| {
            of(response, |answer: &DescribeConfigsResponse| {
                answer.results.iter().map(|resource| resource.error_code).collect()
            })
        })
        .or_else(|| {
            of(response, |answer: &IncrementalAlterConfigsResponse| {
                answer.responses.iter().map(|resource| resource.error_code).collect()
            })
        })
        .or_else(|| {
            of(response, |answer: &DescribeTransactionsResponse| {
                answer.transaction_states.iter().map(|state| state.error_code).collect()
            })
        })
}

fn at_top(response: &dyn Any) -> Option<Vec<i16>> {
    of(response, |answer: &JoinGroupResponse| vec![answer.error_code])
        .or_else(|| of(response, |answer: &SyncGroupResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &HeartbeatResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &ConsumerGroupHeartbeatResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &ListGroupsResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &ListTransactionsResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &InitProducerIdResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &AddOffsetsToTxnResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &EndTxnResponse| vec![answer.error_code]))
        .or_else(|| of(response, |answer: &DescribeClusterResponse| vec![answer.error_code]))
}
