//! The judgements about the mirror: how far it is behind, and whether it equals the source.

use super::evaluate::{Finding, Judge};
use super::observe::{DiffObserved, LagObserved, Observations};
use super::{Gate, GateName, Verdict};
use crate::model::{format_count, format_duration, format_rounded};

impl Judge<'_> {
    pub(super) fn mirror_lag(&self, seen: &Observations) -> Gate {
        let (ms, messages) = (self.limits.lag_ms_max, self.limits.lag_messages_max);
        let limit = format!("{} and {}", format_duration(ms), format_count(messages, "message"));
        self.gate(GateName::MirrorLag, limit, seen.lag.as_ref(), |lag| {
            let Some(worst) =
                lag.iter().max_by_key(|lag| (lag.halted.is_some(), lag.lag_ms, lag.lag_messages))
            else {
                let fix = "check that the plan's topics exist on the source";
                return Finding::of(Verdict::Inconclusive, "no partition", "nothing is mirrored", fix);
            };
            let worst_messages = lag.iter().map(|lag| lag.lag_messages).max().unwrap_or(0);
            let messages_behind = format_count(worst_messages, "message");
            let observed = format!("{} and {messages_behind}", format_rounded(worst.lag_ms));
            let LagObserved { topic, partition, halted, .. } = worst;
            if let Some(reason) = halted {
                let fix = format!("mend the cause, then `towpath resume {}`", self.carrier_of(topic, seen));
                return Finding::fail(observed, format!("{topic}-{partition} has halted: {reason}"), fix);
            }
            if worst.lag_ms > ms || worst_messages > messages {
                let fix = "wait until the mirror has caught up, or raise link.bandwidth_max";
                return Finding::behind(observed, format!("{topic}-{partition} is behind"), fix);
            }
            Finding::pass(observed)
        })
    }

    pub(super) fn diff(&self, seen: &Observations) -> Gate {
        let limit = "every topic that the group reads, no difference".to_string();
        self.gate(GateName::Diff, limit, seen.diff.as_ref(), |partitions| {
            let records: u64 = partitions.iter().map(|partition| partition.compared_records).sum();
            let differences: u64 = partitions.iter().map(|partition| partition.differences).sum();
            let observed =
                format!("{} in {}", format_count(differences, "difference"), format_count(records, "record"));
            if let Some(DiffObserved { topic, partition, .. }) =
                partitions.iter().find(|p| p.differences > 0 || p.verdict == Verdict::Fail)
            {
                let fix = format!(
                    "look at `towpath diff {}`; a mirror that differs must not be moved to",
                    self.carrier_of(topic, seen)
                );
                return Finding::fail(observed, format!("{topic}-{partition} differs"), fix);
            }
            let uncompared = self.topics_read(seen).into_iter().find(|topic| {
                !partitions.iter().any(|p| p.topic == *topic && p.verdict == Verdict::Pass)
                    || partitions.iter().any(|p| p.topic == *topic && p.verdict != Verdict::Pass)
            });
            if let Some(topic) = uncompared {
                let reason = format!("{topic} has not been compared whole");
                let fix =
                    format!("run `towpath diff {}` and wait for its verdict", self.carrier_of(&topic, seen));
                return Finding::of(Verdict::Inconclusive, observed, reason, fix);
            }
            if records == 0 {
                let reason = "nothing was compared: an empty comparison proves nothing";
                let fix = "wait for records, then run the diff again";
                return Finding::of(Verdict::Inconclusive, observed, reason, fix);
            }
            Finding::pass(observed)
        })
    }

    pub(super) fn diff_tail(&self, seen: &Observations) -> Gate {
        let (records, ms) = (self.limits.uncompared_records_max, self.limits.uncompared_ms_max);
        let limit = format!("{} and {}", format_count(records, "record"), format_duration(ms));
        self.gate(GateName::DiffTail, limit, seen.diff.as_ref(), |partitions| {
            let most = partitions.iter().map(|partition| partition.uncompared_records).max();
            let oldest = partitions.iter().map(|partition| partition.uncompared_ms).max();
            let (Some(most), Some(oldest)) = (most, oldest) else {
                let fix = format!("run `towpath diff {}`", self.context.plan.family);
                return Finding::of(Verdict::Inconclusive, "no partition", "nothing was compared", fix);
            };
            let observed = format!("{} and {}", format_count(most, "record"), format_rounded(oldest));
            if most > records || oldest > ms {
                let fix = "wait until the diff has caught up, or raise diff.bandwidth_max";
                return Finding::behind(observed, "the diff is behind the source", fix);
            }
            Finding::pass(observed)
        })
    }

    /// The family whose link carries a topic: a plan may use topics of others.
    fn carrier_of<'s>(&'s self, topic: &str, seen: &'s Observations) -> &'s str {
        seen.mirrored.get(topic).unwrap_or(&self.context.plan.family)
    }
}
