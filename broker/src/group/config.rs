//! What an operator may set about consumer groups, in Apache Kafka's own names and defaults.

use serde::{Deserialize, Serialize};

/// Bounds and timings of the group coordinator. All times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// Kafka's `offsets.topic.num.partitions`: partitions of `__consumer_offsets` when this broker creates it.
    pub offsets_partitions: i32,
    /// Kafka's `offset.metadata.max.bytes`: a commit with more metadata is refused.
    pub offset_metadata_bytes_max: usize,
    /// Kafka's `offsets.retention.minutes` (KIP-211), in ms: how long offsets outlive their group's last member.
    pub offsets_retention_ms: i64,
    /// Kafka's `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_ms: u64,
    /// Kafka's `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// Kafka's `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// Kafka's `group.max.size`: members of one group.
    pub members_max: usize,
    /// Kafka's `group.initial.rebalance.delay.ms`: how long an empty group waits for more members.
    pub initial_rebalance_delay_ms: u64,
    /// Groups kept in memory; a join or commit that would create one more is refused.
    pub groups_max: usize,
    /// The longest that a held member's JoinGroup is parked before it is answered. Below the shortest read
    /// timeout of common clients (30 s).
    pub park_max_ms: u64,
    /// How long a held member may be between an answer and its next join and still count as held.
    pub held_grace_ms: u64,
    /// At the switch, how long held members that are just between two joins are waited for.
    pub switch_grace_ms: u64,
    /// The longest that an OffsetFetch of a held group is parked before it is answered.
    pub fetch_park_max_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            offsets_partitions: 50,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_ms: 600_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            members_max: i32::MAX as usize,
            initial_rebalance_delay_ms: 3_000,
            groups_max: 100_000,
            park_max_ms: 20_000,
            held_grace_ms: 10_000,
            switch_grace_ms: 1_500,
            fetch_park_max_ms: 3_000,
        }
    }
}
