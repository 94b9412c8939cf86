//! The state of one mirrored partition: what was fetched, what the target holds, and why it stopped if it did.
//!
//! A replicator does no I/O. The fetcher asks it where to read next, the sink tells it what was acknowledged;
//! both are answered under one short lock. The resume position is what the target holds, never a local file.

use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use towpath_env::Env;
use towpath_env::retry::{Delays, RetryPolicy};
use towpath_wire::client::TopicPartition;
use uuid::Uuid;

use super::positions::Marks;
pub use super::positions::Positions;

/// Empty answers in company after which a partition is asked alone: others may have used up the answer's size.
const EMPTY_IN_COMPANY_MAX: u32 = 2;
/// Empty answers to a partition asked alone after which there is reason to believe in a gap.
const EMPTY_ALONE_MAX: u32 = 4;

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

/// Where the fetcher reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAt {
    /// Offset to read from.
    pub offset: i64,
    /// Leader epoch of the batch before, for the source's truncation check; −1: unknown.
    pub last_epoch: i32,
    /// Counts rewinds: chunks of an earlier generation are stale.
    pub generation: u64,
    /// It must be asked with no other partition in the request: an empty answer in company says nothing.
    pub alone: bool,
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
    /// Leader epoch of its last batch; −1: it has none.
    pub last_epoch: i32,
}

/// What became of a source's answer.
#[derive(Debug)]
pub enum Seen {
    /// Nothing to send on.
    Nothing,
    /// To be sent on.
    Stretch(Stretch),
    /// Asked alone again and again, the source gives no batch below `end`, its high watermark: perhaps there is
    /// none. [`Replicator::pass_gap`] goes on behind it.
    Gap {
        /// Where the gap would end.
        end: i64,
    },
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
    next: Next,
    /// Epoch of the last batch that the target holds; −1: unknown.
    held_epoch: i32,
    halt: Option<Halt>,
    positions: Positions,
    marks: Marks,
    /// Neither read nor asked for before this, on the environment's clock.
    not_before: Duration,
    delays: Option<Delays>,
}

/// The next read, and what earlier ones said about it.
#[derive(Clone, Copy)]
struct Next {
    offset: i64,
    last_epoch: i32,
    generation: u64,
    /// The log start that was last sent to the target.
    log_start_sent: i64,
    empty_in_company: u32,
    empty_alone: u32,
    /// The source's high watermark at the first empty answer below it.
    empty_below: i64,
}

impl Next {
    fn at(offset: i64, last_epoch: i32, generation: u64) -> Next {
        Next {
            offset,
            last_epoch,
            generation,
            log_start_sent: -1,
            empty_in_company: 0,
            empty_alone: 0,
            empty_below: -1,
        }
    }

    fn moved_to(&mut self, offset: i64) {
        *self = Next {
            log_start_sent: self.log_start_sent,
            ..Next::at(offset, self.last_epoch, self.generation)
        };
    }
}

impl Replicator {
    /// Resumes at what the target holds.
    pub fn new(id: TopicPartition, source_topic_id: Uuid, target: Held) -> Replicator {
        let positions = Positions {
            target_log_start: target.log_start,
            target_log_end: target.log_end,
            source_high_watermark: target.log_end,
            mirrored_timestamp_ms: -1,
            ..Positions::default()
        };
        let state = State {
            next: Next::at(target.log_end, target.last_epoch, 0),
            held_epoch: target.last_epoch,
            halt: None,
            positions,
            marks: Marks::default(),
            not_before: Duration::ZERO,
            delays: None,
        };
        Replicator { id, source_topic_id, state: Mutex::new(state) }
    }

    /// Where to read next; `None` while halted or put off.
    pub fn fetch_at(&self, now: Duration) -> Option<FetchAt> {
        let state = self.state.lock();
        let next = &state.next;
        (state.halt.is_none() && now >= state.not_before).then_some(FetchAt {
            offset: next.offset,
            last_epoch: next.last_epoch,
            generation: next.generation,
            alone: next.empty_in_company >= EMPTY_IN_COMPANY_MAX,
        })
    }

    /// The source answered a fetch made at `at`.
    pub fn fetched(&self, at: FetchAt, answer: SourceAnswer, now_ms: i64) -> Seen {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.next.generation != at.generation || state.halt.is_some() {
            return Seen::Nothing;
        }
        state.positions.heard((answer.log_start, answer.high_watermark), now_ms);
        state.marks.heard(&mut state.positions, now_ms);
        let log_start_moved =
            answer.log_start > state.positions.target_log_start.max(state.next.log_start_sent);
        let Some((end, epoch)) = answer.end else {
            if answer.high_watermark > at.offset {
                return state.next.empty(at, answer.high_watermark);
            }
            // Nothing is there to be read, so nothing is wrong.
            state.delays = None;
            if !log_start_moved {
                return Seen::Nothing;
            }
            state.next.log_start_sent = answer.log_start;
            return Seen::Stretch(stretch(at, at.offset, -1));
        };
        state.next.last_epoch = epoch;
        state.next.moved_to(end);
        state.next.log_start_sent = state.next.log_start_sent.max(answer.log_start);
        Seen::Stretch(stretch(at, end, epoch))
    }

    /// There is no batch from `at` to `end`: the stretch without records that takes the target there.
    pub fn pass_gap(&self, at: FetchAt, end: i64) -> Option<Stretch> {
        let mut state = self.state.lock();
        if state.next.generation != at.generation || state.halt.is_some() || end <= at.offset {
            return None;
        }
        state.next.moved_to(end);
        Some(stretch(at, end, -1))
    }

    /// Starts at the source's first offset, on a target that holds nothing yet.
    pub fn start_at(&self, offset: i64) {
        let mut state = self.state.lock();
        state.next = Next::at(offset, -1, state.next.generation + 1);
    }

    /// The source does not know the epoch of the last batch: from now on the offset alone is compared.
    pub fn forget_epoch(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.next.generation == generation {
            state.next.last_epoch = -1;
        }
    }

    /// Whether the source said that it has more than was read: then its answer has nothing to wait for.
    pub fn has_more(&self) -> bool {
        let state = self.state.lock();
        state.next.offset < state.positions.source_high_watermark
    }

    /// Whether a stretch fetched under `generation` is still to be sent.
    pub fn is_current(&self, generation: u64) -> bool {
        let state = self.state.lock();
        state.halt.is_none() && state.next.generation == generation
    }

    /// The target holds everything up to its end.
    pub fn acknowledged(&self, target: TargetAnswer) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let positions = &mut state.positions;
        positions.target_log_start = positions.target_log_start.max(target.log_start);
        positions.target_log_end = positions.target_log_end.max(target.log_end);
        positions.mirrored_timestamp_ms = positions.mirrored_timestamp_ms.max(target.timestamp_ms);
        positions.bytes_total += target.bytes;
        if target.last_epoch >= 0 {
            state.held_epoch = target.last_epoch;
        }
        state.delays = None;
        state.marks.reached(positions);
    }

    /// A stretch did not reach the target: read again from what it holds.
    pub fn rewind(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.next.generation == generation {
            state.restart();
        }
    }

    /// Whatever was on the way is given up: read again from what the target holds.
    pub fn rewind_all(&self) {
        self.state.lock().restart();
    }

    /// The target says that it ends at `log_end`, and not where this side believed: read on from there.
    pub fn rewind_to(&self, generation: u64, log_end: i64) {
        let mut state = self.state.lock();
        if state.next.generation == generation {
            if log_end != state.positions.target_log_end {
                state.positions.target_log_end = log_end;
                state.held_epoch = -1;
            }
            state.restart();
        }
    }

    /// Something failed that may pass: not before a while, longer each time until something succeeds.
    pub fn put_off(&self, env: &Env) {
        let mut state = self.state.lock();
        let delays = state.delays.get_or_insert_with(|| RetryPolicy::FOREVER.delays(env));
        let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
        state.not_before = env.elapsed() + delay;
    }

    /// Stops this partition, loudly, until [`Replicator::clear`]. The first reason stays.
    pub fn halt(&self, halt: Halt) {
        let mut state = self.state.lock();
        if state.halt.is_none() {
            tracing::error!(partition = %self.id, reason = %halt.reason, fix = %halt.fix, "mirror halted");
            state.halt = Some(halt);
        }
    }

    /// As [`Replicator::halt`], and also in place of a reason that begins with `earlier`: half of the story.
    pub fn halt_instead_of(&self, earlier: &str, halt: Halt) {
        let mut state = self.state.lock();
        let half_told = |known: &&mut Halt| known.reason.starts_with(earlier);
        if let Some(known) = state.halt.as_mut().filter(half_told) {
            tracing::info!(partition = %self.id, reason = %halt.reason, "why the mirror is halted");
            *known = Halt { since_ms: known.since_ms, ..halt };
            return;
        }
        drop(state);
        self.halt(halt);
    }

    /// A person has dealt with the reason: read on from what the target holds.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        if state.halt.take().is_some() {
            state.restart();
        }
    }

    /// A person accepts that everything between what the target holds and `offset` is lost to the mirror.
    pub fn clear_from(&self, offset: i64) {
        let mut state = self.state.lock();
        if state.halt.take().is_some() {
            state.restart();
            state.next = Next::at(offset, -1, state.next.generation);
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

fn stretch(at: FetchAt, to: i64, last_epoch: i32) -> Stretch {
    Stretch { from: at.offset, to, generation: at.generation, last_epoch }
}

impl State {
    fn restart(&mut self) {
        let offset = self.positions.target_log_end;
        self.next = Next::at(offset, self.held_epoch, self.next.generation + 1);
    }
}

impl Next {
    /// Nothing came although the source says that there is something.
    fn empty(&mut self, at: FetchAt, high_watermark: i64) -> Seen {
        if self.empty_below < 0 {
            self.empty_below = high_watermark;
        }
        if !at.alone {
            self.empty_in_company += 1;
            return Seen::Nothing;
        }
        self.empty_alone += 1;
        match self.empty_alone >= EMPTY_ALONE_MAX {
            true => Seen::Gap { end: self.empty_below },
            false => Seen::Nothing,
        }
    }
}

/// What the target holds of a partition when its mirror begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// First offset.
    pub log_start: i64,
    /// Next offset.
    pub log_end: i64,
    /// Leader epoch of the last batch, or one behind it that holds none; −1: unknown.
    pub last_epoch: i32,
}

/// What the source said in one fetch answer.
#[derive(Clone, Copy, Debug)]
pub struct SourceAnswer {
    /// First offset the source still holds.
    pub log_start: i64,
    /// Its high watermark.
    pub high_watermark: i64,
    /// Offset after the last whole batch, and that batch's leader epoch; `None`: no batch came.
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
    /// Leader epoch of the stretch's last batch; −1: it had none.
    pub last_epoch: i32,
    /// Bytes of batches in the stretch.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicator(log_end: i64) -> Replicator {
        let id = TopicPartition::new("views", 0);
        Replicator::new(id, Uuid::nil(), Held { log_start: 0, log_end, last_epoch: 2 })
    }

    fn answer(high_watermark: i64, end: Option<(i64, i32)>) -> SourceAnswer {
        SourceAnswer { log_start: 0, high_watermark, end }
    }

    fn next(replicator: &Replicator) -> FetchAt {
        replicator.fetch_at(Duration::MAX).unwrap()
    }

    fn sent(seen: Seen) -> Stretch {
        match seen {
            Seen::Stretch(stretch) => stretch,
            other => panic!("{other:?}"),
        }
    }

    fn held(log_end: i64) -> TargetAnswer {
        TargetAnswer { log_start: 0, log_end, timestamp_ms: -1, last_epoch: 3, bytes: 1 }
    }

    #[test]
    fn a_failed_stretch_is_read_again_and_later_ones_are_stale() {
        let replicator = replicator(10);
        let first = next(&replicator);
        assert_eq!((first.offset, first.last_epoch), (10, 2));
        let stretch = sent(replicator.fetched(first, answer(40, Some((20, 3))), 1));
        let second = next(&replicator);
        assert_eq!((second.offset, second.last_epoch), (20, 3));
        let later = sent(replicator.fetched(second, answer(40, Some((30, 3))), 2));
        replicator.rewind(stretch.generation);
        assert_eq!((next(&replicator).offset, next(&replicator).last_epoch), (10, 2));
        assert!(!replicator.is_current(later.generation));
        // An answer to a fetch made before the rewind must not move the position.
        assert!(matches!(replicator.fetched(second, answer(40, Some((30, 3))), 3), Seen::Nothing));
        assert_eq!(next(&replicator).offset, 10);
    }

    #[test]
    fn empty_answers_in_company_never_prove_a_gap() {
        let replicator = replicator(10);
        for round in 0..20 {
            let at = FetchAt { alone: false, ..next(&replicator) };
            assert!(matches!(replicator.fetched(at, answer(12 + round, None), 1), Seen::Nothing));
        }
        assert_eq!(next(&replicator).offset, 10);
    }

    #[test]
    fn a_partition_that_comes_back_empty_is_asked_alone_before_a_gap_is_believed() {
        let replicator = replicator(10);
        let mut asked_alone = 0;
        let (at, end) = loop {
            let at = next(&replicator);
            asked_alone += u32::from(at.alone);
            if let Seen::Gap { end } = replicator.fetched(at, answer(12 + i64::from(asked_alone), None), 1) {
                break (at, end);
            }
            assert_eq!(next(&replicator).offset, 10);
        };
        // Up to the end that the first empty answer spoke of, not further.
        assert_eq!((asked_alone, end), (EMPTY_ALONE_MAX, 12));
        let stretch = replicator.pass_gap(at, end).unwrap();
        assert_eq!((stretch.from, stretch.to), (10, 12));
        assert_eq!((next(&replicator).offset, next(&replicator).alone), (12, false));
    }

    #[test]
    fn a_batch_ends_the_doubt_about_a_gap() {
        let replicator = replicator(10);
        for _ in 0..EMPTY_IN_COMPANY_MAX + EMPTY_ALONE_MAX - 1 {
            assert!(matches!(replicator.fetched(next(&replicator), answer(12, None), 1), Seen::Nothing));
        }
        sent(replicator.fetched(next(&replicator), answer(12, Some((11, 3))), 1));
        assert!(!next(&replicator).alone);
        assert!(matches!(replicator.fetched(next(&replicator), answer(12, None), 1), Seen::Nothing));
    }

    #[test]
    fn a_moved_log_start_is_sent_once_and_again_after_a_rewind() {
        let replicator = replicator(10);
        let idle = SourceAnswer { log_start: 4, high_watermark: 10, end: None };
        let stretch = sent(replicator.fetched(next(&replicator), idle, 1));
        assert_eq!((stretch.from, stretch.to), (10, 10));
        assert!(matches!(replicator.fetched(next(&replicator), idle, 1), Seen::Nothing));
        replicator.rewind(stretch.generation);
        sent(replicator.fetched(next(&replicator), idle, 1));
        replicator.acknowledged(TargetAnswer { log_start: 4, ..held(10) });
        assert!(matches!(replicator.fetched(next(&replicator), idle, 3), Seen::Nothing));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_put_off_longer_each_time_until_something_succeeds() {
        let (env, replicator) = (Env::seeded(1, 0), replicator(10));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let since = env.elapsed();
            replicator.put_off(&env);
            while replicator.fetch_at(env.elapsed()).is_none() {
                env.sleep(Duration::from_millis(1)).await;
            }
            waits.push(env.elapsed() - since);
        }
        assert!(waits[0] < Duration::from_millis(80) && waits[7] > Duration::from_secs(1), "{waits:?}");
        replicator.acknowledged(held(20));
        let since = env.elapsed();
        replicator.put_off(&env);
        assert!(replicator.fetch_at(since + Duration::from_millis(80)).is_some());
    }

    #[test]
    fn a_halted_partition_is_not_read_until_it_is_cleared() {
        let replicator = replicator(10);
        replicator.halt(Halt { reason: "re-created".into(), fix: "cancel".into(), since_ms: 5 });
        replicator.halt(Halt { reason: "second".into(), fix: "".into(), since_ms: 6 });
        assert!(replicator.fetch_at(Duration::MAX).is_none());
        assert_eq!(replicator.halted().unwrap().reason, "re-created");
        replicator.clear();
        assert_eq!(next(&replicator).offset, 10);
        replicator.halt(Halt { reason: "lost".into(), fix: "accept".into(), since_ms: 7 });
        replicator.clear_from(30);
        assert_eq!((next(&replicator).offset, next(&replicator).last_epoch), (30, -1));
    }
}
