//! Small objects become one large one.

use std::sync::Arc;

use super::Rejection;
use crate::metadata::image::Image;
use crate::metadata::segments::{ObjectId, ObjectImage, SegmentRange};

/// Replaces runs of ranges by ranges of one new, durable object that hold the same offsets (or fewer records,
/// after compaction). A range whose run is no longer in the index exactly (expired, merged by another) is
/// skipped; where all are, the entry takes no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentsMerged {
    /// The new object, already durable.
    pub object: ObjectId,
    /// Its whole size.
    pub size_bytes: u64,
    /// What it holds. Each covers exactly the offsets of a run of ranges that it replaces.
    pub ranges: Vec<SegmentRange>,
    /// The objects whose ranges are replaced: a range of any other object is not touched.
    pub replaced: Vec<ObjectId>,
}

impl SegmentsMerged {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        if image.barred.contains_key(&self.object) {
            return Err(Rejection::ObjectBarred(self.object));
        }
        if image.objects.contains_key(&self.object) {
            return Err(Rejection::ObjectExists(self.object));
        }
        if !self.ranges.iter().any(|range| self.run(image, range).is_some()) {
            return Err(Rejection::NothingToReplace(self.object));
        }
        let mut live_ranges = 0;
        for range in &self.ranges {
            let Some(run) = self.run(image, range) else { continue };
            let segments = Arc::make_mut(&mut image.segments);
            let topic = segments.get_mut(&range.topic_id).map(Arc::make_mut);
            let index = usize::try_from(range.partition).ok();
            if let Some(held) = topic.zip(index).and_then(|(topic, index)| topic.get_mut(index)) {
                let gone = Arc::make_mut(held).replace(run, SegmentRange { object: self.object, ..*range });
                live_ranges += 1;
                image.unreference(gone.into_iter().map(|range| range.object));
            }
        }
        Arc::make_mut(&mut image.objects)
            .insert(self.object, ObjectImage { size_bytes: self.size_bytes, live_ranges });
        Ok(())
    }

    fn run(&self, image: &Image, range: &SegmentRange) -> Option<std::ops::Range<usize>> {
        let held = image.segments(range.topic_id, range.partition)?;
        let run = held.run_of(range)?;
        held.ranges()[run.clone()].iter().all(|held| self.replaced.contains(&held.object)).then_some(run)
    }
}
