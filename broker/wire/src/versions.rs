//! The broker's own table of API versions.
//!
//! Written by hand, because `kafka_protocol`'s `valid_versions()` lists what it can decode, not what a broker
//! can honour. A version is in the table when the broker answers it as Apache Kafka 3.9 would; what the broker
//! does not have (transactions that start here, KIP-848 groups, ACLs, tiered storage) is not advertised, and
//! clients then fail at once with their own clear error instead of later with ours.

use crate::private;

/// What the broker advertises and accepts: API key, lowest version, highest version.
///
/// Sorted by key. Includes Towpath's private APIs; clients ignore keys that they do not know (KIP-35).
pub const BROKER_VERSIONS: &[(i16, i16, i16)] = &[
    // Produce. From 0, because librdkafka takes a minimum above 0 as "cannot compress" (KAFKA-18659); 0..=2
    // carry message formats v0 and v1. 12 belongs to transactions v2 (KIP-890), 13 to topic ids.
    (0, 0, 11),
    // Fetch. Below 4 the answer would have to be converted down. 18 (KIP-1166) is between replicas.
    (1, 4, 17),
    // ListOffsets. 0 had another shape; 8 and above are about tiered storage (KIP-405, KIP-1005).
    (2, 1, 7),
    // Metadata. 13 lets a broker order a re-bootstrap (KIP-1102).
    (3, 0, 12),
    // OffsetCommit. 0 and 1 were for ZooKeeper-based consumers; 10 is by topic id.
    (8, 2, 9),
    // OffsetFetch. 0 read from ZooKeeper; 10 is by topic id.
    (9, 1, 9),
    // FindCoordinator. 6 is for share groups.
    (10, 0, 5),
    (11, 0, 9), // JoinGroup
    (12, 0, 4), // Heartbeat
    (13, 0, 5), // LeaveGroup
    (14, 0, 5), // SyncGroup
    (15, 0, 5), // DescribeGroups; 6 (KIP-1043) reports missing groups as errors
    (16, 0, 5), // ListGroups
    (17, 0, 1), // SaslHandshake
    (18, 0, 4), // ApiVersions
    (19, 2, 7), // CreateTopics
    (20, 1, 6), // DeleteTopics
    (21, 0, 2), // DeleteRecords
    (22, 0, 5), // InitProducerId: idempotent producers; 6 is two-phase commit (KIP-939)
    (23, 2, 4), // OffsetForLeaderEpoch
    (32, 1, 4), // DescribeConfigs
    (33, 0, 2), // AlterConfigs
    (35, 1, 4), // DescribeLogDirs
    (36, 0, 2), // SaslAuthenticate
    (37, 0, 3), // CreatePartitions
    (42, 0, 2), // DeleteGroups
    (44, 0, 1), // IncrementalAlterConfigs
    (47, 0, 0), // OffsetDelete
    (60, 0, 1), // DescribeCluster; 2 lists fenced brokers (KIP-1073)
    (61, 0, 0), // DescribeProducers
    (65, 0, 0), // DescribeTransactions
    (66, 0, 1), // ListTransactions; 2 filters by pattern (KIP-1152)
    (74, 0, 1), // ListConfigResources, which kafka-configs asks before it describes a group
    (75, 0, 0), // DescribeTopicPartitions
    (private::MIRROR_APPEND, 0, 0),
    (private::LINK_GROUP, 0, 0),
];

/// The advertised range of an API, or `None` when the broker does not have it.
pub fn range(api_key: i16) -> Option<(i16, i16)> {
    BROKER_VERSIONS.iter().find(|(key, _, _)| *key == api_key).map(|(_, min, max)| (*min, *max))
}

/// Whether the broker answers this version of this API.
pub fn is_supported(api_key: i16, api_version: i16) -> bool {
    range(api_key).is_some_and(|(min, max)| (min..=max).contains(&api_version))
}

/// Whether the key is one of Towpath's own APIs ([`private`]).
pub fn is_private(api_key: i16) -> bool {
    matches!(api_key, private::MIRROR_APPEND | private::LINK_GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_ranges_are_not_empty() {
        assert!(BROKER_VERSIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(BROKER_VERSIONS.iter().all(|(_, min, max)| min <= max));
    }

    #[test]
    fn the_crate_decodes_every_advertised_version_but_produce_below_3() {
        use kafka_protocol::messages::ApiKey;
        for (key, min, max) in BROKER_VERSIONS.iter().filter(|(key, _, _)| !is_private(*key)) {
            let crate_range = ApiKey::try_from(*key).unwrap().valid_versions();
            let min = if *key == ApiKey::Produce as i16 { 3.max(*min) } else { *min };
            assert!(crate_range.min <= min && *max <= crate_range.max, "API {key}");
        }
    }
}
