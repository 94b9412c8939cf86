//! The end of a log in memory: the very bytes that arrived, shared with the WAL and with fetches.

use std::collections::VecDeque;

use towpath_wire::batch::Batch;

use super::ReadLimits;

/// The last batches of a partition, contiguous from [`Tail::start`] to the end of the log.
pub(crate) struct Tail {
    batches: VecDeque<Batch>,
    /// Every batch from this offset on is here.
    start: i64,
    bytes: usize,
}

impl Tail {
    /// An empty tail of a log that ends at `log_end`.
    pub fn new(log_end: i64) -> Tail {
        Tail { batches: VecDeque::new(), start: log_end, bytes: 0 }
    }

    /// Every batch from this offset on is here.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// All batches, oldest first.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    /// Adds a batch at the end.
    pub fn push(&mut self, batch: Batch) {
        self.bytes += batch.size_bytes();
        self.batches.push_back(batch);
    }

    /// The batches from the one that holds `from` (or the next one) on.
    pub fn from(&self, from: i64) -> impl Iterator<Item = &Batch> {
        self.batches.range(self.batches.partition_point(|batch| batch.last_offset() < from)..)
    }

    /// The batches from `from` on that lie wholly below `end`, within the limits.
    pub fn read(&self, from: i64, end: i64, limits: ReadLimits) -> Vec<Batch> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for batch in self.from(from).take_while(|batch| batch.next_offset() <= end) {
            bytes += batch.size_bytes();
            if bytes > limits.bytes_max && !(limits.at_least_one && found.is_empty()) {
                break;
            }
            found.push(batch.clone());
        }
        found
    }

    /// Drops batches that lie wholly below `offset`; how many bytes that frees.
    pub fn drop_before(&mut self, offset: i64) -> usize {
        let before = self.bytes;
        while let Some(batch) = self.batches.front().filter(|batch| batch.next_offset() <= offset) {
            self.bytes -= batch.size_bytes();
            self.start = batch.next_offset();
            self.batches.pop_front();
        }
        self.start = self.start.max(offset.min(self.batches.front().map_or(offset, Batch::base_offset)));
        before - self.bytes
    }
}
