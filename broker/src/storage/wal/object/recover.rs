//! The walk of a broker that starts: over the slots of its predecessors, to the fence that it puts behind them.
//!
//! ```text
//! slot by slot ─┬ records ▶ kept                       ┬▶ next slot
//!               ├ closed  ▶ nobody answers any more     ┘
//!               ├ fence   ▶ the slot behind it, in the epoch that it names
//!               └ gap     ▶ fence it: ours ▶ done; taken meanwhile ▶ read what took it
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use futures::{StreamExt, stream};
use towpath_env::retry::RetryPolicy;

use super::collect::Chain;
use super::held::HeldSlot;
use super::slot::{self, Content, Fence, Place, Slot};
use super::slots::{Created, ReadError, Slots};
use super::{ObjectWalSettings, Registration};
use crate::metadata::WalPosition;
use crate::storage::wal::{FencedBy, Replayed, WalOpenError};

/// So many slots are read at the same time.
const READS_AHEAD: usize = 8;
/// A start gives up when the store has not answered for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Where a predecessor that keeps winning the race for the gap is stopped: so many slots further on.
const FENCE_AHEAD: u64 = 64;
/// After so many races lost.
const RACES: u32 = 3;
/// A slot that can't be read held fewer records.
const LOST_RECORDS_MAX: u64 = 1 << 32;

/// What a walk has found.
pub(super) struct Walked {
    /// Slots that hold records from `trimmed_to` on.
    pub held: VecDeque<HeldSlot>,
    /// These records.
    pub records: Vec<Replayed>,
    /// The sequence number behind the last record.
    pub next_sequence: u64,
    /// The first slot of this broker's own epoch.
    pub first_slot: u64,
    /// What was read, by epoch.
    pub chain: Chain,
    /// From then on no predecessor answers any more.
    pub serve_from: Duration,
}

/// Reads everything from the position on, and ends in a fence of its own.
pub(super) async fn walk(slots: &Slots, settings: &ObjectWalSettings) -> Result<Walked, WalOpenError> {
    if settings.position.epoch > settings.own.epoch {
        let (node_id, epoch) = (slots.node_id(), settings.position.epoch);
        let newest = (settings.newest)().await;
        let address = newest.map_or_else(|_| "an address unknown here".to_owned(), |newest| newest.address);
        return Err(WalOpenError::Superseded(FencedBy { node_id, epoch, address }));
    }
    let mut walk = Walk {
        slots,
        settings,
        at: settings.position,
        entered: settings.position.slot,
        next_sequence: None,
        next_free: 0,
        closed: false,
        predecessor_lease_ms: 0,
        races: 0,
        held: VecDeque::new(),
        records: Vec::new(),
        chain: Chain::default(),
    };
    while walk.at.epoch < settings.own.epoch {
        walk.read_to_gap().await?;
        if walk.at.epoch < settings.own.epoch {
            walk.fence().await?;
        }
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    slots: &'a Slots,
    settings: &'a ObjectWalSettings,
    /// The next slot to read.
    at: WalPosition,
    /// The first slot read of its epoch.
    entered: u64,
    /// Of the next record; `None`: no record was seen yet.
    next_sequence: Option<u64>,
    /// No record before had this number or a higher one, those lost included.
    next_free: u64,
    /// The last slot read says that its broker has stopped.
    closed: bool,
    /// For so long the broker of the epoch before may still answer.
    predecessor_lease_ms: u64,
    races: u32,
    held: VecDeque<HeldSlot>,
    records: Vec<Replayed>,
    chain: Chain,
}

impl Walk<'_> {
    /// Reads slots, some at a time, until one is not there or the own epoch is reached.
    async fn read_to_gap(&mut self) -> Result<(), WalOpenError> {
        'epoch: while self.at.epoch < self.settings.own.epoch {
            let (slots, epoch) = (self.slots, self.at.epoch);
            let reads = stream::iter(self.at.slot..).map(|slot| {
                let place = slots.place(epoch, slot);
                async move { (place, slots.read_surely(place, RetryPolicy::within(PATIENCE)).await) }
            });
            let mut reads = std::pin::pin!(reads.buffered(READS_AHEAD));
            while let Some((place, read)) = reads.next().await {
                match read {
                    Ok(Some(slot)) => self.take(place, slot)?,
                    Ok(None) => return Ok(()),
                    Err(ReadError::Damaged(why)) => {
                        self.damaged(place, why)?;
                        self.at.slot += 1;
                    }
                    Err(ReadError::Store(reason)) => {
                        return Err(WalOpenError::Store { object: place.path().to_string(), reason });
                    }
                }
                if self.at.epoch != epoch {
                    continue 'epoch;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, place: Place, slot: Slot) -> Result<(), WalOpenError> {
        match slot.content {
            Content::Fence(fence) => return self.follow(place, &fence),
            Content::Closed => self.closed = true,
            Content::Records { first_sequence, records } => {
                self.closed = false;
                let trimmed_to = self.settings.trimmed_to;
                let fits = match self.next_sequence {
                    Some(next) => first_sequence == next,
                    None => first_sequence <= trimmed_to,
                };
                if !fits {
                    self.damaged(place, "records before it are missing")?;
                }
                let end_sequence = first_sequence + records.len() as u64;
                self.next_sequence = Some(end_sequence);
                if end_sequence > trimmed_to {
                    self.held.push_back(HeldSlot { at: self.at, end_sequence });
                }
                self.records.extend(records.into_iter().filter(|record| record.sequence >= trimmed_to));
            }
        }
        self.at.slot += 1;
        Ok(())
    }

    /// An epoch has ended; the WAL goes on in the next.
    fn follow(&mut self, place: Place, fence: &Fence) -> Result<(), WalOpenError> {
        let own = self.settings.own.epoch;
        if fence.next_epoch > own {
            return Err(WalOpenError::Superseded(fence.by(place.node_id)));
        }
        if fence.next_epoch <= place.epoch {
            return Err(WalOpenError::Slot {
                object: place.path().to_string(),
                reason: "its fence leads back".to_owned(),
            });
        }
        self.chain.read.insert(place.epoch, (self.entered, place.slot));
        let lease_ms = if self.closed { 0 } else { self.at.lease_ms };
        // The one before may have ended without serving, and the one before that still answer.
        self.predecessor_lease_ms = self.predecessor_lease_ms.max(lease_ms);
        self.closed = false;
        self.at = WalPosition { epoch: fence.next_epoch, slot: place.slot + 1, lease_ms: fence.lease_ms };
        self.entered = self.at.slot;
        Ok(())
    }

    /// A slot that can't be read is a loss, which somebody must accept.
    fn damaged(&mut self, place: Place, why: &str) -> Result<(), WalOpenError> {
        let error = WalOpenError::Slot { object: place.path().to_string(), reason: why.to_owned() };
        if !self.settings.accept_loss {
            return Err(error);
        }
        tracing::error!(%error, "the loss was accepted: going on behind it");
        // Nobody knows how many records went; a snapshot in the store may know of them, and would take records that
        // got their numbers for old ones.
        let lost = self.next_sequence.take().unwrap_or(self.settings.trimmed_to) + LOST_RECORDS_MAX;
        self.next_free = self.next_free.max(lost);
        Ok(())
    }

    /// Puts the fence into the gap. When somebody was faster, the walk goes on.
    async fn fence(&mut self) -> Result<(), WalOpenError> {
        if self.races >= RACES {
            // Its broker is alive and quick. It is welcome to go on up to here.
            self.put_fence(self.at.slot + FENCE_AHEAD).await?;
            self.races = 0;
            return Ok(());
        }
        self.races += 1;
        if !self.put_fence(self.at.slot).await? {
            return Ok(());
        }
        self.slots.metrics.fences.inc();
        let place = self.slots.place(self.at.epoch, self.at.slot);
        self.follow(place, &self.own_fence())
    }

    /// Whether the fence is ours.
    async fn put_fence(&self, slot: u64) -> Result<bool, WalOpenError> {
        let place = self.slots.place(self.at.epoch, slot);
        let nonce = self.slots.env.uuid();
        let payload = slot::fence(place, nonce, &self.own_fence());
        let create = self.slots.create(place, nonce, payload);
        match tokio::time::timeout(PATIENCE, create).await {
            Ok(Created::Mine { .. }) => Ok(true),
            Ok(Created::Theirs(_) | Created::Damaged(_)) => Ok(false),
            Err(_) => Err(WalOpenError::Store {
                object: place.path().to_string(),
                reason: format!("it could not be created within {PATIENCE:?}"),
            }),
        }
    }

    fn own_fence(&self) -> Fence {
        let Registration { epoch, address } = self.settings.own.clone();
        let lease_ms = self.settings.bounds.lease.as_millis() as u64;
        Fence { next_epoch: epoch, address, lease_ms }
    }

    fn finish(mut self) -> Walked {
        // Clocks that count leases may differ by a little.
        let lease = Duration::from_millis(self.predecessor_lease_ms);
        let wait = lease + lease / 16;
        self.chain.own = (self.settings.own.epoch, self.at.slot);
        Walked {
            next_sequence: self.next_sequence.unwrap_or(0).max(self.settings.trimmed_to).max(self.next_free),
            held: self.held,
            records: self.records,
            first_slot: self.at.slot,
            serve_from: self.slots.env.elapsed() + wait,
            chain: self.chain,
        }
    }
}
