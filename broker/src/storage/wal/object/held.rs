//! Which slots hold records that are not in segments yet.

use std::collections::VecDeque;

use crate::metadata::WalPosition;

/// A slot with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::wal) struct HeldSlot {
    pub at: WalPosition,
    /// One past its last record.
    pub end_sequence: u64,
}

/// The slots that a successor would have to read, oldest first.
pub(in crate::storage::wal) struct Held {
    slots: VecDeque<HeldSlot>,
    /// The first slot that is not known to be ours yet.
    next: WalPosition,
}

impl Held {
    pub fn new(slots: VecDeque<HeldSlot>, next: WalPosition) -> Held {
        Held { slots, next }
    }

    /// The next slot is there, with records up to `end_sequence` (exclusive).
    pub fn landed(&mut self, end_sequence: u64) {
        self.slots.push_back(HeldSlot { at: self.next, end_sequence });
        self.next.slot += 1;
    }

    /// Where a reader begins that needs nothing below this sequence number.
    pub fn position(&self, below: u64) -> WalPosition {
        let first = self.slots.iter().find(|held| held.end_sequence > below);
        first.map_or(self.next, |held| held.at)
    }

    /// Forgets the slots wholly below.
    pub fn trim(&mut self, below: u64) {
        while self.slots.front().is_some_and(|oldest| oldest.end_sequence <= below) {
            self.slots.pop_front();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}
