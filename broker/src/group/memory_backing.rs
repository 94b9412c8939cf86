//! A log in memory, for tests: what is written survives the coordinator, and durability can be held back.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::backing::{Backing, Write};
use super::records::Record;

#[derive(Clone)]
pub(super) struct MemoryBacking {
    log: Arc<Mutex<Log>>,
    /// Writes below this number are durable.
    durable: watch::Sender<usize>,
}

#[derive(Default)]
struct Log {
    partitions: Option<i32>,
    batches: Vec<(i32, Vec<Record>)>,
    is_full: bool,
}

impl MemoryBacking {
    pub fn new() -> MemoryBacking {
        MemoryBacking { log: Arc::default(), durable: watch::Sender::new(usize::MAX) }
    }

    /// From now on nothing more becomes durable, until called with `false`.
    pub fn hold_back(&self, hold: bool) {
        let written = self.log.lock().batches.len();
        self.durable.send_replace(if hold { written } else { usize::MAX });
    }

    /// Refuses writes, as a full disk does.
    pub fn refuse(&self, refuse: bool) {
        self.log.lock().is_full = refuse;
    }

    /// Batches written so far.
    pub fn batches(&self) -> Vec<Vec<Record>> {
        self.log.lock().batches.iter().map(|(_, records)| records.clone()).collect()
    }

    /// What is left of the log after a crash that lost everything from batch `count` on.
    pub fn cut(&self, count: usize) {
        self.log.lock().batches.truncate(count);
    }
}

impl Backing for MemoryBacking {
    fn partitions(&self) -> Option<i32> {
        self.log.lock().partitions
    }

    fn create(&self, partitions: i32) -> BoxFuture<'_, Result<i32, ResponseError>> {
        let partitions = *self.log.lock().partitions.get_or_insert(partitions);
        async move { Ok(partitions) }.boxed()
    }

    fn append(&self, partition: i32, records: &[Record]) -> Result<Write, ResponseError> {
        let mut log = self.log.lock();
        if log.is_full {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let number = log.batches.len();
        log.batches.push((partition, records.to_vec()));
        let mut durable = self.durable.subscribe();
        let write = async move {
            let waited = durable.wait_for(|end| number < *end).await;
            waited.map(|_| ()).map_err(|_| ResponseError::CoordinatorNotAvailable)
        };
        Ok(write.boxed().shared())
    }

    fn replay<'a>(
        &'a self,
        partition: i32,
        each: &'a mut (dyn FnMut(Record) + Send),
    ) -> BoxFuture<'a, Result<(), String>> {
        let batches = self.log.lock().batches.clone();
        async move {
            batches
                .into_iter()
                .filter(|(at, _)| *at == partition)
                .flat_map(|(_, records)| records)
                .for_each(each);
            Ok(())
        }
        .boxed()
    }

    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        !topic.starts_with("unknown") && partition < 10
    }
}
