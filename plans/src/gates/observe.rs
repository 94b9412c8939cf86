//! What the linker observed before a verb. Everything is optional: what is not known is `None`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Verdict;

/// An observation and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed<T> {
    /// What.
    pub value: T,
    /// When, ms since the epoch.
    pub at_ms: i64,
}

/// Mirror lag of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagObserved {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// How long ago the source appended what the target does not hold yet; 0 when it holds all.
    pub lag_ms: u64,
    /// Source high watermark minus the mirror's end.
    pub lag_messages: u64,
    /// Why the partition does not advance, when it has halted.
    pub halted: Option<String>,
}

/// How far the diff has compared one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffObserved {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// `pass`: all that was compared is equal. An empty partition that was looked at passes.
    pub verdict: Verdict,
    /// Records compared.
    pub compared_records: u64,
    /// Differences found.
    pub differences: u64,
    /// Compared through this source offset (exclusive).
    pub compared_through: i64,
    /// Records between there and the source's high watermark.
    pub uncompared_records: u64,
    /// How long ago it was compared through the then high watermark, ms.
    pub uncompared_ms: u64,
}

/// A transaction that is open where it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionObserved {
    /// The topic: one that the group reads, or `__consumer_offsets`.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The producer's id.
    pub producer_id: i64,
    /// The transactional id, where the cluster tells it.
    pub transactional_id: Option<String>,
    /// How long it has been open, ms.
    pub open_ms: u64,
}

/// The members of the group on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersObserved {
    /// Live members on the side that is left.
    pub live: u32,
    /// Members and `assign()` consumers held at the target.
    pub held: u32,
    /// Topics that the members subscribe to or that the group has commits for.
    pub topics: Vec<String>,
    /// Members whose subscription could not be read (their protocol is not `consumer`).
    pub unreadable: Vec<String>,
}

/// A right, whether it is granted, and the exact command that grants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// What for, as `READ on group orders at the source`.
    pub what: String,
    /// Whether a try or a description shows it granted.
    pub granted: bool,
    /// The grant to add.
    pub grant: String,
}

/// How far clocks differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSkewObserved {
    /// Largest difference between any two of the clocks that can be seen, ms.
    pub largest_ms: u64,
    /// Whose clock the protocol does not show, as `source`: a cluster with ZooKeeper tells its time to nobody.
    /// Named in the observation; no limit is met or missed by it.
    pub unseen: Vec<String>,
}

/// How far the way back reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBackObserved {
    /// For so long the side to go back to still holds what the group has not read there, ms from the
    /// observation; `None` without a limit (no retention by time or size).
    pub reaches_ms: Option<u64>,
    /// The partition that limits it, as TOPIC-PARTITION.
    pub limited_by: Option<String>,
}

/// All that gates look at, for one group and one verb.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// Mirror lag of every partition of every topic that the group reads.
    pub lag: Option<Observed<Vec<LagObserved>>>,
    /// The diff of the same partitions.
    pub diff: Option<Observed<Vec<DiffObserved>>>,
    /// Transactions open on these partitions and on the group's `__consumer_offsets` partition.
    pub transactions: Option<Observed<Vec<TransactionObserved>>>,
    /// The group's members.
    pub members: Option<Observed<MembersObserved>>,
    /// Topics that the plan mirrors or uses, each with the family whose link carries it.
    pub mirrored: BTreeMap<String, String>,
    /// The rights that the verb needs.
    pub permissions: Option<Observed<Vec<Permission>>>,
    /// The clocks of service, source and target.
    pub clock_skew: Option<Observed<ClockSkewObserved>>,
    /// Whether a test entry was written; the text is the store's error.
    pub evidence: Option<Observed<Result<(), String>>>,
    /// How far the way back reaches.
    pub way_back: Option<Observed<WayBackObserved>>,
    /// Whether each group of `after` stands on the target.
    pub moved: BTreeMap<String, bool>,
}
