//! Deletes slots that nobody needs any more, a grace after that is so: a successor that starts may be reading them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::slot::Content;
use super::slots::{ReadError, Slots};

/// Fences are smaller than this; larger slots hold records.
const FENCE_BYTES_MAX: u64 = 1024;
/// Deletions that fail are tried again so much later.
const RETRY: Duration = Duration::from_secs(60);

/// Epochs and slots.
type Gone = Vec<(i64, u64)>;

/// Where the collector is told what is trimmed. What it is told is bounded by the slots that there are.
pub(super) type Trimmed = mpsc::UnboundedSender<Gone>;

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
    trimmed: mpsc::UnboundedReceiver<Gone>,
    due: VecDeque<(Duration, Gone)>,
}

impl Collector {
    /// A collector, and where it is told.
    pub fn new(slots: Arc<Slots>, grace: Duration, chain: Chain) -> (Collector, Trimmed) {
        let (sender, trimmed) = mpsc::unbounded_channel();
        (Collector { slots, grace, chain, trimmed, due: VecDeque::new() }, sender)
    }

    /// Collects until it is stopped.
    pub async fn run(mut self) {
        let left = self.left_over().await;
        self.later(self.grace, left);
        loop {
            let now = self.slots.env.elapsed();
            let next = self.due.front().map(|(due, _)| due.saturating_sub(now));
            tokio::select! {
                gone = self.trimmed.recv() => match gone {
                    Some(gone) => self.later(self.grace, gone),
                    None => return,
                },
                () = self.slots.env.sleep(next.unwrap_or_default()), if next.is_some() => self.collect().await,
            }
        }
    }

    fn later(&mut self, wait: Duration, gone: Gone) {
        if !gone.is_empty() {
            self.due.push_back((self.slots.env.elapsed() + wait, gone));
        }
    }

    async fn collect(&mut self) {
        let Some((_, gone)) = self.due.pop_front() else { return };
        if let Err(error) = self.slots.delete(gone.clone()).await {
            tracing::warn!(error, slots = gone.len(), "slots of the WAL could not be deleted yet");
            self.later(RETRY, gone);
        }
    }

    /// What earlier lives of this broker left: slots before the WAL's beginning, and those beyond a fence. One
    /// listing; only what may be a fence is read.
    async fn left_over(&self) -> Gone {
        let listed = match self.slots.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(error, "what earlier lives left of the WAL is looked for at the next start");
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
        for (slot, bytes) in slots.iter().filter(|_| slots.len() > 1) {
            if *bytes > FENCE_BYTES_MAX || !self.may_be_fence(epoch, *slot).await {
                void.push(*slot);
            }
        }
        void
    }

    async fn may_be_fence(&self, epoch: i64, slot: u64) -> bool {
        match self.slots.read(self.slots.place(epoch, slot)).await {
            Ok(Some(found)) => matches!(found.content, Content::Fence(_)),
            // Of another WAL of this broker, given up since: its fences are as good as any.
            Err(ReadError::Damaged(_) | ReadError::Store(_)) => true,
            Ok(None) => true,
        }
    }
}
