//! The state of one mirrored partition: what was fetched, what the target holds, and why it stopped if it did.
//!
//! A replicator does no I/O. The fetcher asks it where to read next, the sink tells it what was acknowledged;
//! both are answered under one short lock. The resume position is what the target holds, never a local file.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use towpath_wire::client::TopicPartition;
use uuid::Uuid;

/// Why a partition is not mirrored, since when, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// What was found, with offsets.
    pub reason: String,
    /// What a person does about it.
    pub fix: String,
    /// UTC milliseconds.
    pub since_ms: i64,
}

/// What is known of both sides of one partition. Offsets are identical on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// First offset the source still holds.
    pub source_log_start: i64,
    /// The source's high watermark at its last answer.
    pub source_high_watermark: i64,
    /// First offset the target holds.
    pub target_log_start: i64,
    /// Next offset the target expects; everything below is durable there.
    pub target_log_end: i64,
    /// Largest record timestamp acknowledged by the target, ms; −1: none yet.
    pub mirrored_timestamp_ms: i64,
    /// When the source last answered a fetch of this partition, UTC ms; 0: never.
    pub source_answered_ms: i64,
    /// When the target last held everything up to the source's high watermark, UTC ms; 0: never.
    pub caught_up_ms: i64,
    /// Bytes of record batches acknowledged by the target since this service started.
    pub bytes_total: u64,
}

impl Positions {
    /// Offsets the target is behind the source's high watermark; exact records unless the range has gaps.
    pub fn lag_messages(&self) -> i64 {
        (self.source_high_watermark - self.target_log_end).max(0)
    }

    /// How old the target's copy is, in wall-clock ms: zero while caught up with a source that answered within
    /// `fresh_ms`; otherwise the time since it was last caught up. `None`: it never was.
    pub fn lag_ms(&self, now_ms: i64, fresh_ms: i64) -> Option<i64> {
        let silent_ms = now_ms - self.source_answered_ms;
        if self.source_answered_ms > 0 && self.lag_messages() == 0 && silent_ms <= fresh_ms {
            return Some(0);
        }
        (self.caught_up_ms > 0).then(|| (now_ms - self.caught_up_ms).max(0))
    }
}

/// Where the fetcher reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAt {
    /// Offset to read from.
    pub offset: i64,
    /// Leader epoch of the batch before, for the source's truncation check; −1: unknown.
    pub last_epoch: i32,
    /// Counts rewinds: chunks of an earlier generation are stale.
    pub generation: u64,
}

/// A stretch of one partition on its way to the target.
#[derive(Debug)]
pub struct Stretch {
    /// Offset it was fetched from.
    pub from: i64,
    /// Next offset after it.
    pub to: i64,
    /// Generation it was fetched under.
    pub generation: u64,
}

/// One mirrored partition.
pub struct Replicator {
    /// Which.
    pub id: TopicPartition,
    /// The source's id of the topic; nil on sources without topic ids.
    pub source_topic_id: Uuid,
    state: Mutex<State>,
}

struct State {
    next: FetchAt,
    /// An empty answer below this high watermark was seen once at `next`: a second one proves a gap.
    gap_seen: Option<i64>,
    halt: Option<Halt>,
    positions: Positions,
}

impl Replicator {
    /// Resumes at what the target holds: `target_log_end`.
    pub fn new(id: TopicPartition, source_topic_id: Uuid, target: (i64, i64)) -> Replicator {
        let (target_log_start, target_log_end) = target;
        let positions = Positions {
            target_log_start,
            target_log_end,
            source_high_watermark: target_log_end,
            mirrored_timestamp_ms: -1,
            ..Positions::default()
        };
        let next = FetchAt { offset: target_log_end, last_epoch: -1, generation: 0 };
        let state = State { next, gap_seen: None, halt: None, positions };
        Replicator { id, source_topic_id, state: Mutex::new(state) }
    }

    /// Where to read next; `None` while halted.
    pub fn fetch_at(&self) -> Option<FetchAt> {
        let state = self.state.lock();
        state.halt.is_none().then_some(state.next)
    }

    /// The source answered a fetch made at `at`: `end` is the offset after the last whole batch and its epoch,
    /// or `None` when nothing came. Says which stretch to send on, if any.
    pub fn fetched(&self, at: FetchAt, answer: SourceAnswer, now_ms: i64) -> Option<Stretch> {
        let mut state = self.state.lock();
        if state.next.generation != at.generation || state.halt.is_some() {
            return None;
        }
        let log_start_moved =
            answer.log_start > state.positions.target_log_start.max(state.positions.source_log_start);
        state.positions.source_log_start = answer.log_start;
        state.positions.source_high_watermark = answer.high_watermark;
        state.positions.source_answered_ms = now_ms;
        let to = match answer.end {
            Some((end, epoch)) => {
                state.gap_seen = None;
                state.next.last_epoch = epoch;
                end
            }
            // Everything below `proved` existed before the answer that now came back empty: a gap up to there.
            None => match state.gap_seen.take() {
                Some(proved) if proved > at.offset => proved,
                _ => {
                    state.gap_seen = (answer.high_watermark > at.offset).then_some(answer.high_watermark);
                    at.offset
                }
            },
        };
        if state.positions.target_log_end >= answer.high_watermark {
            state.positions.caught_up_ms = now_ms;
        }
        state.next.offset = to;
        (to > at.offset || log_start_moved).then_some(Stretch {
            from: at.offset,
            to,
            generation: at.generation,
        })
    }

    /// Starts at the source's first offset, on a target that holds nothing yet.
    pub fn start_at(&self, offset: i64) {
        let mut state = self.state.lock();
        state.next = FetchAt { offset, last_epoch: -1, generation: state.next.generation + 1 };
        state.gap_seen = None;
    }

    /// Whether a stretch fetched under `generation` is still to be sent.
    pub fn is_current(&self, generation: u64) -> bool {
        let state = self.state.lock();
        state.halt.is_none() && state.next.generation == generation
    }

    /// The target holds everything up to `log_end`.
    pub fn acknowledged(&self, target: TargetAnswer, now_ms: i64) {
        let mut state = self.state.lock();
        let positions = &mut state.positions;
        positions.target_log_start = target.log_start;
        positions.target_log_end = positions.target_log_end.max(target.log_end);
        positions.mirrored_timestamp_ms = positions.mirrored_timestamp_ms.max(target.timestamp_ms);
        positions.bytes_total += target.bytes;
        if positions.target_log_end >= positions.source_high_watermark {
            positions.caught_up_ms = now_ms;
        }
    }

    /// A stretch did not reach the target: read again from what it holds.
    pub fn rewind(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.next.generation == generation {
            let offset = state.positions.target_log_end;
            state.next = FetchAt { offset, last_epoch: -1, generation: generation + 1 };
            state.gap_seen = None;
        }
    }

    /// Stops this partition, loudly, until [`Replicator::clear`]. The first reason stays.
    pub fn halt(&self, halt: Halt) {
        let mut state = self.state.lock();
        if state.halt.is_none() {
            tracing::error!(partition = %self.id, reason = %halt.reason, fix = %halt.fix, "mirror halted");
            state.halt = Some(halt);
        }
    }

    /// A person has dealt with the reason: read on from what the target holds.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        if state.halt.take().is_some() {
            let (offset, generation) = (state.positions.target_log_end, state.next.generation + 1);
            state.next = FetchAt { offset, last_epoch: -1, generation };
            state.gap_seen = None;
        }
    }

    /// Why it is halted, if it is.
    pub fn halted(&self) -> Option<Halt> {
        self.state.lock().halt.clone()
    }

    /// Both sides as last seen.
    pub fn positions(&self) -> Positions {
        self.state.lock().positions.clone()
    }
}

/// What the source said in one fetch answer.
#[derive(Clone, Copy, Debug)]
pub struct SourceAnswer {
    /// First offset the source still holds.
    pub log_start: i64,
    /// Its high watermark.
    pub high_watermark: i64,
    /// Offset after the last whole batch, and that batch's leader epoch.
    pub end: Option<(i64, i32)>,
}

/// What the target said about one stretch.
#[derive(Clone, Copy, Debug)]
pub struct TargetAnswer {
    /// First offset it holds.
    pub log_start: i64,
    /// Next offset it expects.
    pub log_end: i64,
    /// Largest record timestamp of the stretch, ms; −1: none.
    pub timestamp_ms: i64,
    /// Bytes of batches in the stretch.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicator(log_end: i64) -> Replicator {
        let id = TopicPartition::new("views", 0);
        Replicator::new(id, Uuid::nil(), (0, log_end))
    }

    fn answer(high_watermark: i64, end: Option<(i64, i32)>) -> SourceAnswer {
        SourceAnswer { log_start: 0, high_watermark, end }
    }

    #[test]
    fn a_failed_stretch_is_read_again_and_later_ones_are_stale() {
        let replicator = replicator(10);
        let first = replicator.fetch_at().unwrap();
        let stretch = replicator.fetched(first, answer(40, Some((20, 3))), 1).unwrap();
        let second = replicator.fetch_at().unwrap();
        assert_eq!((second.offset, second.last_epoch), (20, 3));
        let later = replicator.fetched(second, answer(40, Some((30, 3))), 2).unwrap();
        replicator.rewind(stretch.generation);
        assert_eq!(replicator.fetch_at().unwrap().offset, 10);
        assert!(!replicator.is_current(later.generation));
        // An answer to a fetch made before the rewind must not move the position.
        assert!(replicator.fetched(second, answer(40, Some((30, 3))), 3).is_none());
        assert_eq!(replicator.fetch_at().unwrap().offset, 10);
    }

    #[test]
    fn two_empty_answers_below_the_high_watermark_prove_a_gap_up_to_the_first_ones() {
        let replicator = replicator(10);
        let at = replicator.fetch_at().unwrap();
        assert!(replicator.fetched(at, answer(12, None), 1).is_none());
        let stretch = replicator.fetched(at, answer(15, None), 2).unwrap();
        assert_eq!((stretch.from, stretch.to), (10, 12));
        assert_eq!(replicator.fetch_at().unwrap().offset, 12);
    }

    #[test]
    fn lag_in_ms_is_zero_only_while_the_source_answers() {
        let replicator = replicator(10);
        let at = replicator.fetch_at().unwrap();
        replicator.fetched(at, answer(10, None), 1_000);
        let positions = replicator.positions();
        assert_eq!(positions.lag_ms(1_500, 1_000), Some(0));
        assert_eq!(positions.lag_ms(9_000, 1_000), Some(8_000));
    }

    #[test]
    fn a_halted_partition_is_not_read_until_it_is_cleared() {
        let replicator = replicator(10);
        replicator.halt(Halt { reason: "re-created".into(), fix: "cancel".into(), since_ms: 5 });
        replicator.halt(Halt { reason: "second".into(), fix: "".into(), since_ms: 6 });
        assert!(replicator.fetch_at().is_none());
        assert_eq!(replicator.halted().unwrap().reason, "re-created");
        replicator.clear();
        assert_eq!(replicator.fetch_at().unwrap().offset, 10);
    }
}
