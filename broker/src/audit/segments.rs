//! Whether segments hold what the metadata says of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use prometheus::Registry;
use towpath_env::Env;
use towpath_wire::batch::views;

use super::account::Listing;
use super::{AuditError, Finding, FindingKind, Subject, Suspect};
use crate::metadata::{Image, ObjectId, ObjectImage, SegmentRange};
use crate::storage::{
    PageInfo, SegmentError, SegmentStore, StorageConfig, StorageMetrics, cut, disagreement, place, stretches,
};

/// So many objects are looked at together; of each one stretch is in memory.
const OBJECTS_AT_ONCE: usize = 8;
/// Bytes that are read at once; a page is read whole.
const STRETCH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Checks every object that the metadata refers to and the listing has.
pub(super) async fn check(
    store: &Arc<dyn ObjectStore>,
    env: &Env,
    image: &Image,
    (listing, checksums): (&Listing, bool),
) -> Result<Vec<Suspect>, AuditError> {
    let metrics = StorageMetrics::register(&Registry::new());
    let metrics = metrics.map_err(|error| AuditError::Store(error.to_string()))?;
    // Everything is read once: nothing is worth keeping.
    let config = StorageConfig { block_cache_bytes_max: 0, ..StorageConfig::new(0, "") };
    let segments = SegmentStore::new(store.clone(), &config, env.clone(), metrics);
    let mut by_object = HashMap::<ObjectId, Vec<SegmentRange>>::new();
    for range in image.partitions_in_order().into_iter().flat_map(|(_, _, held)| held.ranges()) {
        by_object.entry(range.object).or_default().push(*range);
    }
    let checks = by_object.into_iter().map(|(object, ranges)| {
        let checked = Checked { segments: &segments, image, object };
        let listed = listing.segment(object);
        async move {
            let mut findings = Vec::new();
            let known = image.objects.get(&object).map(|held| held.size_bytes);
            if let (Some(listed), Some(known)) = (listed, known)
                && listed.size_bytes != known
            {
                let what = format!("it has {} bytes, and the metadata says {known}", listed.size_bytes);
                findings.push(checked.suspect(FindingKind::Size, what));
            }
            if listed.is_some() {
                findings.extend(checked.contents(&ranges, checksums).await?);
            }
            Ok::<_, AuditError>(findings)
        }
    });
    let findings = futures::stream::iter(checks).buffer_unordered(OBJECTS_AT_ONCE);
    Ok(findings.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// What a missing object held.
pub(super) fn lost(image: &Image, object: ObjectId, held: &ObjectImage) -> Vec<Suspect> {
    let all = image.partitions_in_order().into_iter().flat_map(|(_, _, held)| held.ranges());
    let ranges = all.filter(|range| range.object == object);
    let what = format!("it is not there; it held {} bytes in {} ranges", held.size_bytes, held.live_ranges);
    let finding = |range| Finding { ..about(image, range, FindingKind::Missing, what.clone()) };
    ranges.map(|range| (Subject::Object(object), finding(range))).collect()
}

/// A finding about a range.
fn about(image: &Image, range: &SegmentRange, kind: FindingKind, what: String) -> Finding {
    Finding {
        topic: image.topic_by_id(range.topic_id).map(|topic| topic.name.clone()),
        partition: Some(range.partition),
        offsets: Some((range.base_offset, range.last_offset)),
        ..Finding::of(kind, SegmentStore::segment_key(range.object), what)
    }
}

/// An object while it is checked.
struct Checked<'a> {
    segments: &'a SegmentStore,
    image: &'a Image,
    object: ObjectId,
}

impl Checked<'_> {
    fn suspect(&self, kind: FindingKind, what: String) -> Suspect {
        let finding = Finding::of(kind, SegmentStore::segment_key(self.object), what);
        (Subject::Object(self.object), finding)
    }

    fn suspect_range(&self, range: &SegmentRange, kind: FindingKind, what: String) -> Suspect {
        (Subject::Object(self.object), about(self.image, range, kind, what))
    }

    async fn contents(&self, ranges: &[SegmentRange], checksums: bool) -> Result<Vec<Suspect>, AuditError> {
        let index = match self.segments.index(self.object).await {
            Ok(index) => index,
            Err(error) => return Ok(vec![self.failed(FindingKind::Footer, error)?]),
        };
        let mut suspects = Vec::new();
        for range in ranges {
            let Some(pages) = index.get(&(range.topic_id, range.partition)) else {
                let what = "its footer does not have the partition".to_owned();
                suspects.push(self.suspect_range(range, FindingKind::Index, what));
                continue;
            };
            if let Some(what) = disagreement(range, pages) {
                suspects.push(self.suspect_range(range, FindingKind::Index, what.to_owned()));
            } else if checksums {
                suspects.extend(self.bytes(range, pages).await?);
            }
        }
        Ok(suspects)
    }

    /// A store that failed is no finding.
    fn failed(&self, kind: FindingKind, error: SegmentError) -> Result<Suspect, AuditError> {
        match error {
            SegmentError::Store { .. } => Err(AuditError::Store(error.to_string())),
            SegmentError::Gone { .. } => Ok(self.suspect(FindingKind::Missing, "it is not there".to_owned())),
            SegmentError::Damaged { reason, .. } => Ok(self.suspect(kind, reason)),
        }
    }

    /// Reads all of a range, some pages at a time.
    async fn bytes(&self, range: &SegmentRange, pages: &[PageInfo]) -> Result<Vec<Suspect>, AuditError> {
        let mut suspects = Vec::new();
        for stretch in stretches(pages, STRETCH_BYTES_MAX) {
            match self.segments.area(self.object, place(stretch)).await {
                Ok(content) => suspects.extend(cut(stretch, &content).filter_map(|(page, bytes)| {
                    let what = match bytes {
                        Some(bytes) => wrong(page, &bytes)?,
                        None => format!("the page at byte {} is not all there", page.position),
                    };
                    let page = SegmentRange {
                        base_offset: page.base_offset,
                        last_offset: page.last_offset,
                        ..*range
                    };
                    Some(self.suspect_range(&page, FindingKind::Checksum, what))
                })),
                Err(error) => suspects.push(self.failed(FindingKind::Footer, error)?),
            }
        }
        Ok(suspects)
    }
}

/// What is wrong with a page.
fn wrong(page: &PageInfo, content: &[u8]) -> Option<String> {
    let at = page.position;
    let place: Range<u64> = at..at + u64::from(page.length);
    if !page.checks(content) {
        return Some(format!("bytes {} to {} do not check", place.start, place.end));
    }
    let mut next = page.base_offset;
    for batch in views(content) {
        let Ok(batch) = batch else {
            return Some(format!("bytes {} to {} are no batches", place.start, place.end));
        };
        if batch.base_offset() < next || batch.last_offset() > page.last_offset {
            return Some(format!("the batch of offset {} is out of place", batch.base_offset()));
        }
        next = batch.next_offset();
    }
    None
}
