//! One round of the running diff: what can be compared now is compared, in stretches that do not take long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use towpath_plans::diff::OffsetRange;
use towpath_plans::evidence::{Body, PseudonymKind, RangeCompared};
use towpath_plans::model::RecordContents;
use towpath_wire::client::TopicPartition;
use uuid::Uuid;

use super::comparison::{Compared, Terms};
use super::reader::Stretch;
use super::run::Diff;
use super::state::{Note, Partition, Showing};
use crate::error::{LinkerError, Side};
use crate::link::replicator::Positions;

/// How long a round should take at the plan's bandwidth: no partition waits longer for its turn.
const ROUND_SECONDS: u64 = 10;
/// Ranges in one entry of evidence.
const RANGES_PER_ENTRY_MAX: usize = 256;
/// Comparisons of a tail that may each have to be begun again: a prefix expires, or much differs.
const TAIL_ATTEMPTS_MAX: usize = 1_000;

/// Somebody waits for the turn and must not wait long, until this is dropped.
pub(super) struct Urgent<'a>(&'a AtomicUsize);

impl<'a> Urgent<'a> {
    pub(super) fn begin(waiting: &'a AtomicUsize) -> Urgent<'a> {
        waiting.fetch_add(1, Ordering::SeqCst);
        Urgent(waiting)
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Diff {
    /// Compares what both sides hold (of `only`, or of everything); answers whether more is waiting.
    pub(super) async fn round(
        &self,
        only: Option<&BTreeMap<TopicPartition, i64>>,
        stop: &CancellationToken,
    ) -> Result<bool, LinkerError> {
        let _turn = self.turn.lock().await;
        let held = self.held(only);
        let give_up = stop.child_token();
        *self.under_way.lock() = give_up.clone();
        if self.urgent.load(Ordering::SeqCst) > 0 {
            return Ok(true);
        }
        self.know(&held).await?;
        let began_ms = self.link.env.now_ms();
        let (stretches, whole) = self.stretches(&held);
        if !stretches.is_empty() {
            let terms =
                Terms { bytes_per_s: self.link.plan.diff.bandwidth_bytes_per_s_max, stop: give_up.clone() };
            let compared = self.compare(&stretches, &terms).await;
            self.keep()?;
            compared?;
        }
        self.mark_reached(&held, began_ms);
        self.keep()?;
        Ok(!whole || give_up.is_cancelled())
    }

    /// Closes the tail up to `ends`, with the turn.
    pub(super) async fn close_under_turn(
        &self,
        ends: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), LinkerError> {
        let _turn = self.turn.lock().await;
        self.know(&self.held(Some(ends))).await?;
        let terms = Terms { bytes_per_s: 0, stop: CancellationToken::new() };
        for _ in 0..TAIL_ATTEMPTS_MAX {
            let tail = self.tail(ends);
            if tail.is_empty() {
                return self.keep();
            }
            if let Some(unknown) = tail.iter().find(|stretch| !self.knows(&stretch.id)) {
                return Err(LinkerError::refused(
                    format!("{} is not mirrored, or the mirror holds nothing of it yet", unknown.id),
                    format!("look at `towpath status {}`", self.link.family()),
                ));
            }
            self.compare(&tail, &terms).await?;
            if self.tail(ends) == tail {
                break;
            }
        }
        let at = self.tail(ends).first().map(|stretch| format!("{} at offset {}", stretch.id, stretch.from));
        Err(LinkerError::Answer {
            side: Side::Target,
            problem: format!("the comparison does not get on: {}", at.unwrap_or_default()),
            fix: "check that both sides keep what they hold (retention), then try again".into(),
        })
    }

    /// What is left to compare up to `ends`.
    pub(super) fn tail(&self, ends: &BTreeMap<TopicPartition, i64>) -> Vec<Stretch> {
        let partitions = self.partitions.lock();
        let stretch = |(id, end): (&TopicPartition, &i64)| {
            let from = partitions.get(id).map_or(0, |partition| partition.note.progress.through);
            (from < *end).then(|| Stretch { id: id.clone(), from, to: *end })
        };
        ends.iter().filter_map(stretch).collect()
    }

    /// What is left to compare up to `ends`, or was not looked at yet.
    pub(super) fn left(&self, ends: &BTreeMap<TopicPartition, i64>) -> Vec<Stretch> {
        let mut left = self.tail(ends);
        let unknown = ends.iter().filter(|(id, end)| **end == 0 && !self.knows(id));
        left.extend(unknown.map(|(id, _)| Stretch { id: id.clone(), from: 0, to: 0 }));
        left
    }

    /// Whether there are partitions that were not looked at yet.
    pub(super) fn knows_all(&self) -> bool {
        self.partitions.lock().len() >= self.link.mirror.partitions().len()
    }

    fn knows(&self, id: &TopicPartition) -> bool {
        self.partitions.lock().contains_key(id)
    }

    /// Where the mirror stands, of the partitions of which enough is known.
    fn held(
        &self,
        only: Option<&BTreeMap<TopicPartition, i64>>,
    ) -> BTreeMap<TopicPartition, (Uuid, Positions)> {
        let placed = self.link.mirror.partitions().into_iter();
        let held = placed.filter_map(|placed| {
            let replicator = &placed.replicator;
            let positions = replicator.positions();
            // Before its first answer, what the source holds is a guess; before the mirror holds something of what
            // is there, so is where the comparison begins.
            let known = positions.source_answered_ms > 0
                && (positions.target_log_end > 0 || positions.source_high_watermark == 0);
            let wanted = only.is_none_or(|only| only.contains_key(&replicator.id));
            (known && wanted).then(|| (replicator.id.clone(), (replicator.source_topic_id, positions)))
        });
        held.collect()
    }

    /// Takes up partitions that were not seen before: from the cache, or from the beginning.
    async fn know(&self, held: &BTreeMap<TopicPartition, (Uuid, Positions)>) -> Result<(), LinkerError> {
        let new: Vec<&TopicPartition> = held.keys().filter(|id| !self.knows(id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let topics: BTreeSet<&str> = new.iter().map(|id| id.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let target = self.link.target.client.metadata(&topics).await;
        let target = target.map_err(LinkerError::cluster(Side::Target, "look up mirror topics"))?;
        for id in new {
            let (source_id, positions) = &held[id];
            let Some(topic) = target.topics.get(&id.topic) else { continue };
            let topic_ids = (*source_id, topic.topic_id);
            let kept: Option<Note> = self.link.cache.note(&Note::key(self.link.family(), id))?;
            let note = match kept {
                Some(note) if note.topic_ids == topic_ids => note,
                _ => self.note_at_the_beginning(id, topic_ids, positions),
            };
            self.partitions.lock().entry(id.clone()).or_insert_with(|| Partition::new(note));
        }
        Ok(())
    }

    /// A comparison that begins at the first offset that either side holds: what only one of them holds has
    /// expired on the other.
    fn note_at_the_beginning(
        &self,
        id: &TopicPartition,
        topic_ids: (Uuid, Uuid),
        positions: &Positions,
    ) -> Note {
        let from = positions.source_log_start.min(positions.target_log_start);
        Note::new(id, topic_ids, from, self.link.plan.diff.samples_max)
    }

    /// What to compare in this round, and whether that is everything.
    fn stretches(&self, held: &BTreeMap<TopicPartition, (Uuid, Positions)>) -> (Vec<Stretch>, bool) {
        let now_ms = self.link.env.now_ms();
        let options = &self.link.plan.diff;
        let mut partitions = self.partitions.lock();
        let (mut stretches, mut whole) = (Vec::new(), true);
        let behind = held.iter().filter(|(id, (_, positions))| {
            partitions.get(id).is_some_and(|partition| partition.note.progress.through < end(positions))
        });
        let share = options.bandwidth_bytes_per_s_max * ROUND_SECONDS / (behind.count().max(1) as u64);
        for (id, (_, positions)) in held {
            let Some(partition) = partitions.get_mut(id) else { continue };
            let start = positions.source_log_start.max(positions.target_log_start);
            let through = partition.note.progress.through;
            if through < start {
                let expired = OffsetRange { from: through, to: start };
                tracing::info!(partition = %id, from = through, to = start, "expired before it was compared");
                partition.changed |= partition.note.progress.expired(expired, now_ms);
            }
            let from = partition.note.progress.through;
            if from >= end(positions) {
                continue;
            }
            // One range to begin with, then as much as takes its share of the round's time.
            let offsets = partition.bytes_per_offset().map_or(0, |bytes| share / bytes);
            let ranges = (offsets / options.range_offsets).max(1);
            let width = i64::try_from(options.range_offsets).unwrap_or(i64::MAX).max(1);
            let cut = (from.div_euclid(width) + 1)
                .saturating_add(i64::try_from(ranges).unwrap_or(i64::MAX) - 1)
                .saturating_mul(width);
            let to = end(positions).min(cut);
            whole &= to == end(positions);
            stretches.push(Stretch { id: id.clone(), from, to });
        }
        (stretches, whole)
    }

    async fn compare(&self, stretches: &[Stretch], terms: &Terms) -> Result<(), LinkerError> {
        let link = &self.link;
        let key_name = |key: &[u8]| link.ledger.pseudonym(PseudonymKind::Key, key);
        let contents = link.plan.evidence.contents == RecordContents::Samples;
        let showing = Showing { key_name: &key_name, contents };
        let mut tell = |index: usize, compared: Compared| {
            let id = &stretches[index].id;
            if let Compared::Range { found, .. } = &compared
                && !found.is_empty()
            {
                let first = &found[0].difference;
                let fix = "look at `towpath diff`, with the source's log at hand";
                tracing::warn!(partition = %id, differences = found.len(), %first, fix, "the sides differ");
            }
            if let Some(partition) = self.partitions.lock().get_mut(id) {
                partition.take(compared, &showing, link.env.now_ms());
            }
        };
        self.comparison.compare(stretches, terms, &mut tell).await
    }

    /// Notes which partitions were compared through everything that the source held at a known moment.
    fn mark_reached(&self, held: &BTreeMap<TopicPartition, (Uuid, Positions)>, began_ms: i64) {
        let mut partitions = self.partitions.lock();
        for (id, (_, positions)) in held {
            if let Some(partition) = partitions.get_mut(id) {
                partition.aim(positions.source_high_watermark, began_ms);
            }
        }
    }

    /// Writes what changed into the cache.
    pub(super) fn keep(&self) -> Result<(), LinkerError> {
        for (id, partition) in self.partitions.lock().iter_mut().filter(|(_, partition)| partition.changed) {
            self.link.cache.set_note(&Note::key(self.link.family(), id), &partition.note)?;
            partition.changed = false;
        }
        Ok(())
    }

    /// Writes what was compared since into evidence. What the store does not take waits for the next time.
    pub(crate) async fn write_evidence(&self) -> Result<(), LinkerError> {
        let mut writing = self.writing.lock().await;
        self.write_ranges(&mut writing).await
    }

    /// The same for whoever has the word already, so that nobody writes a range twice.
    pub(super) async fn write_ranges(&self, _writing: &mut ()) -> Result<(), LinkerError> {
        let waiting: Vec<(TopicPartition, (RangeCompared, usize))> = {
            let partitions = self.partitions.lock();
            let each = |(id, partition): (&TopicPartition, &Partition)| {
                let id = id.clone();
                partition.to_write().into_iter().map(move |range| (id.clone(), range))
            };
            partitions.iter().flat_map(each).collect()
        };
        for waiting in waiting.chunks(RANGES_PER_ENTRY_MAX) {
            let ranges = waiting.iter().map(|(_, (range, _))| range.clone()).collect();
            self.link.ledger.record(None, Body::RangesCompared { ranges }).await?;
            let mut partitions = self.partitions.lock();
            for (id, (_, count)) in waiting {
                if let Some(partition) = partitions.get_mut(id) {
                    partition.written(*count);
                }
            }
        }
        Ok(())
    }
}

/// Up to where both sides can be compared.
fn end(positions: &Positions) -> i64 {
    positions.target_log_end.min(positions.source_high_watermark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_gives_up_waiting_for_the_turn_is_waited_for_by_nobody() {
        let (waiting, turn) = (AtomicUsize::new(0), tokio::sync::Mutex::new(()));
        let _taken = turn.lock().await;
        let mut closing = Box::pin(async {
            let _urgent = Urgent::begin(&waiting);
            let _turn = turn.lock().await;
        });
        assert!(futures::poll!(&mut closing).is_pending());
        assert_eq!(waiting.load(Ordering::SeqCst), 1);
        drop(closing);
        assert_eq!(waiting.load(Ordering::SeqCst), 0);
    }
}
