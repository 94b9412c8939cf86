//! The plan as data. Durations are milliseconds and sizes are bytes in every field; the file writes `5s`, `100MB`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::defaults;
use super::selector::TopicSelector;

/// One signal family: what moves together, in which order, under which conditions. Every default is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The family's name: letters, digits, `.`, `_`, `-`; names the link, the journal and the evidence.
    pub family: String,
    /// The source cluster's name in the service's file.
    pub source: String,
    /// The target cluster's name in the service's file.
    pub target: String,
    /// The topics this plan's link mirrors, by name or pattern.
    pub topics: Vec<TopicSelector>,
    /// Topics that this family's groups read and another plan's link mirrors.
    pub uses: Vec<String>,
    /// The consumer groups that move, in the file's order ([`Plan::move_order`] honours `after`).
    pub groups: Vec<GroupPlan>,
    /// Limits that a move must meet.
    pub gates: Gates,
    /// How the link treats the source cluster.
    pub link: LinkOptions,
    /// How both sides are compared.
    pub diff: DiffOptions,
    /// What may be written into evidence.
    pub evidence: EvidenceOptions,
}

/// One consumer group of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// The group's id.
    pub name: String,
    /// How its members leave the source.
    pub fence: FenceMode,
    /// How long nobody may deliver to this group during a move. A longer pause undoes the move where it still can.
    pub pause_max_ms: u64,
    /// How old a record may be when the group commits it, measured from the append at the source.
    pub freshness_max_ms: u64,
    /// Groups that must stand on the target before this one moves (of this plan or of another).
    pub after: Vec<String>,
    /// Which position a partition without a committed offset gets.
    pub uncommitted: Uncommitted,
    /// Topics that members of this group also produce to.
    pub writes: Vec<String>,
    /// Transactional ids whose pending commits the fence ends by raising their epoch (InitProducerId).
    pub transactional_ids: Vec<String>,
    /// Wait this long after an eviction, so that evicted processes notice before the target delivers: trades
    /// pause for fewer repeated records.
    pub overlap_wait_ms: u64,
}

impl GroupPlan {
    /// A group with every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fence: FenceMode::Wait,
            pause_max_ms: defaults::PAUSE_MAX_MS,
            freshness_max_ms: defaults::FRESHNESS_MAX_MS,
            after: Vec::new(),
            uncommitted: Uncommitted::Earliest,
            writes: Vec::new(),
            transactional_ids: Vec::new(),
            overlap_wait_ms: defaults::OVERLAP_WAIT_MS,
        }
    }
}

/// How the members of a group leave the side that is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceMode {
    /// Wait until their owners have stopped them.
    Wait,
    /// Remove them from the group and take their place at once.
    Evict,
}

/// The explicit position for a partition that the group never committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncommitted {
    /// The log start offset: nothing can be missed.
    Earliest,
    /// The high watermark before the fence: nothing is read again.
    Latest,
}

/// The limits of the gates. An observation older than `observation_age_ms_max` makes its gate inconclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Mirror lag in milliseconds, per partition.
    pub lag_ms_max: u64,
    /// Mirror lag in messages, per partition.
    pub lag_messages_max: u64,
    /// Records of a partition that the diff has not compared yet.
    pub uncompared_records_max: u64,
    /// How long ago the diff last compared a partition through.
    pub uncompared_ms_max: u64,
    /// How long a transaction may have been open on a mirrored partition.
    pub open_transaction_ms_max: u64,
    /// Whether as many members must be held at the target as are live on the source before a cutover.
    pub members_ready: bool,
    /// Difference between the clocks of service, source and target.
    pub clock_skew_ms_max: u64,
    /// How far away the end of the way back must at least be.
    pub way_back_ms_min: u64,
    /// Oldest observation that still counts.
    pub observation_age_ms_max: u64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            lag_ms_max: defaults::LAG_MS_MAX,
            lag_messages_max: defaults::LAG_MESSAGES_MAX,
            uncompared_records_max: defaults::UNCOMPARED_RECORDS_MAX,
            uncompared_ms_max: defaults::UNCOMPARED_MS_MAX,
            open_transaction_ms_max: defaults::OPEN_TRANSACTION_MS_MAX,
            members_ready: defaults::MEMBERS_READY,
            clock_skew_ms_max: defaults::CLOCK_SKEW_MS_MAX,
            way_back_ms_min: defaults::WAY_BACK_MS_MIN,
            observation_age_ms_max: defaults::OBSERVATION_AGE_MS_MAX,
        }
    }
}

/// How the link behaves as a guest on the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkOptions {
    /// Bytes per second that the link may fetch from one source broker.
    pub bandwidth_bytes_per_s_max: u64,
    /// Fetch latency of a source broker above which the link backs off, ms.
    pub backoff_fetch_ms: u64,
    /// Bytes of one fetch request.
    pub fetch_bytes_max: u64,
    /// How often committed offsets are synced, and committed back behind the fence, ms.
    pub sync_interval_ms: u64,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            bandwidth_bytes_per_s_max: defaults::BANDWIDTH_BYTES_PER_S_MAX,
            backoff_fetch_ms: defaults::BACKOFF_FETCH_MS,
            fetch_bytes_max: defaults::FETCH_BYTES_MAX,
            sync_interval_ms: defaults::SYNC_INTERVAL_MS,
        }
    }
}

/// How the diff reads and reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffOptions {
    /// Bytes per second that the diff may read from each side.
    pub bandwidth_bytes_per_s_max: u64,
    /// Offsets per range digest.
    pub range_offsets: u64,
    /// Differences shown in full per partition; all are counted.
    pub samples_max: u64,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            bandwidth_bytes_per_s_max: defaults::DIFF_BANDWIDTH_BYTES_PER_S_MAX,
            range_offsets: defaults::DIFF_RANGE_OFFSETS,
            samples_max: defaults::DIFF_SAMPLES_MAX,
        }
    }
}

/// What evidence may hold.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceOptions {
    /// Whether samples of differences may show what records contain.
    pub contents: RecordContents,
}

/// Whether what records contain may be written into evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordContents {
    /// Only offsets, field names, lengths and digests.
    #[default]
    Never,
    /// Keys and values of the sampled differences.
    Samples,
}

impl Plan {
    /// A plan with every default, for tests and for `plan init`.
    pub fn new(family: impl Into<String>, source: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            family: family.into(),
            source: source.into(),
            target: target.into(),
            topics: Vec::new(),
            uses: Vec::new(),
            groups: Vec::new(),
            gates: Gates::default(),
            link: LinkOptions::default(),
            diff: DiffOptions::default(),
            evidence: EvidenceOptions::default(),
        }
    }

    /// Whether this plan's link mirrors the topic.
    pub fn mirrors(&self, topic: &str) -> bool {
        self.topics.iter().any(|selector| selector.matches(topic))
    }

    /// The group of this name, if the plan moves it.
    pub fn group(&self, name: &str) -> Option<&GroupPlan> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The groups in an order that honours `after` (groups of other plans are taken as done); otherwise the
    /// file's order. A plan that was read has no cycle.
    pub fn move_order(&self) -> Vec<&GroupPlan> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut order = Vec::with_capacity(self.groups.len());
        while order.len() < self.groups.len() {
            let next = self.groups.iter().find(|group| {
                !done.contains(group.name.as_str())
                    && group.after.iter().all(|a| self.group(a).is_none() || done.contains(a.as_str()))
            });
            let Some(next) = next else { break };
            done.insert(&next.name);
            order.push(next);
        }
        order
    }
}
