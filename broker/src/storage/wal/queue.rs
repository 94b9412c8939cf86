//! What appenders and the writer of a WAL share, whichever kind it is: the queue, its health, who is told.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot, watch};
use towpath_env::Env;

use super::{FencedBy, Owner, WalError, WalRecord};
use crate::storage::metrics::WalMetrics;

/// What appenders and the writer share.
pub(super) struct Shared {
    pub queue: Mutex<Queue>,
    /// Where the disk WAL's writer waits, which is a thread.
    pub thread: Condvar,
    /// Where the object WAL's writer waits, which is a task.
    pub task: Notify,
    pub env: Env,
    pub metrics: WalMetrics,
    durable_below: watch::Sender<u64>,
    failure: watch::Sender<Option<WalError>>,
}

pub(super) struct Queue {
    pub records: VecDeque<WalRecord>,
    pub health: Health,
    pub trim_below: u64,
    pub trimmed_below: u64,
    /// Of records not yet durable, those that the writer has taken included.
    bytes: usize,
    /// Of records that the writer has not taken.
    pub waiting_bytes: usize,
    next_sequence: u64,
    closed: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// Nothing becomes durable for the time being; what is queued waits, and no more is taken.
    Held(WalError),
    /// Takes nothing more; ends when the queue is empty.
    Closing,
    /// Nothing will become durable any more.
    Failed(WalError),
}

impl Shared {
    pub fn new(next_sequence: u64, env: Env, metrics: WalMetrics) -> Shared {
        let queue = Queue {
            records: VecDeque::new(),
            health: Health::Good,
            trim_below: 0,
            trimmed_below: 0,
            bytes: 0,
            waiting_bytes: 0,
            next_sequence,
            closed: Vec::new(),
        };
        Shared {
            queue: Mutex::new(queue),
            thread: Condvar::new(),
            task: Notify::new(),
            env,
            metrics,
            durable_below: watch::Sender::new(next_sequence),
            failure: watch::Sender::new(None),
        }
    }

    /// Wakes the writer. Either kind waits in one of the two places; nobody waits in the other.
    fn wake(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }

    pub fn accepting(&self) -> Result<(), WalError> {
        match &self.queue.lock().health {
            Health::Good => Ok(()),
            Health::Closing => Err(WalError::Closed),
            Health::Held(error) | Health::Failed(error) => Err(error.clone()),
        }
    }

    pub fn queued_bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    pub fn next_sequence(&self) -> u64 {
        self.queue.lock().next_sequence
    }

    pub fn append(&self, record: WalRecord) -> u64 {
        let mut queue = self.queue.lock();
        let sequence = queue.next_sequence;
        if let Health::Failed(error) = &queue.health {
            let error = error.clone();
            drop(queue);
            // Not from here: the owner holds its own lock while it appends.
            let owner = record.owner;
            std::thread::spawn(move || owner.failed(&error));
            return sequence;
        }
        queue.next_sequence += 1;
        queue.bytes += record.size_bytes();
        queue.waiting_bytes += record.size_bytes();
        let was_empty = queue.records.is_empty();
        queue.records.push_back(record);
        drop(queue);
        if was_empty {
            self.wake();
        }
        sequence
    }

    pub fn trim(&self, below: u64) {
        let mut queue = self.queue.lock();
        queue.trim_below = queue.trim_below.max(below);
        drop(queue);
        self.wake();
    }

    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable_below.subscribe()
    }

    pub fn failure(&self) -> watch::Receiver<Option<WalError>> {
        self.failure.subscribe()
    }

    /// Takes nothing more, and tells when everything queued is durable or has failed.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        let mut queue = self.queue.lock();
        if !matches!(queue.health, Health::Failed(_)) {
            queue.health = Health::Closing;
            queue.closed.push(done);
        }
        drop(queue);
        self.wake();
        closed
    }

    /// Takes no records for this reason until [`Shared::take_again`]. A newer reason takes the place of one before, and
    /// is told to whoever asks.
    pub fn hold(&self, reason: WalError) {
        let mut queue = self.queue.lock();
        match &mut queue.health {
            Health::Good => {
                tracing::error!(%reason, "acknowledging nothing for the time being");
                queue.health = Health::Held(reason);
                self.metrics.held.set(1);
            }
            Health::Held(held) => *held = reason,
            Health::Closing | Health::Failed(_) => {}
        }
    }

    /// What held records back is over.
    pub fn take_again(&self) {
        let mut queue = self.queue.lock();
        if let Health::Held(reason) = &queue.health {
            tracing::info!(was = %reason, "the WAL takes records again");
            queue.health = Health::Good;
            self.metrics.held.set(0);
        }
    }

    /// The records of a group are durable, and `durable_below` with them: tells their owners, in order. Once the
    /// WAL has failed nobody is told so any more.
    pub fn acknowledge(&self, group: VecDeque<WalRecord>, durable_below: u64) -> Result<(), WalError> {
        if let Health::Failed(error) = &self.queue.lock().health {
            let error = error.clone();
            tell_failed(group, &error);
            return Err(error);
        }
        let bytes = group.iter().map(|record| record.size_bytes()).sum::<usize>();
        let count = group.len();
        let mut records = group.into_iter().peekable();
        while let Some(record) = records.next() {
            // One word per run of records of the same owner.
            if records.peek().is_none_or(|next| !Arc::ptr_eq(&next.owner, &record.owner)) {
                record.owner.durable(record.mark);
            }
        }
        let mut queue = self.queue.lock();
        queue.bytes -= bytes;
        self.metrics.queued_bytes.set(queue.bytes as i64);
        self.metrics.groups.inc();
        self.metrics.records.inc_by(count as u64);
        self.metrics.bytes.inc_by(bytes as u64);
        self.durable_below.send_replace(durable_below);
        Ok(())
    }

    /// The WAL has failed: with `group`, everything queued fails. The first failure is the one that is told.
    pub fn fail(&self, error: &WalError, group: VecDeque<WalRecord>) {
        let (first, queued) = {
            let mut queue = self.queue.lock();
            let first = match &queue.health {
                Health::Failed(first) => first.clone(),
                _ => error.clone(),
            };
            queue.health = Health::Failed(first.clone());
            queue.closed.clear();
            (first, std::mem::take(&mut queue.records))
        };
        tell_failed(group.into_iter().chain(queued), &first);
        let news =
            self.failure.send_if_modified(|told| told.is_none() && told.replace(first.clone()).is_none());
        if news && first != WalError::Closed {
            tracing::error!(error = %first, "the WAL stops");
        }
        self.wake();
    }

    /// Another broker has taken over.
    pub fn fenced(&self, by: FencedBy) {
        self.fail(&WalError::Fenced(by), VecDeque::new());
    }

    /// The writer ends after everything was written.
    pub fn ended(&self) {
        let mut queue = self.queue.lock();
        if queue.health == Health::Closing {
            queue.health = Health::Failed(WalError::Closed);
            queue.closed.drain(..).for_each(|done| {
                let _ = done.send(());
            });
        }
    }
}

impl Queue {
    /// Takes the next records for one write: at least one, up to `bytes_max`.
    pub fn take_group(&mut self, bytes_max: usize) -> VecDeque<WalRecord> {
        let mut bytes = 0;
        let mut taken = 0;
        let count = self.records.iter().take_while(|record| {
            let first = bytes == 0;
            bytes += record.size_bytes();
            let fits = first || bytes <= bytes_max;
            if fits {
                taken = bytes;
            }
            fits
        });
        let count = count.count();
        self.waiting_bytes -= taken;
        let rest = self.records.split_off(count);
        std::mem::replace(&mut self.records, rest)
    }

    /// Why no write may begin any more, if so.
    pub fn failed(&self) -> Option<&WalError> {
        match &self.health {
            Health::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// Tells every owner of `records` once that the WAL has failed.
fn tell_failed(records: impl IntoIterator<Item = WalRecord>, error: &WalError) {
    let mut told: Vec<Arc<dyn Owner>> = Vec::new();
    for record in records {
        if !told.iter().any(|owner| Arc::ptr_eq(owner, &record.owner)) {
            record.owner.failed(error);
            told.push(record.owner);
        }
    }
}
