//! How far a mirror is: offsets of both sides, and how old the target's copy is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// High watermarks remembered until the target reaches them.
const MARKS_MAX: usize = 64;

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
    /// The target holds everything that the source had at this time, UTC ms; 0: never.
    pub caught_up_ms: i64,
    /// Bytes of record batches acknowledged by the target since this service started.
    pub bytes_total: u64,
}

impl Positions {
    /// Offsets the target is behind the source's high watermark; exact records unless the range has gaps.
    pub fn lag_messages(&self) -> i64 {
        (self.source_high_watermark - self.target_log_end).max(0)
    }

    /// How old the target's copy is, in wall-clock ms: zero while it holds all that a source which answered within
    /// `fresh_ms` has; otherwise the age of the last moment whose records it holds all. `None`: there is none.
    pub fn lag_ms(&self, now_ms: i64, fresh_ms: i64) -> Option<i64> {
        let silent_ms = now_ms - self.source_answered_ms;
        if self.source_answered_ms > 0 && self.lag_messages() == 0 && silent_ms <= fresh_ms {
            return Some(0);
        }
        (self.caught_up_ms > 0).then(|| (now_ms - self.caught_up_ms).max(0))
    }

    /// The source answered: first offset it holds, and its high watermark.
    pub(super) fn heard(&mut self, (log_start, high_watermark): (i64, i64), now_ms: i64) {
        self.source_log_start = log_start;
        self.source_high_watermark = high_watermark;
        self.source_answered_ms = now_ms;
    }
}

/// High watermarks and when they were heard, ascending: once the target's end reaches one, it holds all that the
/// source had then.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(i64, i64)>);

impl Marks {
    /// The source has just told its high watermark.
    pub fn heard(&mut self, positions: &mut Positions, now_ms: i64) {
        let mark = (positions.source_high_watermark, now_ms);
        let full = self.0.len() == MARKS_MAX;
        match self.0.back_mut() {
            // The same end, still: what reaches it holds all that there is now.
            Some(last) if last.0 >= mark.0 => last.1 = now_ms,
            // Too many: reaching the newest is told exactly, those between later than they were.
            Some(last) if full => *last = mark,
            _ => self.0.push_back(mark),
        }
        self.reached(positions);
    }

    /// The target's end may have moved.
    pub fn reached(&mut self, positions: &mut Positions) {
        while let Some(&(high_watermark, heard_ms)) = self.0.front() {
            if positions.target_log_end < high_watermark {
                return;
            }
            positions.caught_up_ms = positions.caught_up_ms.max(heard_ms);
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Both(Positions, Marks);

    impl Both {
        fn heard(&mut self, high_watermark: i64, now_ms: i64) {
            self.0.heard((0, high_watermark), now_ms);
            self.1.heard(&mut self.0, now_ms);
        }

        fn held(&mut self, log_end: i64) {
            self.0.target_log_end = log_end;
            self.1.reached(&mut self.0);
        }
    }

    #[test]
    fn lag_in_ms_is_zero_only_while_the_source_answers() {
        let mut both = Both::default();
        assert_eq!(both.0.lag_ms(500, 1_000), None);
        both.heard(0, 1_000);
        assert_eq!(both.0.lag_ms(1_500, 1_000), Some(0));
        assert_eq!(both.0.lag_ms(9_000, 1_000), Some(8_000));
    }

    #[test]
    fn lag_in_ms_stays_small_under_a_steady_stream_that_is_never_quite_reached() {
        let mut both = Both::default();
        // Each answer comes before the one before it is acknowledged, 50 ms apart.
        for round in 1..1_000 {
            both.heard(round * 10 + 3, round * 50);
            both.held(round * 10 - 10);
        }
        assert_eq!(both.0.lag_ms(999 * 50 + 20, 1_000), Some(120));
        assert!(both.1.0.len() <= MARKS_MAX);
    }

    #[test]
    fn a_mirror_that_falls_behind_tells_how_old_its_copy_is() {
        let mut both = Both::default();
        for round in 1..=1_000 {
            both.heard(round * 10, round * 100);
        }
        both.held(100);
        // It holds what the source had when it answered for the 10th time.
        assert_eq!(both.0.lag_ms(100_000, 1_000), Some(100_000 - 1_000));
        assert!(both.1.0.len() <= MARKS_MAX);
        both.held(10_000);
        assert_eq!(both.0.lag_ms(100_000, 1_000), Some(0));
    }
}
