//! Objects that nothing refers to go: barred first, deleted a grace later, then struck off.
//!
//! ```text
//! unreferenced ─▶ barred (no commit of it counts any more) ─ grace ─▶ deleted ─▶ struck off, the floor rises
//! ```
//! Whoever read an image from before still finds the object for a grace; later it sees that it is gone and looks
//! again. Once struck off, the floor keeps a commit void that was under way all the time
//! ([`crate::metadata::Image::born_floor`]): a put that arrives late leaves an orphan, and the next sweep finds it.
//!
//! The sweep lists the store, rarely, for what a crash left behind between a put and its commit, or between a commit and
//! the deletion of the snapshot before, or in the middle of a start-up probe.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt;

use super::registry::Inner;
use super::snapshot::segment_of_snapshot;
use crate::metadata::entry::{Entry, ObjectBarred, ObjectDeleted};
use crate::metadata::{Image, ObjectId, ProposeError, SnapshotAt};
use crate::storage::SegmentStore;

/// So many objects are barred or deleted with one request, as many as S3 deletes at once.
const BULK_MAX: usize = 1_000;
/// So many orphans of a kind are handled per sweep; the next finds the rest.
const ORPHANS_MAX: usize = 10_000;

/// What a collector remembers between two looks. A restart begins every grace anew.
#[derive(Default)]
pub(super) struct Collector {
    barred_since: HashMap<ObjectId, Duration>,
    /// Those that came to their end, and when the last one began.
    sweeps: u64,
    swept_at: Duration,
}

impl Inner {
    /// Bars, deletes and strikes off what is due; sweeps when the interval has passed.
    pub(super) async fn collect(&self, collector: &mut Collector) {
        self.sweep_when_due(collector).await;
        self.bar_unreferenced().await;
        self.delete_barred(collector).await;
    }

    /// At a start; a grace later, when what a crash left just before it is old enough; then once per interval. One that
    /// fails is begun anew in the next round.
    pub(super) async fn sweep_when_due(&self, collector: &mut Collector) {
        let now = self.shared.env.elapsed();
        let (interval, grace) = (self.shared.config.orphan_sweep_interval, self.shared.config.delete_grace);
        let wait = match collector.sweeps {
            0 => Duration::ZERO,
            1 => grace.min(interval),
            _ => interval,
        };
        if now - collector.swept_at < wait {
            return;
        }
        let result = match self.sweep().await {
            Ok(()) => {
                (collector.sweeps, collector.swept_at) = (collector.sweeps + 1, now);
                "done"
            }
            Err(error) => {
                tracing::info!(%error, "the store could not be searched for orphans; the next round tries again");
                "failed"
            }
        };
        self.shared.metrics.upkeep.sweeps.with_label_values(&[result]).inc();
    }

    /// Bars what was put and not committed for longer than the grace; of snapshots and probes such are deleted at once.
    pub(super) async fn sweep(&self) -> object_store::Result<()> {
        let shared = &self.shared;
        // The image is asked behind the listing: what was committed by now is known by now, or is barred in vain.
        let undecided = |object: &ObjectId| !is_decided(&shared.metadata.image(), *object);
        let of_segment = |key: &str| key.rsplit_once('/')?.1.parse().ok().map(ObjectId);
        let mut orphans = self.old_ones("segments", |key| of_segment(&key).filter(undecided)).await?;
        // A snapshot's commit is that of the segment it was taken with; a name that tells none is nobody's.
        let unreferenced = |key: String| {
            let segment = segment_of_snapshot(&key)?;
            (!refers_to_snapshot(&shared.metadata.image(), &key)).then_some((key, segment))
        };
        let snapshots = self.old_ones("snapshots", unreferenced).await?;
        orphans.extend(snapshots.iter().map(|(_, segment)| *segment).filter(undecided));
        if !orphans.is_empty() {
            tracing::info!(count = orphans.len(), "orphans are barred, and deleted after the grace");
        }
        shared.metrics.upkeep.orphans.inc_by(orphans.len() as u64);
        self.bar(orphans).await;
        // Where barring failed the commit may still win, and would name a snapshot that is gone: the next sweep asks
        // again. Nobody reads one that is not named: who starts reads the newest image, and no other is written then.
        let image = shared.metadata.image();
        let decided = |(key, segment): &(String, ObjectId)| {
            is_decided(&image, *segment) && !refers_to_snapshot(&image, key)
        };
        let needless = snapshots.into_iter().filter(decided).map(|(key, _)| key).collect();
        self.delete(needless, "snapshot").await;
        let probes = self.old_ones("probe", Some).await?;
        self.delete(probes, "probe").await;
        Ok(())
    }

    /// What `of` takes of a folder's objects that were put longer ago than the grace; the next sweep finds the rest.
    async fn old_ones<T>(
        &self,
        folder: &str,
        of: impl Fn(String) -> Option<T>,
    ) -> object_store::Result<Vec<T>> {
        let oldest_ms = self.shared.env.now_ms() - self.shared.config.delete_grace.as_millis() as i64;
        let mut listed = self.shared.segments.list(folder);
        let mut found = Vec::new();
        while let Some(object) = listed.try_next().await? {
            if object.last_modified.timestamp_millis() <= oldest_ms && found.len() < ORPHANS_MAX {
                found.extend(of(object.location.to_string()));
            }
        }
        Ok(found)
    }

    async fn delete(&self, keys: Vec<String>, kind: &str) {
        for chunk in keys.chunks(BULK_MAX) {
            let gone = self.shared.segments.delete_all(chunk.to_vec()).await;
            self.shared.metrics.upkeep.objects_deleted.with_label_values(&[kind]).inc_by(gone.len() as u64);
        }
    }

    async fn bar_unreferenced(&self) {
        let image = self.shared.metadata.image();
        let unreferenced = image.objects.iter().filter(|(_, held)| held.live_ranges == 0);
        self.bar(unreferenced.map(|(object, _)| *object).collect()).await;
    }

    async fn bar(&self, mut objects: Vec<ObjectId>) {
        objects.sort_unstable();
        for chunk in objects.chunks(BULK_MAX) {
            let entries = chunk.iter().map(|object| ObjectBarred { object: *object }.into());
            self.propose_each(entries.collect(), "an object could not be barred yet").await;
        }
    }

    /// Together; if one of them is refused, each by itself.
    async fn propose_each(&self, entries: Vec<Entry>, failed: &str) {
        let metadata = &self.shared.metadata;
        match metadata.propose_all(entries.clone()).await {
            Ok(_) => {}
            Err(ProposeError::Rejected(_)) => {
                let alone = entries.into_iter().map(|entry| metadata.propose(entry));
                for result in futures::future::join_all(alone).await {
                    if let Err(error) = result {
                        tracing::info!(%error, "{failed}");
                    }
                }
            }
            Err(error) => tracing::info!(%error, "{failed}"),
        }
    }

    async fn delete_barred(&self, collector: &mut Collector) {
        let now = self.shared.env.elapsed();
        let image = self.shared.metadata.image();
        let since = &mut collector.barred_since;
        since.retain(|object, _| image.barred.contains_key(object));
        for object in image.barred.keys() {
            since.entry(*object).or_insert(now);
        }
        self.shared.metrics.upkeep.objects_barred.set(since.len() as i64);
        let grace = self.shared.config.delete_grace;
        let ripe = since.iter().filter(|(_, since)| now - **since >= grace).map(|(object, _)| *object);
        let mut ripe: Vec<ObjectId> = ripe.collect();
        ripe.sort_unstable();
        for chunk in ripe.chunks(BULK_MAX) {
            let keys: Vec<String> = chunk.iter().map(|object| SegmentStore::segment_key(*object)).collect();
            let gone = self.shared.segments.delete_all(keys).await;
            self.shared
                .metrics
                .upkeep
                .objects_deleted
                .with_label_values(&["segment"])
                .inc_by(gone.len() as u64);
            let gone = chunk.iter().filter(|object| gone.contains(&SegmentStore::segment_key(**object)));
            let entries: Vec<Entry> = gone.map(|object| ObjectDeleted { object: *object }.into()).collect();
            self.propose_each(entries, "a deleted object could not be struck off yet").await;
        }
    }
}

/// Whether no commit of an object that has not taken effect yet ever can.
fn is_decided(image: &Image, object: ObjectId) -> bool {
    image.objects.contains_key(&object) || image.barred.contains_key(&object)
}

fn refers_to_snapshot(image: &Image, key: &str) -> bool {
    image.wals.values().any(|wal| wal.snapshot.as_ref().and_then(SnapshotAt::key) == Some(key))
}
