//! A data object becomes visible.

use std::sync::Arc;

use uuid::Uuid;

use super::Rejection;
use crate::metadata::image::{Image, SnapshotAt, WalPosition};
use crate::metadata::segments::{ObjectId, ObjectImage, SegmentRange};

/// Adds the ranges of one durable object to the index and moves the WAL boundary behind them. Ranges of topics
/// that were deleted, and of offsets that expired meanwhile, are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentCommitted {
    /// The object, already durable.
    pub object: ObjectId,
    /// How many slots the writer had applied when it began the object. See [`Image::born_floor`].
    pub born: u64,
    /// Its whole size.
    pub size_bytes: u64,
    /// What it holds; each range names the same object.
    pub ranges: Vec<SegmentRange>,
    /// How far the WAL is covered by this and earlier commits.
    pub wal: Option<WalTrim>,
}

/// A WAL boundary with the producer state at exactly that point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalTrim {
    /// Whose WAL.
    pub node_id: i32,
    /// The registration of the broker that says so; of another than the newest it takes no effect.
    pub epoch: i64,
    /// WAL sequence number below which everything is committed (exclusive).
    pub trimmed_to: u64,
    /// Where a reader of an object WAL begins from now on; `None`: it is a disk WAL.
    pub position: Option<WalPosition>,
    /// The producer state there.
    pub snapshot: Option<SnapshotAt>,
}

impl SegmentCommitted {
    pub(super) fn apply(&self, image: &mut Image) -> Result<(), Rejection> {
        image.may_commit(self.object, self.born)?;
        if let Some(trim) = &self.wal {
            trim.check(image)?;
        }
        self.check_ranges(image)?;
        let mut live_ranges = 0;
        let expired = |range: &SegmentRange| {
            image
                .partition(range.topic_id, range.partition)
                .is_some_and(|held| range.last_offset < held.log_start)
        };
        let live = self.ranges.iter().filter(|range| !expired(range)).collect::<Vec<_>>();
        let segments = Arc::make_mut(&mut image.segments);
        for range in live {
            let topic = segments.get_mut(&range.topic_id).map(Arc::make_mut);
            let partition = usize::try_from(range.partition).ok();
            if let Some(held) = topic.zip(partition).and_then(|(topic, index)| topic.get_mut(index)) {
                Arc::make_mut(held).push(SegmentRange { object: self.object, ..*range });
                live_ranges += 1;
            }
        }
        let (size_bytes, layer) = (self.size_bytes, image.version);
        let held = ObjectImage { size_bytes, live_ranges, generation: 0, layer };
        Arc::make_mut(&mut image.objects).insert(self.object, held);
        if let Some(trim) = &self.wal {
            trim.apply(image);
        }
        Ok(())
    }

    /// Every range must lie behind what its partition has committed, earlier ranges of this entry included.
    fn check_ranges(&self, image: &Image) -> Result<(), Rejection> {
        let mut ends = std::collections::HashMap::<(Uuid, i32), i64>::new();
        for range in &self.ranges {
            let key = (range.topic_id, range.partition);
            let Some(held) = image.segments(range.topic_id, range.partition) else { continue };
            let end = ends.get(&key).copied().or(held.end());
            if range.base_offset > range.last_offset || end.is_some_and(|end| range.base_offset < end) {
                return Err(Rejection::RangeOverlaps {
                    topic_id: range.topic_id,
                    partition: range.partition,
                    base_offset: range.base_offset,
                    end: end.unwrap_or(range.last_offset),
                    object: self.object,
                });
            }
            ends.insert(key, range.last_offset + 1);
        }
        Ok(())
    }
}

impl WalTrim {
    fn check(&self, image: &Image) -> Result<(), Rejection> {
        image.check_epoch(self.node_id, self.epoch)?;
        match image.wals.get(&self.node_id) {
            Some(wal) if wal.trimmed_to > self.trimmed_to => Err(Rejection::WalBackward {
                node_id: self.node_id,
                held: wal.trimmed_to,
                asked: self.trimmed_to,
            }),
            _ => Ok(()),
        }
    }

    fn apply(&self, image: &mut Image) {
        let wal = Arc::make_mut(&mut image.wals).entry(self.node_id).or_default();
        wal.trimmed_to = self.trimmed_to;
        wal.position = self.position;
        let before = std::mem::replace(&mut wal.snapshot, self.snapshot.clone());
        let gone = before.filter(|before| Some(before) != self.snapshot.as_ref());
        wal.former = gone.as_ref().and_then(SnapshotAt::key).map(str::to_owned);
    }
}
