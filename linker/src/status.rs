//! What `towpath status` shows, as documents: built from what link, diff and movers have observed; nothing is
//! asked of a cluster for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towpath_plans::gates::Verdict;
use towpath_plans::model::format_count;
use towpath_plans::transition::{GroupMove, LinkRecord, LinkState};

use crate::cluster::Cluster;
use crate::diff::DiffReport;
use crate::link::follow::Difference;
use crate::link::mirror::Placed;
use crate::link::replicator::Halt;
use crate::moves::{GroupStatus, Mover};
use crate::service::{Running, Service};

/// One side, as the service's file and the cluster itself name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSeen {
    /// Its name in the service's file.
    pub name: String,
    /// Its own id.
    pub id: String,
}

impl From<&Cluster> for ClusterSeen {
    fn from(cluster: &Cluster) -> ClusterSeen {
        ClusterSeen { name: cluster.name.clone(), id: cluster.id.clone() }
    }
}

/// Where a link stands, why, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// `created`, `mirroring`, `paused`, `halted`, `cancelled` or `completed`.
    pub state: String,
    /// Why; empty when the state says it all.
    pub reason: String,
    /// Since when, ms since the epoch, where that is known.
    pub since_ms: Option<i64>,
}

impl From<&LinkRecord> for LinkSeen {
    fn from(record: &LinkRecord) -> LinkSeen {
        let (state, reason, since_ms) = match &record.state {
            LinkState::Created => ("created", "mirror topics are being created".into(), None),
            LinkState::Mirroring => ("mirroring", String::new(), None),
            LinkState::Paused { reason, since_ms } => ("paused", reason.clone(), Some(*since_ms)),
            LinkState::Halted => {
                let first = record.halts.first();
                let more = match record.halts.len() {
                    0 | 1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                let reason = first.map(|halt| format!("{}{more}", halt.reason)).unwrap_or_default();
                ("halted", reason, record.halts.iter().map(|halt| halt.since_ms).min())
            }
            LinkState::Cancelled => ("cancelled", "given up; every group is on the source".into(), None),
            LinkState::Completed => ("completed", "every group has given up its way back".into(), None),
        };
        LinkSeen { state: state.into(), reason, since_ms }
    }
}

/// One mirrored partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its number.
    pub index: i32,
    /// First offset the source still holds.
    pub source_log_start: i64,
    /// The source's high watermark at its last answer.
    pub source_high_watermark: i64,
    /// First offset the target holds.
    pub target_log_start: i64,
    /// Next offset the target expects.
    pub target_log_end: i64,
    /// Offsets that the target is behind.
    pub lag_messages: i64,
    /// How old the target's copy is, wall-clock ms; `None`: it was never caught up.
    pub lag_ms: Option<i64>,
    /// Why it is not mirrored, if it is not.
    pub halted: Option<Halt>,
}

/// One mirrored topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionStatus>,
}

impl TopicStatus {
    /// The largest lag of its partitions; `None` while one was never caught up.
    pub fn lag_ms(&self) -> Option<i64> {
        let lags: Option<Vec<i64>> = self.partitions.iter().map(|partition| partition.lag_ms).collect();
        lags.map(|lags| lags.into_iter().max().unwrap_or_default())
    }

    /// Offsets that the target is behind, all partitions.
    pub fn lag_messages(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.lag_messages).sum()
    }
}

/// The diff in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffSeen {
    /// Over all partitions.
    pub verdict: Verdict,
    /// Records of the source that were compared.
    pub records: u64,
    /// Differences of all kinds.
    pub differences: u64,
    /// Offsets below the source's high watermarks that are not compared yet.
    pub uncompared: i64,
}

impl DiffSeen {
    /// Of a report, beside how far each topic goes.
    pub fn of(report: &DiffReport, topics: &[TopicStatus]) -> DiffSeen {
        let through: BTreeMap<(&str, i32), i64> = report
            .partitions
            .iter()
            .map(|partition| ((partition.topic.as_str(), partition.partition), partition.through))
            .collect();
        let uncompared = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.as_str(), partition)))
            .map(|(topic, partition)| {
                let start = partition.source_log_start;
                let through = through.get(&(topic, partition.index)).copied().unwrap_or(start).max(start);
                (partition.source_high_watermark - through).max(0)
            })
            .sum();
        let DiffReport { verdict, records, differences, .. } = *report;
        DiffSeen { verdict, records, differences, uncompared }
    }
}

/// One family.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FamilyStatus {
    /// Its name.
    pub family: String,
    /// The hash of the plan in force.
    pub plan_hash: String,
    /// Where it comes from.
    pub source: ClusterSeen,
    /// Where it goes.
    pub target: ClusterSeen,
    /// The link.
    pub link: LinkSeen,
    /// What is mirrored, in order of names.
    pub topics: Vec<TopicStatus>,
    /// The groups, in the plan's order of moves.
    pub groups: Vec<GroupStatus>,
    /// The diff.
    pub diff: DiffSeen,
    /// Differences between topic configs and counts of both sides that stand.
    pub differences: Vec<Difference>,
    /// What somebody must act on, worst first; empty when all is well.
    pub alarms: Vec<String>,
    /// When this was put together, ms since the epoch.
    pub observed_ms: i64,
}

/// All families of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service's name.
    pub service: String,
    /// Its software version.
    pub version: String,
    /// In order of names.
    pub families: Vec<FamilyStatus>,
    /// Families that are linked and do not run yet, with the reason.
    pub starting: BTreeMap<String, String>,
    /// Families that were given up or have ended, in order of names: what the journal says of them.
    #[serde(default)]
    pub ended: Vec<FamilyStatus>,
    /// When this was put together, ms since the epoch.
    pub observed_ms: i64,
}

impl FamilyStatus {
    /// The status of a running family as of now.
    pub fn of(running: &Running) -> FamilyStatus {
        let link = &*running.link;
        let now_ms = link.env.now_ms();
        // A source that has not answered for two long polls and a check is not known to be quiet.
        let fresh_ms = (2 * link.limits.fetch_wait_ms + link.limits.topic_check_ms) as i64;
        let mut topics: BTreeMap<String, Vec<PartitionStatus>> = BTreeMap::new();
        for placed in link.mirror.partitions() {
            let partition = partition_status(&placed, now_ms, fresh_ms);
            topics.entry(placed.replicator.id.topic.clone()).or_default().push(partition);
        }
        let topics: Vec<TopicStatus> =
            topics.into_iter().map(|(name, partitions)| TopicStatus { name, partitions }).collect();
        let groups = groups_of(running);
        let diff = DiffSeen::of(&running.diff.report(), &topics);
        let alarms = alarms(&topics, &groups, &diff);
        FamilyStatus {
            family: link.family().to_owned(),
            plan_hash: link.plan_hash.to_string(),
            source: (&link.source).into(),
            target: (&link.target).into(),
            link: (&running.record()).into(),
            topics,
            groups,
            diff,
            differences: link.follow.differences(),
            alarms,
            observed_ms: now_ms,
        }
    }
}

impl FamilyStatus {
    /// What the journal says of a family that was given up or has ended; `None` of any other.
    pub fn of_ended(service: &Service, family: &str) -> Option<FamilyStatus> {
        let record = service.journal().with(|recorded| recorded.families.get(family).cloned())?;
        if !record.is_over() {
            return None;
        }
        let linked = &record.linked;
        let seen = |name: &str, id: &str| ClusterSeen { name: name.to_owned(), id: id.to_owned() };
        let verdict = Verdict::Inconclusive;
        Some(FamilyStatus {
            family: family.to_owned(),
            plan_hash: linked.plan_hash.to_string(),
            source: seen(&linked.plan.source, &linked.source_cluster_id),
            target: seen(&linked.plan.target, &linked.target_cluster_id),
            link: (&record.link).into(),
            topics: Vec::new(),
            groups: record.groups.into_values().map(unobserved).collect(),
            diff: DiffSeen { verdict, records: 0, differences: 0, uncompared: 0 },
            differences: Vec::new(),
            alarms: Vec::new(),
            observed_ms: service.env().now_ms(),
        })
    }
}

impl ServiceStatus {
    /// The status of everything that is linked, as of now.
    pub fn of(service: &Service) -> ServiceStatus {
        ServiceStatus {
            service: service.config().name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            families: service.families().iter().map(|running| FamilyStatus::of(running)).collect(),
            starting: service.starting(),
            ended: service
                .journal()
                .with(|recorded| recorded.families.keys().cloned().collect::<Vec<_>>())
                .iter()
                .filter_map(|family| FamilyStatus::of_ended(service, family))
                .collect(),
            observed_ms: service.env().now_ms(),
        }
    }
}

/// The groups in the plan's order of moves.
fn groups_of(running: &Running) -> Vec<GroupStatus> {
    let order = running.link.plan.move_order();
    let movers = order.into_iter().filter_map(|group| running.movers.get(&group.name));
    // The journal is ahead of the last look.
    let now = |mover: &Arc<Mover>| match mover.status() {
        Some(status) => GroupStatus { record: mover.record(), ..status },
        None => unobserved(mover.record()),
    };
    movers.map(now).collect()
}

/// A group that was not looked at yet: what the journal says, and nothing else.
fn unobserved(record: GroupMove) -> GroupStatus {
    GroupStatus {
        record,
        source_members: 0,
        target_members: 0,
        held_members: 0,
        positions: Vec::new(),
        way_back_until_ms: None,
        way_back_limited_by: None,
        alarms: Vec::new(),
        observed_ms: 0,
    }
}

fn partition_status(placed: &Placed, now_ms: i64, fresh_ms: i64) -> PartitionStatus {
    let seen = placed.replicator.positions();
    PartitionStatus {
        index: placed.replicator.id.partition,
        source_log_start: seen.source_log_start,
        source_high_watermark: seen.source_high_watermark,
        target_log_start: seen.target_log_start,
        target_log_end: seen.target_log_end,
        lag_messages: seen.lag_messages(),
        lag_ms: seen.lag_ms(now_ms, fresh_ms),
        halted: placed.replicator.halted(),
    }
}

fn alarms(topics: &[TopicStatus], groups: &[GroupStatus], diff: &DiffSeen) -> Vec<String> {
    let halted = topics.iter().flat_map(|topic| {
        let halts = topic.partitions.iter().filter_map(|partition| partition.halted.as_ref());
        halts.map(|halt| format!("{}; fix: {}", halt.reason, halt.fix))
    });
    let differing = (diff.differences > 0).then(|| {
        format!("{} between the sides; fix: see `towpath diff`", format_count(diff.differences, "difference"))
    });
    let moving = groups.iter().flat_map(|group| {
        let name = &group.record.group;
        let trouble = group.record.trouble.iter();
        group.alarms.iter().chain(trouble).map(move |alarm| format!("{name}: {alarm}"))
    });
    halted.chain(differing).chain(moving).collect()
}

#[cfg(test)]
mod tests {
    use towpath_plans::diff::PartitionProgress;

    use super::*;

    fn partition(index: i32, high_watermark: i64, log_end: i64) -> PartitionStatus {
        PartitionStatus {
            index,
            source_log_start: 10,
            source_high_watermark: high_watermark,
            target_log_start: 10,
            target_log_end: log_end,
            lag_messages: high_watermark - log_end,
            lag_ms: Some(i64::from(index)),
            halted: None,
        }
    }

    #[test]
    fn a_topic_is_as_late_as_its_latest_partition_and_unknown_with_one_unknown() {
        let mut topic = TopicStatus {
            name: "views".into(),
            partitions: vec![partition(0, 30, 30), partition(7, 50, 45)],
        };
        assert_eq!((topic.lag_ms(), topic.lag_messages()), (Some(7), 5));
        topic.partitions[0].lag_ms = None;
        assert_eq!(topic.lag_ms(), None);
    }

    #[test]
    fn what_no_partition_of_the_diff_covers_counts_as_uncompared() {
        let topics = [TopicStatus {
            name: "views".into(),
            partitions: vec![partition(0, 30, 30), partition(1, 50, 50)],
        }];
        let mut progress = PartitionProgress::new("views", 0, 0, 5);
        progress.through = 25;
        let report =
            DiffReport { verdict: Verdict::Pass, records: 25, differences: 0, partitions: vec![progress] };
        assert_eq!(DiffSeen::of(&report, &topics).uncompared, 5 + 40);
    }

    #[test]
    fn a_halted_link_says_why_and_since_when() {
        let mut record = LinkRecord::new("views");
        record.state = LinkState::Halted;
        for (partition, since_ms) in [(0, 20), (1, 10)] {
            record.halts.push(towpath_plans::transition::Halt {
                topic: "views".into(),
                partition,
                reason: format!("views-{partition}: re-created"),
                fix: "cancel".into(),
                since_ms,
            });
        }
        let seen = LinkSeen::from(&record);
        assert_eq!(seen.reason, "views-0: re-created (and 1 more)");
        assert_eq!(seen.since_ms, Some(10));
    }
}
