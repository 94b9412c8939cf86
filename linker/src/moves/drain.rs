//! Waiting until the side that a group enters holds all that the side it leaves had at the fence moment, and until
//! the diff has compared it.

use std::collections::BTreeMap;

use towpath_plans::transition::{GroupMove, Verb};
use towpath_wire::client::TopicPartition;

use super::executor::one_line;
use super::mover::Mover;
use super::run::Run;
use crate::diff::TailReport;
use crate::error::{LinkerError, Side};
use crate::groups::positions::ends;

impl Mover {
    pub(super) async fn drain(&self, run: &mut Run<'_>, record: &GroupMove) -> Result<(), LinkerError> {
        let partitions = self.partitions_of(&run.topics);
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
        let mut progress = self.link.mirror.progress();
        while let Some(behind) = self.behind(&ends)? {
            tracing::debug!(group = self.group.name, %behind, "waiting for the mirror");
            // The mirror lives as long as the link.
            let _ = progress.changed().await;
        }
        run.step("the mirror holds everything up to the fence");
        let report = self.close_tail(ends.clone()).await?;
        run.bodies.push(self.diff.evidence(&ends));
        if report.differing.is_empty() {
            run.step(format!("the last {} records are compared and equal", report.records));
            return Ok(());
        }
        Err(LinkerError::refused(
            format!("the sides differ behind the fence: {}", differing(&report)),
            format!(
                "look at `towpath diff {}`; a mirror that differs must not be moved to",
                self.link.family()
            ),
        ))
    }

    /// Runs to its end even when the move no longer waits for it: the diff goes on behind it.
    async fn close_tail(&self, ends: BTreeMap<TopicPartition, i64>) -> Result<TailReport, LinkerError> {
        let diff = self.diff.clone();
        let closing = tokio::spawn(async move { diff.close_tail(&ends).await });
        closing.await.unwrap_or_else(|error| Err(LinkerError::Bug(format!("closing the tail: {error}"))))
    }

    /// The first partition whose mirror has not reached its end.
    fn behind(&self, ends: &BTreeMap<TopicPartition, i64>) -> Result<Option<TopicPartition>, LinkerError> {
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
        let closed = self.close_tail(at_target.clone()).await;
        run.bodies.push(self.diff.evidence(&at_target));
        match closed {
            Ok(report) if report.differing.is_empty() => {
                run.step(format!("the last {} records are compared and equal", report.records));
            }
            Ok(report) => run.alarms.push(format!("the sides differ: {}", differing(&report))),
            Err(error) => run.alarms.push(format!("the tail was not compared: {}", one_line(&error))),
        }
        Ok(())
    }
}

fn differing(report: &TailReport) -> String {
    let each = report.differing.iter().map(|(id, differences)| format!("{id} ({differences} differences)"));
    each.collect::<Vec<_>>().join(", ")
}
