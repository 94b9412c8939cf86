//! What evidence records: one variant for each kind of observation and decision that a verdict rests on.

use serde::{Deserialize, Serialize};

use super::sign::{PublicKey, Signature};
use crate::diff::DifferenceCounts;
use crate::gates::Verdict;
use crate::transition::{FinalPosition, GroupState, LinkState, Origin, Verb};
use crate::{PlanHash, Side};

/// One cluster, as it names itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// Which side.
    pub side: Side,
    /// Its name in the service's file.
    pub name: String,
    /// The cluster id that it answers.
    pub cluster_id: String,
}

/// One translated position of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Next record to read on the source.
    pub source_offset: i64,
    /// Next record to read on the target.
    pub target_offset: i64,
    /// Whether the group had committed it, or which rule gave it.
    pub origin: Origin,
}

impl From<&FinalPosition> for Translation {
    fn from(position: &FinalPosition) -> Self {
        Self {
            topic: position.topic.clone(),
            partition: position.partition,
            source_offset: position.source_offset,
            target_offset: position.target_offset,
            origin: position.origin,
        }
    }
}

/// How far a partition has been compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCompared {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First source offset that was compared.
    pub from: i64,
    /// Compared through here (exclusive).
    pub through: i64,
    /// Records compared.
    pub records: u64,
    /// When it got there, ms since the epoch.
    pub at_ms: i64,
}

/// Two digests of one range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeCompared {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First source offset.
    pub from: i64,
    /// One past the last source offset.
    pub to: i64,
    /// Records on the source.
    pub source_records: u64,
    /// Records on the target.
    pub target_records: u64,
    /// Digest of the source's records, hexadecimal.
    pub source_digest: String,
    /// Digest of the target's records, hexadecimal.
    pub target_digest: String,
}

/// One difference, without what the records contain unless the plan allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceSample {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The record's offset in the source's numbering.
    pub offset: i64,
    /// What is different, as [`crate::diff::Difference`] says it.
    pub sentence: String,
    /// The key under the family's secret, when there is a key.
    pub key: Option<String>,
    /// What the record contains, base64, only with `evidence: { contents: samples }`.
    pub contents: Option<String>,
}

/// One gate, as it was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRecord {
    /// Its name.
    pub gate: String,
    /// The limit, with its unit.
    pub limit: String,
    /// What was observed, with its unit; `None` when nothing was.
    pub observed: Option<String>,
    /// How old the observation was, ms.
    pub age_ms: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a person accepted it nevertheless.
    pub accepted: bool,
    /// Why.
    pub reason: String,
}

/// A member of a group that was evicted, held or seen where it should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberTrace {
    /// The client id, which owners choose and know.
    pub client_id: String,
    /// The host, as a pseudonym.
    pub host: String,
    /// The static instance id, if it has one.
    pub instance_id: Option<String>,
}

/// Which stretch of silence was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseKind {
    /// Last delivery on one side to first delivery on the other.
    Delivered,
    /// Last possible delivery on one side to first possible one on the other.
    Possible,
}

/// What an entry is about. Offsets are in the numbering of the side that the name says; without a side they are
/// the source's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// The first entry: which key signs, which clusters are meant.
    Opened {
        /// Signs the checkpoints from here on.
        key: PublicKey,
        /// Both clusters.
        clusters: Vec<ClusterIdentity>,
    },
    /// A plan is in force from here on.
    PlanAdopted {
        /// Its hash.
        plan_hash: PlanHash,
        /// Its canonical form, whole.
        plan: String,
    },
    /// The clusters, as they named themselves when the link or the service started.
    ClustersSeen {
        /// Both clusters.
        clusters: Vec<ClusterIdentity>,
    },
    /// A topic is mirrored from here on.
    TopicLinked {
        /// The topic.
        topic: String,
        /// Its id on the source.
        source_topic_id: String,
        /// Its id on the target.
        target_topic_id: String,
        /// Its partitions.
        partitions: i32,
        /// Configs that differ between the sides, each as `name: source value, target value, why`.
        config_differences: Vec<String>,
    },
    /// The link changed its state.
    LinkChanged {
        /// Before.
        from: LinkState,
        /// After.
        to: LinkState,
        /// Why.
        reason: String,
    },
    /// A partition's mirror stopped.
    PartitionHalted {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What happened.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// Records that the source no longer held when the mirror came for them.
    Lost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// First source offset.
        from: i64,
        /// One past the last source offset.
        to: i64,
        /// Why.
        reason: String,
    },
    /// Ranges were read on both sides and their digests compared.
    RangesCompared {
        /// The ranges.
        ranges: Vec<RangeCompared>,
    },
    /// What the diff says.
    DiffVerdict {
        /// The verdict; an empty comparison is inconclusive.
        verdict: Verdict,
        /// How far each partition was compared.
        partitions: Vec<PartitionCompared>,
        /// Differences by kind.
        counts: DifferenceCounts,
        /// Some of them.
        samples: Vec<DifferenceSample>,
    },
    /// The gates of a verb were evaluated.
    GatesEvaluated {
        /// The group.
        group: String,
        /// The verb.
        verb: Verb,
        /// The verdict over all.
        verdict: Verdict,
        /// Each gate.
        gates: Vec<GateRecord>,
    },
    /// A person asked for something.
    Requested {
        /// The CLI's verb.
        verb: String,
        /// Its group, where it has one.
        group: Option<String>,
        /// Whether it was a dry run.
        dry_run: bool,
        /// `--reason`.
        reason: String,
        /// The plan in force.
        plan_hash: Option<PlanHash>,
        /// What the person accepts, in words: an outage, a loss, that nothing stops the group at the source.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<String>,
    },
    /// A group changed its state.
    GroupChanged {
        /// The group.
        group: String,
        /// The attempt.
        attempt: u64,
        /// Which way it goes.
        verb: Option<Verb>,
        /// Before.
        from: GroupState,
        /// After.
        to: GroupState,
        /// Why.
        because: String,
        /// When, ms since the epoch, as the journal has it. During a pause entries wait: they are written later.
        at_ms: i64,
    },
    /// The fence at the source stands.
    Fenced {
        /// The group.
        group: String,
        /// The attempt.
        attempt: u64,
        /// The fence member's id.
        member_id: String,
        /// Its generation.
        generation: i32,
        /// Who was put out of the group.
        evicted: Vec<MemberTrace>,
    },
    /// The fence at the source was down.
    FenceLapsed {
        /// The group.
        group: String,
        /// Last known to stand, ms since the epoch.
        from_ms: i64,
        /// Stands again, ms since the epoch.
        to_ms: i64,
        /// Whether someone committed meanwhile.
        moved: bool,
        /// Most records that may have been delivered twice.
        repeated_max: u64,
    },
    /// The fence at the source has left.
    FenceReleased {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
    /// The positions that a group resumes at.
    FinalOffsets {
        /// The group.
        group: String,
        /// The attempt.
        attempt: u64,
        /// Which way it goes.
        verb: Verb,
        /// Each partition.
        translations: Vec<Translation>,
    },
    /// The positions that a group was seen to resume at.
    Resumed {
        /// The group.
        group: String,
        /// The attempt.
        attempt: u64,
        /// On which side.
        side: Side,
        /// What verification found out of order; empty when all held.
        alarms: Vec<String>,
    },
    /// A stretch of silence of a move.
    PauseMeasured {
        /// The group.
        group: String,
        /// The attempt.
        attempt: u64,
        /// The verb.
        verb: Verb,
        /// Which stretch.
        kind: PauseKind,
        /// How long, ms.
        pause_ms: u64,
        /// The plan's limit, ms.
        limit_ms: u64,
    },
    /// Someone moved behind the fence, or wrote where only the link may.
    Straggler {
        /// The group, or the topic's producer.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position that the record has.
        expected: i64,
        /// The position that was seen.
        seen: i64,
        /// Who, as far as the cluster tells.
        members: Vec<MemberTrace>,
    },
    /// The way back of a group was given up.
    Completed {
        /// The group.
        group: String,
        /// The durable stop that was proven, or the acceptance.
        stop: String,
    },
    /// All before this entry is signed.
    Checkpoint {
        /// The key that signed.
        key: PublicKey,
        /// Over family, sequence and hash of the entry before.
        signature: Signature,
    },
    /// Another key signs from here on.
    KeyRotated {
        /// The new key.
        key: PublicKey,
        /// Made with the old key, over family, sequence, hash of the entry before, and the new key.
        signature: Signature,
        /// Why.
        reason: String,
    },
    /// Another key signs from here on, and the one before did not sign for it: it was lost. Whoever pinned the
    /// key before can not trust what follows; whoever pins the new one trusts that its holder took over an
    /// honest chain.
    KeyReplaced {
        /// The new key.
        key: PublicKey,
        /// Why.
        reason: String,
    },
    /// The secret behind the pseudonyms is gone: they can not be linked to keys and hosts any more.
    SecretDestroyed {
        /// Which generation of the secret.
        secret: String,
        /// Why.
        reason: String,
    },
    /// The head of the chain was published outside the store.
    HeadPublished {
        /// Where.
        to: String,
        /// The last entry covered.
        sequence: u64,
        /// Its hash, hexadecimal.
        head: String,
    },
    /// Anything worth keeping that has no kind of its own yet.
    Noted {
        /// What, in a sentence.
        sentence: String,
    },
}
