//! Deletes slots that nobody needs any more, a grace after that is so: a successor that starts may be reading them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::slot::HEADER_BYTES;
use super::slots::Slots;
use crate::metadata::WalPosition;

/// Fences are smaller than this; larger slots hold records.
const FENCE_BYTES_MAX: u64 = 1024;
/// Deletions that fail are tried again so much later.
const RETRY: Duration = Duration::from_secs(60);

/// Epochs and slots.
type Gone = Vec<(i64, u64)>;

/// Where the collector is told from where on the WAL is needed; only the newest word counts.
pub(super) type Trimmed = watch::Sender<WalPosition>;

/// The part of each epoch that a walk has read: from the first slot of it that counts to its fence.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// By epoch: the first slot that counts, and the fence.
    pub read: BTreeMap<i64, (u64, u64)>,
    /// The epoch that writes, and its first slot.
    pub own: (i64, u64),
}

/// The collector of one WAL.
pub(super) struct Collector {
    slots: Arc<Slots>,
    grace: Duration,
    chain: Chain,
    /// What lies before is deleted.
    from: WalPosition,
    trimmed: watch::Receiver<WalPosition>,
    /// What may be deleted, and when: an entry for each trim within the grace.
    due: VecDeque<(Duration, Due)>,
}

/// What is deleted together.
enum Due {
    /// These slots.
    Slots(Gone),
    /// Slots before this position.
    Before(WalPosition),
}

impl Collector {
    /// A collector of a WAL that began at `from`, and where it is told.
    pub fn new(slots: Arc<Slots>, grace: Duration, chain: Chain, from: WalPosition) -> (Collector, Trimmed) {
        let (sender, trimmed) = watch::channel(from);
        (Collector { slots, grace, chain, from, trimmed, due: VecDeque::new() }, sender)
    }

    /// Collects until it is stopped, or nobody will tell it anything and all that is due is deleted.
    pub async fn run(mut self) {
        let left = self.left_over().await;
        if !left.is_empty() {
            self.later(self.grace, Due::Slots(left));
        }
        let mut told = true;
        while told || !self.due.is_empty() {
            let now = self.slots.env.elapsed();
            let next = self.due.front().map(|(due, _)| due.saturating_sub(now));
            tokio::select! {
                trimmed = self.trimmed.changed(), if told => match trimmed {
                    Ok(()) => {
                        let before = *self.trimmed.borrow_and_update();
                        self.later(self.grace, Due::Before(before));
                    }
                    Err(_) => told = false,
                },
                () = self.slots.env.sleep(next.unwrap_or_default()), if next.is_some() => self.collect().await,
            }
        }
    }

    fn later(&mut self, wait: Duration, due: Due) {
        self.due.push_back((self.slots.env.elapsed() + wait, due));
    }

    async fn collect(&mut self) {
        let Some((_, due)) = self.due.pop_front() else { return };
        let deleted = match &due {
            Due::Slots(gone) => self.slots.delete(gone).await,
            Due::Before(position) => self.slots.delete(&self.before(*position)).await,
        };
        match (deleted, due) {
            (Ok(()), Due::Slots(_)) => {}
            (Ok(()), Due::Before(position)) => self.from = position,
            (Err(trouble), due) => {
                tracing::warn!(%trouble, "slots of the WAL could not be deleted yet");
                self.later(RETRY, due);
            }
        }
    }

    /// The slots that were deleted last to this position, but for fences.
    fn before(&self, to: WalPosition) -> Gone {
        let own = (self.chain.own.0, (self.chain.own.1, u64::MAX));
        let epochs = self.chain.read.iter().map(|(epoch, part)| (*epoch, *part)).chain([own]);
        let epochs = epochs.filter(|(epoch, _)| (self.from.epoch..=to.epoch).contains(epoch));
        let slots = epochs.flat_map(|(epoch, (first, fence))| {
            let first = if epoch == self.from.epoch { self.from.slot } else { first };
            let end = if epoch == to.epoch { to.slot } else { fence };
            (first..end).map(move |slot| (epoch, slot))
        });
        slots.collect()
    }

    /// What earlier lives of this broker left: slots before the WAL's beginning, and those beyond a fence. One
    /// listing; only what may be a fence is read.
    async fn left_over(&self) -> Gone {
        let listed = match self.slots.list(None).await {
            Ok(listed) => listed,
            Err(trouble) => {
                tracing::warn!(%trouble, "what earlier lives left of the WAL is looked for at the next start");
                return Gone::new();
            }
        };
        let mut epochs: BTreeMap<i64, Vec<(u64, u64)>> = BTreeMap::new();
        for (epoch, slot, bytes) in listed {
            epochs.entry(epoch).or_default().push((slot, bytes));
        }
        let mut gone = Gone::new();
        for (epoch, slots) in epochs.range(..=self.chain.own.0) {
            gone.extend(self.void(*epoch, slots).await.into_iter().map(|slot| (*epoch, slot)));
        }
        gone
    }

    /// Which slots of an epoch nobody needs.
    async fn void(&self, epoch: i64, slots: &[(u64, u64)]) -> Vec<u64> {
        if epoch == self.chain.own.0 {
            return Vec::new();
        }
        if let Some((first, fence)) = self.chain.read.get(&epoch) {
            let outside = slots.iter().filter(|(slot, _)| slot < first || slot > fence);
            return outside.map(|(slot, _)| *slot).collect();
        }
        // Wholly before the beginning. Of what it held its fence alone stays, and an only slot is that.
        let mut void = Vec::new();
        for (slot, bytes) in slots {
            let size = *bytes > HEADER_BYTES as u64 && *bytes <= FENCE_BYTES_MAX;
            if !size || (slots.len() > 1 && !self.may_be_fence(epoch, *slot).await) {
                void.push(*slot);
            }
        }
        void
    }

    /// Of another WAL of this broker too, given up since: its fences are as good as any.
    async fn may_be_fence(&self, epoch: i64, slot: u64) -> bool {
        self.slots.is_fence(self.slots.place(epoch, slot)).await.unwrap_or(true)
    }
}
