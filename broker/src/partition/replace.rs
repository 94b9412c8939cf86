//! New objects in the place of old ranges: what merging and compaction share.
//!
//! ```text
//! turn ─▶ ranges from the image ─▶ read, rewrite ─▶ put (until it is there) ─▶ SegmentsMerged (until its fate is known)
//! ```
//! What a replacement no longer fits (expired, deleted, replaced by another) is skipped when its entry is applied;
//! an object of which nothing was taken is never referred to, and collected as an orphan. A crash anywhere leaves
//! the old ranges, or the new ones.

use std::collections::BTreeSet;

use bytes::Bytes;
use towpath_env::retry::RetryPolicy;
use towpath_wire::batch::Batch;

use super::Shared;
use crate::metadata::entry::{Entry, ObjectBarred, SegmentsMerged};
use crate::metadata::{ObjectId, ProposeError, Rejection, SegmentRange};
use crate::storage::{Cover, PageInfo, SegmentBuilder};

/// One object that is to take the place of runs of ranges, while it is put together.
pub(crate) struct Replacement {
    segment: SegmentBuilder,
    born: u64,
    generation: u8,
    replaced: BTreeSet<ObjectId>,
}

/// A replacement whose object is durable, and not yet referred to.
pub(crate) struct Written {
    entry: SegmentsMerged,
}

/// What became of one replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// So many of its ranges were in the index when the entry was seen to have taken effect.
    Taken {
        /// The object.
        object: ObjectId,
        /// How many.
        ranges: u32,
    },
    /// Nothing of it was taken: everything it would replace has changed. The object is barred and deleted later.
    Void,
    /// The broker stops; it may or may not have been taken.
    Closed,
}

impl Replacement {
    /// An empty object with a new name. `generation`: how often its bytes were merged, this time included; whoever
    /// rewrites ranges without joining objects gives that of its sources.
    ///
    /// Name it no sooner than its content is at hand: an object that is begun and not committed within
    /// `delete_grace` can't be committed any more.
    pub fn new(shared: &Shared, generation: u8) -> Replacement {
        // In this order: the object may not be younger than the image says.
        let born = shared.metadata.image().version;
        let segment = SegmentBuilder::new(ObjectId(shared.env.uuid()));
        Replacement { segment, born, generation, replaced: BTreeSet::new() }
    }

    /// Replaces a run of consecutive ranges of one partition by these batches, in order, at their offsets; there may
    /// be fewer than before, or none. Partitions come in the order of topic id and index, each once.
    pub fn add_batches(&mut self, run: &[SegmentRange], batches: impl IntoIterator<Item = Batch>) {
        if let Some(cover) = self.cover(run) {
            self.segment.add_batches(cover, batches);
        }
    }

    /// As [`Replacement::add_batches`], with whole pages whose checksums were verified, and are carried over.
    pub fn add_pages(&mut self, run: &[SegmentRange], pages: impl IntoIterator<Item = (PageInfo, Bytes)>) {
        if let Some(cover) = self.cover(run) {
            self.segment.add_pages(cover, pages);
        }
    }

    /// Lets the object count as made of all of these: the objects of one merge share their layer.
    pub fn made_of(&mut self, sources: impl IntoIterator<Item = ObjectId>) {
        self.replaced.extend(sources);
    }

    fn cover(&mut self, run: &[SegmentRange]) -> Option<Cover> {
        let (first, last) = (run.first()?, run.last()?);
        self.replaced.extend(run.iter().map(|range| range.object));
        Some(Cover {
            topic_id: first.topic_id,
            partition: first.partition,
            base_offset: first.base_offset,
            last_offset: last.last_offset,
        })
    }
}

impl Written {
    /// Size of the object.
    pub fn size_bytes(&self) -> u64 {
        self.entry.size_bytes
    }
}

impl Shared {
    /// Puts the object, trying until it is there.
    pub async fn write(&self, replacement: Replacement) -> Written {
        let Replacement { segment, born, generation, replaced } = replacement;
        let mut segment = segment.finish();
        let (object, size_bytes) = (segment.object, segment.size_bytes);
        let ranges = std::mem::take(&mut segment.ranges);
        self.segments.put_segment(segment).await;
        let replaced = replaced.into_iter().collect();
        Written { entry: SegmentsMerged { object, born, generation, size_bytes, ranges, replaced } }
    }

    /// Puts durable replacements into the index, each by itself, and resolves outcomes that are unknown. Waiting
    /// together they share one object of the metadata log.
    pub async fn commit(&self, written: Vec<Written>) -> Vec<Replaced> {
        futures::future::join_all(written.into_iter().map(|written| self.commit_one(written.entry))).await
    }

    async fn commit_one(&self, entry: SegmentsMerged) -> Replaced {
        let object = entry.object;
        let mut delays = RetryPolicy::FOREVER.delays(&self.env);
        loop {
            match self.metadata.propose(Entry::SegmentsMerged(entry.clone())).await {
                Ok(image) => {
                    let ranges = image.objects.get(&object).map_or(0, |held| held.live_ranges);
                    return Replaced::Taken { object, ranges };
                }
                // An attempt whose outcome was unknown has taken effect.
                Err(ProposeError::Rejected(Rejection::ObjectExists(_))) => {
                    let image = self.metadata.image();
                    let ranges = image.objects.get(&object).map_or(0, |held| held.live_ranges);
                    return Replaced::Taken { object, ranges };
                }
                Err(ProposeError::Rejected(reason)) => {
                    tracing::debug!(%object, %reason, "a replacement is void");
                    // Left as it is, the orphan sweep finds it.
                    let barred = self.metadata.propose(ObjectBarred { object }.into()).await;
                    if let Err(error) = barred {
                        tracing::info!(%object, %error, "a void object could not be barred yet");
                    }
                    return Replaced::Void;
                }
                Err(ProposeError::Closed) => return Replaced::Closed,
                Err(error) => {
                    tracing::warn!(%object, %error, "a replacement could not be committed yet");
                    let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
                    self.env.sleep(delay).await;
                }
            }
        }
    }
}
