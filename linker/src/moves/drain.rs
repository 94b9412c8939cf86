//! Waiting until the side that a group enters holds all that the side it leaves had at the fence moment, and until
//! the diff has compared it.

use std::collections::{BTreeMap, BTreeSet};

use towpath_plans::model::format_count;
use towpath_plans::transition::{GroupMove, Verb};
use towpath_wire::client::TopicPartition;

use super::carriers::{Carrier, Ends};
use super::mover::Mover;
use super::run::Run;
use crate::diff::TailReport;
use crate::error::{LinkerError, Side};
use crate::groups::positions::ends;

impl Mover {
    pub(super) async fn drain(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let partitions = self.partitions_of(&run.topics)?;
        match record.verb {
            Some(Verb::Rollback) => self.drain_back(run, &partitions).await,
            _ => self.drain_forward(run, &partitions).await,
        }
    }

    /// The mirror's end comes up to the source's high watermark of now, which is behind the fence.
    async fn drain_forward(
        &self,
        run: &mut Run<'_>,
        partitions: &[TopicPartition],
    ) -> Result<(), LinkerError> {
        let ends = ends(&self.link.source.client, Side::Source, partitions).await?;
        for (carrier, ends) in self.by_carrier(&ends)? {
            let mut progress = carrier.link.mirror.progress();
            while let Some(behind) = carrier.behind(&ends)? {
                tracing::debug!(group = self.group.name, %behind, "waiting for the mirror");
                // The mirror lives as long as the link.
                let _ = progress.changed().await;
            }
        }
        run.step("the mirror holds everything up to the fence");
        let report = self.close_tails(run, &ends).await?;
        if report.differing.is_empty() {
            run.step(compared_and_equal(report.records));
            return Ok(());
        }
        Err(LinkerError::refused(
            format!("the sides differ behind the fence: {}", differing(&report)),
            format!(
                "look at `towpath diff {}`; a mirror that differs must not be moved to",
                self.families_of(&report).join("` and `towpath diff ")
            ),
        ))
    }

    /// Lets each diff close its tail, all at once, and notes what it says. They run to their end even when the move no
    /// longer waits for them: the diff goes on behind it.
    async fn close_tails(&self, run: &mut Run<'_>, ends: &Ends) -> Result<TailReport, LinkerError> {
        let begin = |(carrier, ends): (Carrier, Ends)| {
            let (diff, through) = (carrier.diff.clone(), ends.clone());
            (carrier, ends, tokio::spawn(async move { diff.close_tail(&through).await }))
        };
        let closing: Vec<_> = self.by_carrier(ends)?.into_iter().map(begin).collect();
        let mut whole = Ok(TailReport { differing: BTreeMap::new(), records: 0 });
        for (carrier, ends, closing) in closing {
            let closed = closing.await;
            let closed =
                closed.unwrap_or_else(|error| Err(LinkerError::Bug(format!("closing the tail: {error}"))));
            run.bodies.push(carrier.diff.evidence(&ends));
            whole = whole.and_then(|mut whole: TailReport| {
                let report = closed?;
                whole.differing.extend(report.differing);
                whole.records += report.records;
                Ok(whole)
            });
        }
        whole
    }

    /// The families whose links carry what differs.
    fn families_of(&self, report: &TailReport) -> Vec<String> {
        let mirrored = self.mirrored();
        let families: BTreeSet<String> =
            report.differing.keys().filter_map(|id| mirrored.get(&id.topic).cloned()).collect();
        families.into_iter().collect()
    }

    /// The source has always held what was mirrored from it. A rollback is always allowed: what the comparison
    /// finds is told and does not stop it.
    async fn drain_back(&self, run: &mut Run<'_>, partitions: &[TopicPartition]) -> Result<(), LinkerError> {
        let at_target = ends(&self.link.target.client, Side::Target, partitions).await?;
        let at_source = ends(&self.link.source.client, Side::Source, partitions).await?;
        for (id, end) in &at_target {
            let held = at_source.get(id).copied().unwrap_or(0);
            if held < *end {
                run.alarms
                    .push(format!("{id}: the target ends at offset {end}, the source already at {held}"));
            }
        }
        let closed = self.close_tails(run, &at_target).await;
        match closed {
            Ok(report) if report.differing.is_empty() => {
                run.step(compared_and_equal(report.records));
            }
            Ok(report) => run.alarms.push(format!("the sides differ: {}", differing(&report))),
            Err(error) => run.alarms.push(format!("the tail was not compared: {}", error.one_line())),
        }
        Ok(())
    }
}

impl Carrier {
    /// The first partition whose mirror has not reached its end.
    fn behind(&self, ends: &Ends) -> Result<Option<TopicPartition>, LinkerError> {
        for (id, end) in ends {
            let Some(placed) = self.link.mirror.partition(id) else {
                return Err(LinkerError::refused(
                    format!("{id} is not mirrored"),
                    format!("look at `towpath status {}`", self.link.family()),
                ));
            };
            if let Some(halt) = placed.replicator.halted() {
                return Err(LinkerError::refused(format!("{id} has halted: {}", halt.reason), halt.fix));
            }
            if placed.replicator.positions().target_log_end < *end {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }
}

fn differing(report: &TailReport) -> String {
    let each = report
        .differing
        .iter()
        .map(|(id, differences)| format!("{id} ({})", format_count(*differences, "difference")));
    each.collect::<Vec<_>>().join(", ")
}

fn compared_and_equal(records: u64) -> String {
    format!("the tail is compared and equal: {}", format_count(records, "record"))
}
