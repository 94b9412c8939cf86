//! From unequal ranges to the few records that have to be looked at.

use serde::{Deserialize, Serialize};

use super::digest::RangeDigest;

/// Offsets `[from, to)` of the source's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
}

impl OffsetRange {
    /// How many offsets.
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }
}

/// What can be compared at all: from the later of the two log starts to the earlier of the two ends. What lies
/// before has expired on one side: it is reported, not counted as loss.
pub fn comparable(source: OffsetRange, target: OffsetRange) -> OffsetRange {
    let from = source.from.max(target.from);
    OffsetRange { from, to: source.to.min(target.to).max(from) }
}

/// The ranges in which the two sides differ, adjacent ones joined. Ranges that only one side has count as unequal;
/// both sides must have been cut at the same offsets.
pub fn unequal(source: &[RangeDigest], target: &[RangeDigest]) -> Vec<OffsetRange> {
    let mut found: Vec<OffsetRange> = Vec::new();
    let (mut s, mut t) = (source.iter().peekable(), target.iter().peekable());
    loop {
        let range = match (s.peek(), t.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a.from == b.from => {
                let (a, b) = (**a, **b);
                s.next();
                t.next();
                if a == b {
                    continue;
                }
                OffsetRange { from: a.from, to: a.to.max(b.to) }
            }
            (Some(a), b) if b.is_none_or(|b| a.from < b.from) => {
                let range = OffsetRange { from: a.from, to: a.to };
                s.next();
                range
            }
            (_, Some(b)) => {
                let range = OffsetRange { from: b.from, to: b.to };
                t.next();
                range
            }
            // Proof: with `None` on the other side the guard of the first such arm holds.
            (Some(_), None) => unreachable!("the arm before took every range that only the source has"),
        };
        match found.last_mut() {
            Some(last) if last.to >= range.from => last.to = last.to.max(range.to),
            _ => found.push(range),
        }
    }
    found
}

/// Narrows unequal ranges down by halves until each is small enough to be compared record by record. A work list:
/// digest [`Bisection::next`] on both sides, answer with [`Bisection::answer`], until it is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bisection {
    offsets_max: u64,
    open: Vec<OffsetRange>,
    small: Vec<OffsetRange>,
}

impl Bisection {
    /// Begins with unequal ranges; one of at most `offsets_max` (at least 1) offsets is small enough.
    pub fn new(unequal: &[OffsetRange], offsets_max: u64) -> Self {
        let mut bisection = Self { offsets_max: offsets_max.max(1), open: Vec::new(), small: Vec::new() };
        for range in unequal {
            bisection.narrow(*range);
        }
        bisection
    }

    /// The range to digest on both sides next.
    pub fn next(&self) -> Option<OffsetRange> {
        self.open.last().copied()
    }

    /// Says whether the digests of [`Bisection::next`] were equal.
    pub fn answer(&mut self, equal: bool) {
        if let Some(range) = self.open.pop()
            && !equal
        {
            self.narrow(range);
        }
    }

    /// The ranges to compare record by record, sorted and joined; complete once [`Bisection::next`] is `None`.
    pub fn small(&self) -> Vec<OffsetRange> {
        let mut small = self.small.clone();
        small.sort();
        small.dedup();
        small
    }

    fn narrow(&mut self, range: OffsetRange) {
        if range.offsets() <= self.offsets_max {
            if range.offsets() > 0 {
                self.small.push(range);
            }
            return;
        }
        let middle = range.from + (range.to - range.from) / 2;
        for half in [OffsetRange { from: middle, to: range.to }, OffsetRange { from: range.from, to: middle }]
        {
            // A half that is small is read as records at once: a digest would read the same bytes.
            if half.offsets() <= self.offsets_max { self.narrow(half) } else { self.open.push(half) }
        }
    }
}
