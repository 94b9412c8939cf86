//! The walk of a broker that starts: over the slots of its predecessors, to the fence that it puts behind them.
//!
//! ```text
//! slot by slot ─┬ records ▶ kept                       ┬▶ next slot
//!               ├ closed  ▶ nobody answers any more     ┘
//!               ├ fence   ▶ the slot behind it, in the epoch that it names
//!               └ gap     ┬ nothing denies it ▶ fence it: ours ▶ done
//!                         ├ taken meanwhile   ▶ read what took it; again and again ▶ put a fence ahead of its broker
//!                         └ it was there once ▶ told, or given up ▶ what stands behind it
//! ```
//!
//! A slot that does not read, or is gone, is a loss that somebody must accept. The walk then goes on behind it, in the
//! epoch where it stood or, if it was the fence, in the one that the fence led to: what is there comes back.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{StreamExt, stream};
use towpath_env::retry::RetryPolicy;

use super::behind::{Behind, Resume};
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
/// Where a predecessor that keeps winning the race for the gap is stopped: so many slots further on, or twice as many, ...
const FENCE_AHEAD: u64 = 64;
/// After so many races lost.
const RACES: u32 = 3;
/// A slot that is lost held fewer records.
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
        expected: settings.trimmed_to,
        seen: false,
        uncounted: false,
        closed: false,
        predecessor_lease_ms: 0,
        races: 0,
        held: VecDeque::new(),
        records: Vec::new(),
        chain: Chain::default(),
    };
    while walk.at.epoch < settings.own.epoch {
        walk.read_to_gap().await?;
        if walk.at.epoch < settings.own.epoch && walk.is_the_end().await? {
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
    /// The sequence number of the next record; until one was `seen` it may be lower.
    expected: u64,
    seen: bool,
    /// Slots were given up, and nothing said yet how many records they held.
    uncounted: bool,
    /// The last slot read says that its broker has stopped.
    closed: bool,
    /// For so long the broker of the epoch before may still answer.
    predecessor_lease_ms: u64,
    /// So often somebody filled the gap before it was fenced.
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
                        self.pass_damaged(place).await?;
                    }
                    Err(ReadError::Store(trouble)) => return Err(WalOpenError::Store(trouble.into())),
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
            Content::Fence(fence) => {
                // It was put behind the last record.
                if self.uncounted && !fence.ahead {
                    self.counted(slot.synced_below);
                }
                return self.follow(place, &fence);
            }
            Content::Closed => {
                self.closed = true;
                if self.uncounted {
                    self.counted(slot.synced_below);
                }
            }
            Content::Records { first_sequence, records } => {
                self.closed = false;
                self.take_records(place, first_sequence, records)?;
            }
        }
        self.at.slot += 1;
        Ok(())
    }

    fn take_records(
        &mut self,
        place: Place,
        first_sequence: u64,
        records: Vec<Replayed>,
    ) -> Result<(), WalOpenError> {
        let trimmed_to = self.settings.trimmed_to;
        let end_sequence = first_sequence + records.len() as u64;
        if self.uncounted {
            self.counted(first_sequence);
        } else if first_sequence > self.expected {
            self.damaged(place, "records before it are missing")?;
            self.counted(first_sequence);
        }
        if self.seen && first_sequence < self.expected {
            return self.damaged(place, "its records were there before it");
        }
        (self.seen, self.expected) = (true, end_sequence);
        if end_sequence > trimmed_to {
            self.held.push_back(HeldSlot { at: self.at, end_sequence });
        }
        self.records.extend(records.into_iter().filter(|record| record.sequence >= trimmed_to));
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
        self.lost(WalOpenError::Slot { object: place.path().to_string(), reason: why.to_owned() })
    }

    fn lost(&mut self, error: WalOpenError) -> Result<(), WalOpenError> {
        if !self.settings.accept_loss {
            return Err(error);
        }
        tracing::error!(%error, "the loss was accepted: going on behind it");
        self.uncounted = true;
        Ok(())
    }

    /// What was lost ended below this sequence number.
    fn counted(&mut self, end: u64) {
        self.uncounted = false;
        let first = self.found_below();
        if end > first {
            tracing::error!(first, count = end - first, "records of the WAL are lost, which was accepted");
            (self.seen, self.expected) = (true, end);
        }
    }

    /// Everything below is in segments, was found, or was told as lost.
    fn found_below(&self) -> u64 {
        self.expected.max(self.settings.trimmed_to)
    }

    /// The sequence number behind everything that was there, lost or not.
    fn next_sequence(&self) -> u64 {
        // A snapshot in the store may know of what was lost, and would take records that got its numbers for old ones.
        self.found_below() + if self.uncounted { LOST_RECORDS_MAX } else { 0 }
    }

    /// Goes on behind a slot that does not read. If it was the fence, what stands behind it is void, and the WAL goes
    /// on in a later epoch.
    async fn pass_damaged(&mut self, place: Place) -> Result<(), WalOpenError> {
        let behind = Behind::list(self.slots, self.at, self.settings.own.epoch).await?;
        let led_to = match (behind.was_fence(place), behind.later) {
            (Some((epoch, _)), _) => Some(epoch),
            (None, Some(_)) => None,
            (None, None) => self.fence_who_may_come(place).await?,
        };
        if let Some(epoch) = led_to {
            return self.follow(place, &self.lost_fence(epoch));
        }
        self.at.slot += 1;
        Ok(())
    }

    /// If the slot that does not read was a fence, somebody may write behind it who has written nothing so far: every
    /// registration since may be that one. Fences them all; the epoch of the one that was faster. Without such a one the
    /// walk goes on in the slot's own epoch, which is not fenced yet: its broker may live.
    async fn fence_who_may_come(&self, suspect: Place) -> Result<Option<i64>, WalOpenError> {
        for epoch in (suspect.epoch + 1..self.settings.own.epoch).rev() {
            let place = Place { epoch, slot: suspect.slot + 1, ..suspect };
            match self.create_fence(place, &self.own_fence(true)).await? {
                Created::Mine { .. } => {}
                Created::Theirs(slot) if slot.is_fence_ahead() => {}
                Created::Theirs(_) | Created::Damaged(_) => return Ok(Some(epoch)),
            }
        }
        Ok(None)
    }

    /// Whether nothing stood in this gap before. If something did, the loss must be accepted, and the walk goes on
    /// behind it.
    async fn is_the_end(&mut self) -> Result<bool, WalOpenError> {
        let (slots, own) = (self.slots, self.settings.own.epoch);
        let gap = slots.place(self.at.epoch, self.at.slot);
        let behind = Behind::list(slots, self.at, own).await?;
        let denied = behind.denies(slots, gap, self.found_below()).await?;
        let Some(because) = denied.or_else(|| self.snapshot_denies()) else { return Ok(true) };
        // Its broker may run, and have put it only after it was looked for; or another one has taken over from here.
        match slots.read_surely(gap, RetryPolicy::within(PATIENCE)).await {
            Ok(None) => {}
            Err(ReadError::Store(trouble)) => return Err(WalOpenError::Store(trouble.into())),
            Ok(Some(_)) | Err(ReadError::Damaged(_)) => {
                let last = behind.slots.last().map_or(gap, |slot| Place { slot: *slot, ..gap });
                self.lost_race(last).await?;
                return Ok(false);
            }
        }
        self.refuse_if_superseded().await?;
        self.lost(WalOpenError::Missing { object: gap.path().to_string(), because })?;
        match behind.resume() {
            Resume::Slot(slot) => self.at.slot = slot,
            Resume::Epoch(epoch, first) => {
                // Put again, so that whoever wrote here stays fenced.
                let place = Place { slot: first.saturating_sub(1), ..gap };
                let fence = self.lost_fence(epoch);
                self.create_fence(place, &fence).await?;
                self.follow(place, &fence)?;
            }
            Resume::End => {
                self.counted(self.settings.known_below);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn snapshot_denies(&self) -> Option<String> {
        let (found, known) = (self.found_below(), self.settings.known_below);
        let missing = known > found && !self.uncounted;
        missing.then(|| format!("the snapshot of the last upload knows of records {found} to {}", known - 1))
    }

    async fn refuse_if_superseded(&self) -> Result<(), WalOpenError> {
        match (self.settings.newest)().await {
            Ok(Registration { epoch, address }) if epoch > self.settings.own.epoch => {
                Err(WalOpenError::Superseded(FencedBy { node_id: self.slots.node_id(), epoch, address }))
            }
            _ => Ok(()),
        }
    }

    /// What a fence must have said that led to this epoch.
    fn lost_fence(&self, next_epoch: i64) -> Fence {
        let Fence { lease_ms, .. } = self.own_fence(false);
        let address = "an address that went with the fence".to_owned();
        Fence { next_epoch, address, lease_ms, ahead: false }
    }

    /// Puts the fence into the gap. When somebody was faster, the walk goes on.
    async fn fence(&mut self) -> Result<(), WalOpenError> {
        let gap = self.slots.place(self.at.epoch, self.at.slot);
        let fence = self.own_fence(false);
        match self.create_fence(gap, &fence).await? {
            Created::Mine { .. } => {
                self.slots.metrics.fences.inc();
                self.follow(gap, &fence)
            }
            Created::Theirs(_) | Created::Damaged(_) => self.lost_race(gap).await,
        }
    }

    /// Somebody filled the gap before it was fenced, and has come to `last`. When that happens again and again, its
    /// broker is alive and quick: it is welcome to go on up to a fence ahead of it.
    async fn lost_race(&mut self, last: Place) -> Result<(), WalOpenError> {
        self.races += 1;
        if self.races < RACES {
            return Ok(());
        }
        self.races = 0;
        let mut distance = FENCE_AHEAD;
        loop {
            let ahead = Place { slot: last.slot.saturating_add(distance), ..last };
            match self.create_fence(ahead, &self.own_fence(true)).await? {
                // It is beyond that already.
                Created::Theirs(Slot { content: Content::Records { .. }, .. }) => distance *= 2,
                // Ours, or whoever wrote this stops its broker as well.
                _ => return Ok(()),
            }
        }
    }

    async fn create_fence(&self, place: Place, fence: &Fence) -> Result<Created, WalOpenError> {
        let (nonce, began) = (self.slots.env.uuid(), self.slots.env.elapsed());
        // One ahead says nothing of what is before it, and so nothing of what may be lost there.
        let synced_below = if fence.ahead { self.found_below() } else { self.next_sequence() };
        let payload = slot::fence(place, nonce, synced_below, fence);
        let create = self.slots.create(place, nonce, payload);
        let created = tokio::time::timeout(PATIENCE, create).await;
        created.map_err(|_| self.slots.gave_up(began, "put", place.path().as_ref()))
    }

    fn own_fence(&self, ahead: bool) -> Fence {
        let Registration { epoch, address } = self.settings.own.clone();
        let lease_ms = self.settings.bounds.lease.as_millis() as u64;
        Fence { next_epoch: epoch, address, lease_ms, ahead }
    }

    fn finish(mut self) -> Walked {
        // Clocks that count leases may differ by a little.
        let lease = Duration::from_millis(self.predecessor_lease_ms);
        let wait = lease + lease / 16;
        self.chain.own = (self.settings.own.epoch, self.at.slot);
        Walked {
            next_sequence: self.next_sequence(),
            held: self.held,
            records: self.records,
            first_slot: self.at.slot,
            serve_from: self.slots.env.elapsed() + wait,
            chain: self.chain,
        }
    }
}
