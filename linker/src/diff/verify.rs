//! `towpath diff`: through the source's high watermarks of now, with a verdict that goes into evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use towpath_plans::diff::DifferenceCounts;
use towpath_plans::evidence::Body;
use towpath_plans::gates::Verdict;
use towpath_plans::model::format_count;
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::OffsetSpec;

use super::bounds;
use super::run::{Diff, DiffReport, report_of};
use super::state::{Note, Partition};
use crate::error::{LinkerError, Side};
use crate::operation::{Operation, Progress};

/// How long the mirror may stand still before a verdict is given without what it does not hold.
const MIRROR_STALL_MAX: Duration = Duration::from_secs(30);
/// How often a verdict that waits for the mirror looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// See [`Diff::verify`].
pub(super) async fn verify(
    diff: &Diff,
    anew: bool,
    operation: &Operation,
) -> Result<DiffReport, LinkerError> {
    let ids: Vec<TopicPartition> =
        diff.link.mirror.partitions().into_iter().map(|placed| placed.replicator.id.clone()).collect();
    let listed_ms = diff.link.env.now_ms();
    let ends = bounds::list(&diff.link.source.client, Side::Source, &ids, OffsetSpec::Latest).await?;
    if anew {
        begin_anew(diff, &ids).await?;
    }
    let stop = CancellationToken::new();
    let mut asked = operation.aborted();
    let compared = tokio::select! {
        compared = through(diff, &ends, &stop, operation) => compared,
        never = tell_progress(diff, &ends, operation) => never,
        reason = aborted(&mut asked) => Err(LinkerError::refused(
            format!("aborted: {reason}; what was compared is kept"),
            "run it again to go on",
        )),
    };
    operation.progress(None);
    stop.cancel();
    compared?;
    for (id, end) in &ends {
        if let Some(partition) = diff.partitions.lock().get_mut(id) {
            partition.reached((*end, listed_ms));
        }
    }
    conclude(diff, &ends, operation).await
}

async fn aborted(asked: &mut tokio::sync::watch::Receiver<Option<String>>) -> String {
    let reason = asked.wait_for(Option::is_some).await.map(|reason| reason.clone().unwrap_or_default());
    match reason {
        Ok(reason) => reason,
        // Whoever could ask is gone.
        Err(_) => std::future::pending().await,
    }
}

/// Forgets what was compared, here and in the cache; evidence keeps it.
async fn begin_anew(diff: &Diff, ids: &[TopicPartition]) -> Result<(), LinkerError> {
    let _turn = diff.turn.lock().await;
    let mut writing = diff.writing.lock().await;
    diff.write_ranges(&mut writing).await?;
    for id in ids {
        diff.link.cache.remove_note(&Note::key(diff.link.family(), id))?;
    }
    diff.partitions.lock().clear();
    Ok(())
}

/// Compares until every partition has come to its end, or the mirror brings nothing more.
async fn through(
    diff: &Diff,
    ends: &BTreeMap<TopicPartition, i64>,
    stop: &CancellationToken,
    operation: &Operation,
) -> Result<(), LinkerError> {
    let env = &diff.link.env;
    let mut progress = diff.link.mirror.progress();
    let mut came_on_at = env.elapsed();
    loop {
        progress.mark_unchanged();
        let more = diff.round(Some(ends), stop).await?;
        let left = diff.left(ends);
        let Some(first) = left.first() else { return Ok(()) };
        if more {
            came_on_at = env.elapsed();
            continue;
        }
        // A mirror that has all there is tells of no progress; what it holds is known once the source answered it.
        if let Ok(changed) = tokio::time::timeout(LOOK_AGAIN, progress.changed()).await {
            // The mirror lives as long as the link.
            let _ = changed;
            came_on_at = env.elapsed();
        }
        if env.elapsed() - came_on_at > MIRROR_STALL_MAX {
            let (count, seconds) = (format_count(left.len(), "partition"), MIRROR_STALL_MAX.as_secs());
            operation.step(
                None,
                format!(
                    "not compared through: {count}; the mirror brought nothing for {seconds} s; the \
                     first is {} at offset {} of {}",
                    first.id, first.from, first.to
                ),
            );
            return Ok(());
        }
    }
}

async fn tell_progress(
    diff: &Diff,
    ends: &BTreeMap<TopicPartition, i64>,
    operation: &Operation,
) -> Result<(), LinkerError> {
    loop {
        let (mut done, mut total) = (0, 0);
        {
            let partitions = diff.partitions.lock();
            for (id, end) in ends {
                let progress = partitions.get(id).map(|partition| &partition.note.progress);
                let (from, through) = progress.map_or((0, 0), |progress| (progress.from, progress.through));
                total += end.saturating_sub(from).max(0) as u64;
                done += through.min(*end).saturating_sub(from).max(0) as u64;
            }
        }
        operation.progress(Some(Progress { what: "offsets compared".into(), done, total }));
        diff.link.env.sleep(PROGRESS_EVERY).await;
    }
}

/// What evidence says about the comparison through these ends.
pub(super) fn entry(diff: &Diff, ends: &BTreeMap<TopicPartition, i64>) -> Body {
    let partitions = diff.partitions.lock();
    let ours: Vec<&Partition> = ends.keys().filter_map(|id| partitions.get(id)).collect();
    let mut counts = DifferenceCounts::default();
    for partition in &ours {
        counts.merge(&partition.note.progress.counts);
    }
    Body::DiffVerdict {
        verdict: report_of(&partitions, ends).verdict,
        partitions: ours.iter().map(|partition| partition.compared()).collect(),
        counts,
        samples: ours.iter().flat_map(|partition| partition.note.samples.clone()).collect(),
    }
}

/// The verdict, in evidence.
async fn conclude(
    diff: &Diff,
    ends: &BTreeMap<TopicPartition, i64>,
    operation: &Operation,
) -> Result<DiffReport, LinkerError> {
    diff.write_evidence().await?;
    let report = report_of(&diff.partitions.lock(), ends);
    let body = entry(diff, ends);
    diff.link.ledger.record_signed(Some(operation.view().request.actor), vec![body]).await?;
    let records = format_count(report.records, "record");
    operation.step(
        None,
        match report.verdict {
            Verdict::Pass => format!("{records} compared, all equal"),
            Verdict::Fail => format!("{} in {records}", format_count(report.differences, "difference")),
            Verdict::Inconclusive if report.records == 0 => {
                "nothing was compared: that proves nothing".into()
            }
            Verdict::Inconclusive => format!("{records} compared and equal, but not to the end"),
        },
    );
    Ok(report)
}
