//! Filling the key map from the part of a log that no pass has seen.

use std::sync::Arc;

use towpath_wire::batch::{Batch, BatchError};

use super::cleaner::Known;
use super::key_map::KeyMap;
use crate::partition::DECOMPRESSED_BYTES_MAX;

/// Reads batches in the order of their offsets and notes the last offset of each key.
pub(super) struct KeyScan {
    known: Arc<Known>,
    map: KeyMap,
    first_dirty: i64,
    bound: i64,
    end: i64,
    is_full: bool,
}

impl KeyScan {
    /// Of what lies from `first_dirty` on and wholly below `bound`.
    pub fn new(known: Arc<Known>, map: KeyMap, (first_dirty, bound): (i64, i64)) -> KeyScan {
        KeyScan { known, map, first_dirty, bound, end: first_dirty, is_full: false }
    }

    /// One past the last batch that was read: where this pass ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Whether the map was full before the bound was reached.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// What was found.
    pub fn into_map(self) -> KeyMap {
        self.map
    }

    /// Reads the next batch; false when no further one fits or may be read.
    pub fn add(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        if batch.next_offset() <= self.first_dirty {
            return Ok(true);
        }
        if batch.next_offset() > self.bound {
            return Ok(false);
        }
        // What no reader sees overwrites nothing.
        if !batch.is_control() && !self.known.is_aborted(batch) {
            // As if each record had a new key: the pass may end a batch early, never inside one.
            if !self.map.admit(usize::try_from(batch.record_count()).unwrap_or(0)) {
                self.is_full = true;
                return Ok(false);
            }
            for record in batch.open(DECOMPRESSED_BYTES_MAX)?.records() {
                let record = record?;
                if let Some(key) = record.key {
                    self.map.put(key, record.offset);
                }
            }
        }
        self.end = batch.next_offset();
        Ok(true)
    }
}
