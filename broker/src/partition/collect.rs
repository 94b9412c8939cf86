//! Objects that nothing refers to go: barred first, deleted a grace later, then struck off.
//!
//! ```text
//! unreferenced ─▶ barred (no commit of it counts any more) ─ grace ─▶ deleted ─▶ struck off, the floor rises
//! ```
//! Whoever read an image from before still finds the object for a grace; later it sees that it is gone and looks
//! again. Once struck off, the floor keeps a commit void that was under way all the time
//! ([`crate::metadata::Image::born_floor`]): a put that arrives late leaves an orphan, and the next sweep finds it.
//!
//! The sweep lists the store, rarely, for what a crash between a put and its commit left behind.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectMeta;

use super::registry::Inner;
use crate::metadata::entry::{Entry, ObjectBarred, ObjectDeleted};
use crate::metadata::{Image, ObjectId, ProposeError, SnapshotAt};
use crate::storage::SegmentStore;

/// So many objects are barred or deleted with one request, as many as S3 deletes at once.
const BULK_MAX: usize = 1_000;
/// So many orphans are handled per sweep; the next finds the rest.
const ORPHANS_MAX: usize = 10_000;

/// What a collector remembers between two looks. A restart begins every grace anew.
#[derive(Default)]
pub(super) struct Collector {
    barred_since: HashMap<ObjectId, Duration>,
    /// Snapshots that nothing refers to or ever will, and since when that was known.
    snapshots: BTreeMap<String, Duration>,
    swept_at: Option<Duration>,
}

impl Inner {
    /// Bars, deletes and strikes off what is due; sweeps when the interval has passed.
    pub(super) async fn collect(&self, collector: &mut Collector) {
        self.sweep_when_due(collector).await;
        self.bar_unreferenced().await;
        self.delete_barred(collector).await;
        self.delete_snapshots(collector).await;
    }

    async fn sweep_when_due(&self, collector: &mut Collector) {
        let now = self.shared.env.elapsed();
        let interval = self.shared.config.orphan_sweep_interval;
        if collector.swept_at.is_some_and(|at| now - at < interval) {
            return;
        }
        collector.swept_at = Some(now);
        let swept = self.sweep(collector).await;
        let result = if swept.is_ok() { "done" } else { "failed" };
        self.shared.metrics.upkeep.sweeps.with_label_values(&[result]).inc();
        if let Err(error) = swept {
            tracing::info!(%error, "the store could not be searched for orphans; the next sweep is tried in time");
        }
    }

    /// Bars what was put and not committed for longer than the grace.
    pub(super) async fn sweep(&self, collector: &mut Collector) -> object_store::Result<()> {
        let oldest_ms = self.shared.env.now_ms() - self.shared.config.delete_grace.as_millis() as i64;
        let shared = &self.shared;
        let mut orphans = Vec::new();
        let mut snapshots = Vec::new();
        let mut listed = shared.segments.list("segments");
        while let Some(found) = listed.try_next().await? {
            let old = found.last_modified.timestamp_millis() <= oldest_ms;
            let Some(object) = object_of(&found).filter(|_| old && orphans.len() < ORPHANS_MAX) else {
                continue;
            };
            // After the listing named it: what was committed by now is known by now, or is barred in vain.
            if !is_decided(&shared.metadata.image(), object) {
                orphans.push(object);
            }
        }
        let mut listed = shared.segments.list("snapshots");
        while let Some(found) = listed.try_next().await? {
            let old = found.last_modified.timestamp_millis() <= oldest_ms;
            // Its commit is that of the segment it was taken with; a name that tells none is nobody's.
            let Some(segment) = object_of(&found).filter(|_| old && snapshots.len() < ORPHANS_MAX) else {
                continue;
            };
            let image = shared.metadata.image();
            let key = found.location.to_string();
            if !refers_to_snapshot(&image, &key) {
                orphans.extend(Some(segment).filter(|object| !is_decided(&image, *object)));
                snapshots.push((key, segment));
            }
        }
        if !orphans.is_empty() {
            tracing::info!(count = orphans.len(), "orphans are barred, and deleted after the grace");
        }
        shared.metrics.upkeep.orphans.inc_by(orphans.len() as u64);
        self.bar(orphans).await;
        // Where barring failed the commit may still win, and would name a snapshot that is gone: the next sweep asks
        // again.
        let (image, now) = (shared.metadata.image(), shared.env.elapsed());
        for (key, _) in snapshots.into_iter().filter(|(_, segment)| is_decided(&image, *segment)) {
            collector.snapshots.entry(key).or_insert(now);
        }
        Ok(())
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

    async fn delete_snapshots(&self, collector: &mut Collector) {
        let (now, grace) = (self.shared.env.elapsed(), self.shared.config.delete_grace);
        let image = self.shared.metadata.image();
        collector.snapshots.retain(|key, _| !refers_to_snapshot(&image, key));
        let ripe = collector.snapshots.iter().filter(|(_, since)| now - **since >= grace);
        let ripe: Vec<String> = ripe.map(|(key, _)| key.clone()).take(BULK_MAX).collect();
        let gone = self.shared.segments.delete_all(ripe).await;
        self.shared.metrics.upkeep.objects_deleted.with_label_values(&["snapshot"]).inc_by(gone.len() as u64);
        collector.snapshots.retain(|key, _| !gone.contains(key));
    }
}

/// Whether no commit of an object that has not taken effect yet ever can.
fn is_decided(image: &Image, object: ObjectId) -> bool {
    image.objects.contains_key(&object) || image.barred.contains_key(&object)
}

fn refers_to_snapshot(image: &Image, key: &str) -> bool {
    image.wals.values().any(|wal| wal.snapshot.as_ref().and_then(SnapshotAt::key) == Some(key))
}

/// The object that a name tells: the whole of it, or what stands behind the first hyphen of a snapshot's.
fn object_of(found: &ObjectMeta) -> Option<ObjectId> {
    let name = found.location.filename()?;
    let parse = |text: &str| text.parse().ok().map(ObjectId);
    parse(name).or_else(|| parse(name.split_once('-')?.1))
}
