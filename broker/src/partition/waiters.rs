//! Who waits for a partition: producers for durability, readers for something to read.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::sync::{Notify, oneshot};

use super::{Durable, Isolation};
use crate::storage::WalError;

/// Those who wait for the high watermark.
#[derive(Default)]
pub(super) struct Waiters {
    /// By offset, ascending: resolved once the high watermark reaches it.
    producers: VecDeque<(i64, oneshot::Sender<Result<(), WalError>>)>,
    readers: Vec<Reader>,
    /// Readers are swept for dropped ones when there are so many.
    readers_swept_at: usize,
}

struct Reader {
    offset: i64,
    isolation: Isolation,
    waiter: Weak<Notify>,
}

/// Readers are swept no sooner than with this many.
const READERS_SWEPT_AT_LEAST: usize = 64;

impl Waiters {
    /// Resolves once the high watermark reaches `end`.
    pub fn durable(&mut self, end: i64) -> Durable {
        let (done, wait) = oneshot::channel();
        let at = self.producers.partition_point(|(other, _)| *other <= end);
        self.producers.insert(at, (end, done));
        Durable::pending(wait)
    }

    /// Takes those who may go on: to be told after the lock is released, in this order.
    pub fn reached(&mut self, high_watermark: i64) -> Vec<oneshot::Sender<Result<(), WalError>>> {
        let count = self.producers.partition_point(|(end, _)| *end <= high_watermark);
        self.producers.drain(..count).map(|(_, done)| done).collect()
    }

    /// Takes everybody who waits for durability.
    pub fn all(&mut self) -> Vec<oneshot::Sender<Result<(), WalError>>> {
        self.producers.drain(..).map(|(_, done)| done).collect()
    }

    /// Remembers a reader; it is told once.
    pub fn add_reader(&mut self, offset: i64, isolation: Isolation, waiter: &Arc<Notify>) {
        if self.readers.len() >= self.readers_swept_at.max(READERS_SWEPT_AT_LEAST) {
            self.readers.retain(|reader| reader.waiter.strong_count() > 0);
            self.readers_swept_at = 2 * self.readers.len();
        }
        self.readers.push(Reader { offset, isolation, waiter: Arc::downgrade(waiter) });
    }

    /// Takes the readers for whom `readable` says that there is something to read.
    pub fn readers(&mut self, readable: impl Fn(i64, Isolation) -> bool) -> Vec<Arc<Notify>> {
        if self.readers.is_empty() {
            return Vec::new();
        }
        let taken = self.readers.extract_if(.., |reader| {
            reader.waiter.strong_count() == 0 || readable(reader.offset, reader.isolation)
        });
        taken.filter_map(|reader| reader.waiter.upgrade()).collect()
    }
}
