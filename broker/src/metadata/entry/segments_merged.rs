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
    /// How many slots the writer had applied when it began the object. See [`Image::born_floor`].
    pub born: u64,
    /// How often its bytes were merged, this time included.
    pub generation: u8,
    /// Its whole size.
    pub size_bytes: u64,
    /// What it holds. Each covers exactly the offsets of a run of ranges that it replaces.
    pub ranges: Vec<SegmentRange>,
    /// The objects whose ranges are replaced: a range of any other object is not touched.
    pub replaced: Vec<ObjectId>,
}

impl SegmentsMerged {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        image.may_commit(self.object, self.born)?;
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
        let sources = self.replaced.iter().filter_map(|object| image.objects.get(object));
        let layer = sources.map(|source| source.layer).max().unwrap_or(image.version);
        let (size_bytes, generation) = (self.size_bytes, self.generation);
        let held = ObjectImage { size_bytes, live_ranges, generation, layer };
        Arc::make_mut(&mut image.objects).insert(self.object, held);
        Ok(())
    }

    fn run(&self, image: &Image, range: &SegmentRange) -> Option<std::ops::Range<usize>> {
        let held = image.segments(range.topic_id, range.partition)?;
        let run = held.run_of(range)?;
        held.ranges()[run.clone()].iter().all(|held| self.replaced.contains(&held.object)).then_some(run)
    }
}
