//! The map of one partition: its runs, and how they grow and shrink.
//!
//! Invariants, kept by every verb and checked again when a map is decoded:
//! - runs are sorted and disjoint on both sides, and never contiguous on both sides at once (they are merged);
//! - `source_start <= first run` and `last run's end <= source_end`; the same on the target;
//! - offsets between two runs, and between the last run and the end, hold no mapped record.

use serde::{Deserialize, Serialize};

use crate::offset::{Incarnation, SourceOffset, TargetOffset};

/// Consecutive offsets that are mapped one to one: `source + i` is `target + i` for `i` in `0..length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First offset on the source.
    pub source: SourceOffset,
    /// Its offset on the target.
    pub target: TargetOffset,
    /// How many consecutive offsets, at least 1.
    pub length: u64,
}

impl Run {
    /// One past the last source offset.
    pub fn source_end(&self) -> SourceOffset {
        SourceOffset(self.source.0 + self.length as i64)
    }

    /// One past the last target offset.
    pub fn target_end(&self) -> TargetOffset {
        TargetOffset(self.target.0 + self.length as i64)
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The last run grew.
    Extended,
    /// A run was added.
    Added,
    /// All of it was in the map already: a replay after a crash.
    AlreadyHeld,
}

/// An append that would make the map lie. Always the caller's fault; the map is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A run has at least one offset, and its ends fit an i64 from 0 up.
    #[error("run {run:?} is empty, negative or too long; fix: append at least one record from offset 0 up")]
    Malformed {
        /// What was given.
        run: Run,
    },
    /// The run lies behind what is mapped, or contradicts it.
    #[error(
        "run {run:?} does not continue the map, which ends at {source_end} and {target_end}; fix: halt the \
         partition, its mirror and its map disagree"
    )]
    OutOfOrder {
        /// What was given.
        run: Run,
        /// The map's end on the source.
        source_end: SourceOffset,
        /// The map's end on the target.
        target_end: TargetOffset,
    },
    /// An end or a start was moved backwards.
    #[error("the {what} would move back from {from} to {to}; fix: halt the partition, the log was truncated")]
    Backward {
        /// Which bound.
        what: &'static str,
        /// Where it is.
        from: i64,
        /// Where it was asked to go.
        to: i64,
    },
}

/// The exact map of one partition of one incarnation of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMap {
    pub(crate) incarnation: Incarnation,
    pub(crate) source_start: SourceOffset,
    pub(crate) target_start: TargetOffset,
    pub(crate) source_end: SourceOffset,
    pub(crate) target_end: TargetOffset,
    pub(crate) runs: Vec<Run>,
}

impl PartitionMap {
    /// An empty map: nothing is mapped, the next source record at or after `source_start` will be found at or
    /// after `target_start`.
    pub fn new(incarnation: Incarnation, source_start: SourceOffset, target_start: TargetOffset) -> Self {
        Self {
            incarnation,
            source_start,
            target_start,
            source_end: source_start,
            target_end: target_start,
            runs: Vec::new(),
        }
    }

    /// The map of an identity mirror that holds `[start, end)`: one run, or none when it is empty.
    pub fn identity(incarnation: Incarnation, start: i64, end: i64) -> Result<Self, AppendError> {
        let mut map = Self::new(incarnation, SourceOffset(start), TargetOffset(start));
        map.identity_through(end)?;
        Ok(map)
    }

    /// Which topic this map is about.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// First offsets that can be asked about, on both sides.
    pub fn start(&self) -> (SourceOffset, TargetOffset) {
        (self.source_start, self.target_start)
    }

    /// First offsets that are not mapped yet, on both sides.
    pub fn end(&self) -> (SourceOffset, TargetOffset) {
        (self.source_end, self.target_end)
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Adds a run behind the last one, or extends it. A run that the map holds already is recognised, so that
    /// a replay after a crash is harmless; the part of a run that is new is appended.
    pub fn append(&mut self, run: Run) -> Result<Appended, AppendError> {
        let fits = |base: i64| {
            base >= 0 && i64::try_from(run.length).is_ok_and(|length| base.checked_add(length).is_some())
        };
        if run.length == 0 || !fits(run.source.0) || !fits(run.target.0) {
            return Err(AppendError::Malformed { run });
        }
        let out_of_order =
            AppendError::OutOfOrder { run, source_end: self.source_end, target_end: self.target_end };
        let mut new = run;
        if run.source < self.source_end || run.target < self.target_end {
            let held = self.held(run).ok_or(out_of_order)?;
            if held == run.length {
                return Ok(Appended::AlreadyHeld);
            }
            new = Run {
                source: SourceOffset(run.source.0 + held as i64),
                target: TargetOffset(run.target.0 + held as i64),
                length: run.length - held,
            };
            if new.source < self.source_end || new.target < self.target_end {
                return Err(out_of_order);
            }
        }
        self.source_end = new.source_end();
        self.target_end = new.target_end();
        match self.runs.last_mut() {
            Some(last) if last.source_end() == new.source && last.target_end() == new.target => {
                last.length += new.length;
                Ok(Appended::Extended)
            }
            _ => {
                self.runs.push(new);
                Ok(Appended::Added)
            }
        }
    }

    /// How many of the run's first offsets the map holds, mapped as the run says; `None` when it says otherwise.
    fn held(&self, run: Run) -> Option<u64> {
        let index = self.runs.partition_point(|r| r.source <= run.source).checked_sub(1)?;
        let holder = self.runs[index];
        let inside = run.source.0 - holder.source.0;
        if run.source >= holder.source_end() || holder.target.0 + inside != run.target.0 {
            return None;
        }
        Some(run.length.min(holder.length - inside as u64))
    }

    /// Extends an identity mirror to `end` (exclusive), over gaps too: an identity mirror has the same gaps on
    /// both sides, so it needs one run for ever. An `end` that is reached already changes nothing.
    pub fn identity_through(&mut self, end: i64) -> Result<Appended, AppendError> {
        let from = self.source_end.0;
        if end <= from {
            return Ok(Appended::AlreadyHeld);
        }
        self.append(Run {
            source: SourceOffset(from),
            target: TargetOffset(from),
            length: (end - from) as u64,
        })
    }

    /// States that both logs were seen up to these ends and hold no further record to map (the source ends in
    /// control batches or compacted records, the target in its own markers).
    pub fn advance_end(&mut self, source: SourceOffset, target: TargetOffset) -> Result<(), AppendError> {
        if source < self.source_end {
            return Err(AppendError::Backward { what: "source end", from: self.source_end.0, to: source.0 });
        }
        if target < self.target_end {
            return Err(AppendError::Backward { what: "target end", from: self.target_end.0, to: target.0 });
        }
        self.source_end = source;
        self.target_end = target;
        Ok(())
    }

    /// Follows the log starts: what either side no longer holds leaves the map. A start past the end empties
    /// the map and moves the end along, so that a fully expired partition keeps an exact answer for its end.
    /// Starts that lie behind are ignored (a log start never goes back).
    pub fn advance_start(&mut self, source_log_start: SourceOffset, target_log_start: TargetOffset) {
        let mut source = source_log_start.max(self.source_start);
        let mut target = target_log_start.max(self.target_start);
        let mut whole_runs_gone = 0;
        for run in &mut self.runs {
            let source_gone = (source.0 - run.source.0).clamp(0, run.length as i64);
            let target_gone = (target.0 - run.target.0).clamp(0, run.length as i64);
            let gone = source_gone.max(target_gone);
            // A record that only one side still holds cannot be asked about from that side either.
            if gone > source_gone {
                source = source.max(SourceOffset(run.source.0 + gone));
            }
            if gone > target_gone {
                target = target.max(TargetOffset(run.target.0 + gone));
            }
            if gone < run.length as i64 {
                *run = Run {
                    source: SourceOffset(run.source.0 + gone),
                    target: TargetOffset(run.target.0 + gone),
                    length: run.length - gone as u64,
                };
                break;
            }
            whole_runs_gone += 1;
        }
        self.runs.drain(..whole_runs_gone);
        self.source_start = source;
        self.target_start = target;
        self.source_end = self.source_end.max(source);
        self.target_end = self.target_end.max(target);
    }
}
