//! Whether this broker may go on: proofs that nobody has taken over, and when one counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use towpath_env::retry::RetryPolicy;

use super::slot::Content;
use super::slots::{ReadError, SILENT, Slots};
use super::{AskNewest, ObjectWalSettings, Registration};
use crate::metadata::WalPosition;
use crate::storage::wal::lease::Lease;
use crate::storage::wal::queue::Shared;
use crate::storage::wal::{FencedBy, StoreTrouble};

/// The proofs of one broker.
pub(super) struct Guard {
    slots: Arc<Slots>,
    shared: Arc<Shared>,
    own: Registration,
    newest: AskNewest,
    lease: Lease,
    lease_length: Duration,
    /// So long after a proof began no slot can have been collected that it saw.
    trust: Duration,
    /// When the last proof that counts began.
    proved_at: Mutex<Duration>,
    /// The first slot that is not known to be ours.
    unconfirmed: AtomicU64,
}

impl Guard {
    pub fn new(
        (slots, shared): (Arc<Slots>, Arc<Shared>),
        settings: &ObjectWalSettings,
        lease: Lease,
        first_slot: u64,
    ) -> Guard {
        Guard {
            slots,
            shared,
            own: settings.own.clone(),
            newest: settings.newest.clone(),
            lease,
            lease_length: settings.bounds.lease,
            trust: settings.bounds.delete_grace / 2,
            proved_at: Mutex::new(Duration::ZERO),
            unconfirmed: AtomicU64::new(first_slot),
        }
    }

    /// This broker's epoch and lease.
    pub fn position(&self) -> WalPosition {
        let lease_ms = self.lease_length.as_millis() as u64;
        WalPosition { epoch: self.own.epoch, slot: self.unconfirmed.load(Ordering::Acquire), lease_ms }
    }

    /// A slot in order was not there yet at some time between the two: nobody had fenced it. Unless so much time
    /// has passed since the last proof that a fence's successor may have collected the slot: then the metadata
    /// must say so.
    pub async fn not_fenced(&self, began: Duration, ended: Duration) -> Result<(), FencedBy> {
        let counts = ended <= *self.proved_at.lock() + self.trust;
        if !counts {
            return self.still_newest().await;
        }
        self.proved(began);
        Ok(())
    }

    /// Asks the metadata until it answers.
    pub async fn still_newest(&self) -> Result<(), FencedBy> {
        let mut delays = RetryPolicy::FOREVER.delays(&self.slots.env);
        loop {
            let began = self.slots.env.elapsed();
            match (self.newest)().await {
                Ok(newest) if newest.epoch == self.own.epoch => {
                    self.proved(began);
                    return Ok(());
                }
                Ok(Registration { epoch, address }) => {
                    return Err(FencedBy { node_id: self.slots.node_id(), epoch, address });
                }
                Err(error) => {
                    tracing::warn!(error, "it is not known whether another broker has taken over");
                    let said = error.split("; fix:").next().unwrap_or_default().to_owned();
                    let object = "the newest registration".to_owned();
                    self.slots.note(StoreTrouble { request: "get", object, said, fix: SILENT });
                }
            }
            let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
            self.slots.env.sleep(delay).await;
        }
    }

    fn proved(&self, began: Duration) {
        let mut proved_at = self.proved_at.lock();
        *proved_at = began.max(*proved_at);
        drop(proved_at);
        self.lease.proved(began);
    }

    /// Nobody is answered any more.
    pub fn revoke(&self) {
        self.lease.revoke();
    }

    /// The slots below are ours.
    pub fn confirmed_below(&self, slot: u64) {
        self.unconfirmed.store(slot, Ordering::Release);
    }

    /// Proves the lease whenever somebody needs it.
    pub async fn keep_lease(self: Arc<Guard>) {
        loop {
            self.lease.wanted().await;
            if self.shared.queue.lock().failed().is_some() {
                return;
            }
            let mut delays = RetryPolicy::FOREVER.delays(&self.slots.env);
            while let Err(why) = self.prove().await {
                tracing::warn!(why, "no proof yet that no other broker has taken over");
                if !self.lease.is_awaited() {
                    break;
                }
                let delay = delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max);
                self.slots.env.sleep(delay).await;
            }
        }
    }

    /// Looks for a fence where one would be. On an error nothing is known.
    async fn prove(&self) -> Result<(), String> {
        let mut slot = self.unconfirmed.load(Ordering::Acquire);
        loop {
            self.slots.metrics.lease_proofs.inc();
            let began = self.slots.env.elapsed();
            let verdict = match self.slots.read(self.slots.place(self.own.epoch, slot)).await {
                Ok(None) => self.not_fenced(began, self.slots.env.elapsed()).await,
                Ok(Some(found)) => match found.content {
                    Content::Fence(fence) => Err(fence.by(self.slots.node_id())),
                    // Our own put is there before its answer.
                    Content::Records { .. } | Content::Closed => {
                        slot += 1;
                        continue;
                    }
                },
                Err(ReadError::Damaged(why)) => return Err(why.to_owned()),
                Err(ReadError::Store(trouble)) => return Err(trouble.to_string()),
            };
            if let Err(by) = verdict {
                self.lease.revoke();
                self.shared.fenced(by);
            }
            return Ok(());
        }
    }
}
