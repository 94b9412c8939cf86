//! Merging in the background: small ranges of many objects become large runs of one partition (DESIGN §5.2).
//!
//! ```text
//! plan (pure) ─▶ per slice: one read per object, pages verified, one object put ─▶ all committed together
//! ```
//! One merge at a time, holding one slice (`merge_bytes_max`) and one object's index; the partition that is being
//! compacted is left out. Idle it costs nothing: it is woken by commits and by the end of a pass of compaction. After each slice it rests for as long as the slice took, so that uploads and reads always find
//! the store half free.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

pub(super) use plan::Rules;
use plan::{Area, Excluded, Job, Slice, census, plan};

use super::registry::Inner;
use super::replace::{Replaced, Replacement, Written};
use crate::metadata::ObjectId;
use crate::storage::{PageInfo, SegmentError};

/// The longest rest after a slice.
const REST_MAX: Duration = Duration::from_secs(1);
/// How long commits gather before they are looked at.
const GATHER: Duration = Duration::from_millis(500);
/// The rest after the store failed.
const FAILED_REST: Duration = Duration::from_secs(5);

/// Pages of a range, by where it belongs.
type Pages = HashMap<(Uuid, i32, ObjectId), Vec<(PageInfo, Bytes)>>;

/// What a merger remembers.
#[derive(Default)]
pub(super) struct Merger {
    excluded: Excluded,
}

/// What a look at the image led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Nothing is worth merging.
    Nothing,
    /// So many objects were taken into the index.
    Objects(usize),
    /// A source could not be read now.
    Failed,
}

impl Inner {
    /// Merges whenever commits have left enough to merge, until the broker stops.
    pub async fn merge(self: Arc<Inner>) {
        let rules = Rules::of(&self.shared.config);
        let work = async {
            let mut changes = self.shared.metadata.changes();
            let mut rewriting = self.shared.rewriting.changes();
            let mut merger = Merger::default();
            loop {
                changes.borrow_and_update();
                drop(rewriting.borrow_and_update());
                match self.merge_once(&rules, &mut merger).await {
                    Merged::Objects(_) => {}
                    Merged::Failed => self.shared.env.sleep(FAILED_REST).await,
                    Merged::Nothing => {
                        let changed = tokio::select! {
                            changed = changes.changed() => changed,
                            // A pass that ended has left something, or its partition as it was.
                            changed = rewriting.changed() => changed,
                        };
                        if changed.is_err() {
                            return;
                        }
                        self.shared.env.sleep(GATHER).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// One job, if one is worth it.
    pub(super) async fn merge_once(&self, rules: &Rules, merger: &mut Merger) -> Merged {
        let image = self.shared.metadata.image();
        let metrics = &self.shared.metrics.upkeep;
        metrics.show_census(census(&image).into_iter().map(|(number, count)| {
            let generation = number.to_string();
            (generation, count.objects, count.ranges)
        }));
        let (job, _turn) = loop {
            merger.excluded.partition = self.shared.rewriting.compacting();
            let Some(job) = plan(&image, rules, &merger.excluded) else { return Merged::Nothing };
            // Unless a pass of compaction came in between.
            if let Some(turn) = self.shared.rewriting.merge(job.partitions()) {
                break (job, turn);
            }
        };
        drop(image);
        let started = self.shared.env.elapsed();
        let mut written = Vec::new();
        let mut failed = None;
        for slice in &job.slices {
            let began = self.shared.env.elapsed();
            match self.merge_slice(&job, slice).await {
                Ok(object) => written.push(object),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            let took = self.shared.env.elapsed() - began;
            self.shared.env.sleep(took.min(REST_MAX)).await;
        }
        // What was written before a failure is whole by itself.
        let replaced = self.shared.commit(written).await;
        let taken = replaced.iter().filter(|one| matches!(one, Replaced::Taken { .. })).count();
        metrics.merge_seconds.observe((self.shared.env.elapsed() - started).as_secs_f64());
        match failed {
            Some(error) => self.not_merged(error, merger),
            // Stopping, or all of it void: whatever the reason is, trying again at once is no cure.
            None if taken == 0 => Merged::Failed,
            None => {
                metrics.merge_jobs.with_label_values(&["done"]).inc();
                Merged::Objects(taken)
            }
        }
    }

    fn not_merged(&self, (object, error): (ObjectId, SegmentError), merger: &mut Merger) -> Merged {
        self.shared.metrics.upkeep.merge_jobs.with_label_values(&["failed"]).inc();
        let image = self.shared.metadata.image();
        let referred = image.objects.get(&object).is_some_and(|held| held.live_ranges > 0);
        match error {
            SegmentError::Store { .. } => {
                tracing::info!(%error, "a segment could not be read for merging yet");
                return Merged::Failed;
            }
            // Expired or deleted meanwhile: the next plan does not name it.
            SegmentError::Gone { .. } if !referred => {}
            error => {
                tracing::error!(%error, "a segment can't be merged; fix: `towpath broker audit --checksums` says what it holds");
                merger.excluded.objects.insert(object);
            }
        }
        Merged::Objects(0)
    }

    /// Reads a slice, checks every byte and puts it together anew.
    async fn merge_slice(&self, job: &Job, slice: &Slice) -> Result<Written, (ObjectId, SegmentError)> {
        let mut pages = Pages::new();
        for area in &slice.areas {
            self.read_area(slice, area, &mut pages).await.map_err(|error| (area.object, error))?;
        }
        let shared = &self.shared;
        shared.metrics.upkeep.merge_read_bytes.inc_by(slice.bytes());
        let mut replacement = Replacement::new(shared, job.generation);
        replacement.made_of(job.sources.iter().copied());
        for run in &slice.runs {
            let of_run = run.iter().flat_map(|range| {
                pages.remove(&(range.topic_id, range.partition, range.object)).unwrap_or_default()
            });
            replacement.add_pages(run, of_run);
        }
        let written = shared.write(replacement).await;
        shared.metrics.upkeep.merge_written_bytes.inc_by(written.size_bytes());
        Ok(written)
    }

    async fn read_area(&self, slice: &Slice, area: &Area, pages: &mut Pages) -> Result<(), SegmentError> {
        let segments = &self.shared.segments;
        let index = segments.index(area.object).await?;
        let bytes = segments.area(area.object, area.start..area.end).await?;
        for range in slice.runs.iter().flatten().filter(|range| range.object == area.object) {
            let end = range.position + u64::from(range.length);
            if range.position < area.start || end > area.end {
                continue;
            }
            let verified = segments.verified(range, &index, (area.start, &bytes))?;
            pages.insert((range.topic_id, range.partition, range.object), verified);
            // Checksums of 64 MiB take a while: others get their turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
