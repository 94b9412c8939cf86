//! The object WAL's one writer: a group of records per slot, some puts in flight, acknowledged in order.
//!
//! ```text
//! nothing in flight     ─▶ put what is queued, at once
//! puts in flight        ─▶ gather; put when a group is full, or an interval after the last put began
//! `puts_inflight_max`   ─▶ gather
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use towpath_env::Env;

use super::collect::Trimmed;
use super::guard::Guard;
use super::held::Held;
use super::slot::{self, Content, Place, Slot};
use super::slots::{Created, Slots};
use super::{ObjectWalBounds, ObjectWalSettings};
use crate::storage::wal::queue::{Health, Shared};
use crate::storage::wal::{WalError, WalRecord};

/// Of the bound on one request: how long a slot may be on its way before no more records are taken.
const HOLD_AFTER_REQUESTS: u32 = 2;
/// And before a broker that stops gives it up.
const GIVE_UP_AFTER_REQUESTS: u32 = 5;

pub(super) struct Writer {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    guard: Arc<Guard>,
    held: Arc<Mutex<Held>>,
    trimmed: Trimmed,
    bounds: ObjectWalBounds,
    epoch: i64,
    /// The slot of the next put.
    next_slot: u64,
    /// Of the next record to be put.
    next_sequence: u64,
    /// Records below are durable: a slot that is put now says so.
    synced_below: u64,
    /// Puts in flight, in order, and what they carry.
    puts: FuturesOrdered<AbortOnDropHandle<(Created, Duration)>>,
    aboard: VecDeque<Group>,
    last_put_began: Duration,
    /// When it was last looked whether the store takes slots.
    looked_at: Duration,
    closing: bool,
}

/// What one slot carries.
struct Group {
    records: VecDeque<WalRecord>,
    end_sequence: u64,
    began: Duration,
}

impl Writer {
    pub fn new(
        (shared, slots): (Arc<Shared>, Arc<Slots>),
        guard: Arc<Guard>,
        (held, trimmed): (Arc<Mutex<Held>>, Trimmed),
        settings: &ObjectWalSettings,
        first_slot: u64,
    ) -> Writer {
        Writer {
            next_sequence: shared.next_sequence(),
            synced_below: shared.next_sequence(),
            shared,
            slots,
            guard,
            held,
            trimmed,
            bounds: settings.bounds,
            epoch: settings.own.epoch,
            next_slot: first_slot,
            puts: FuturesOrdered::new(),
            aboard: VecDeque::new(),
            last_put_began: Duration::ZERO,
            looked_at: Duration::ZERO,
            closing: false,
        }
    }

    /// Runs until the WAL is closed or has failed.
    pub async fn run(mut self) {
        match self.write().await {
            Ok(()) => self.shared.ended(),
            Err(error) => {
                let records = self.aboard.drain(..).flat_map(|group| group.records);
                self.shared.fail(&error, records.collect());
            }
        }
    }

    async fn write(&mut self) -> Result<(), WalError> {
        let mut failure = self.shared.failure();
        loop {
            self.trim();
            let next_put = self.put_what_is_due()?;
            if self.is_done() {
                return self.leave_closed().await;
            }
            let look = self.looked_at + self.patience() / 4;
            let stuck = self.aboard.front().map(|group| look.max(group.began + self.patience()));
            let env = self.slots.env.clone();
            tokio::select! {
                biased;
                // A fence that the lease met ends the writer too; `put_what_is_due` says so.
                _ = failure.changed() => {}
                landed = self.puts.next(), if !self.puts.is_empty() => {
                    let landed = landed.and_then(Result::ok);
                    let (created, ended) = landed.ok_or_else(|| WalError::bug("a put panicked"))?;
                    self.landed(created, ended).await?;
                }
                () = self.shared.task.notified() => {}
                () = until(&env, next_put), if next_put.is_some() => {}
                () = until(&env, stuck), if stuck.is_some() => self.stuck()?,
            }
        }
    }

    /// How long a slot may be on its way before it is told that the store does not answer.
    fn patience(&self) -> Duration {
        self.bounds.request_timeout * HOLD_AFTER_REQUESTS
    }

    /// Begins the puts that may begin now; when the next may.
    fn put_what_is_due(&mut self) -> Result<Option<Duration>, WalError> {
        loop {
            let now = self.slots.env.elapsed();
            let mut queue = self.shared.queue.lock();
            if let Some(error) = queue.failed() {
                return Err(error.clone());
            }
            let closing = queue.health == Health::Closing;
            self.closing = closing;
            if queue.records.is_empty() || self.aboard.len() >= self.bounds.puts_inflight_max {
                return Ok(None);
            }
            let full = queue.waiting_bytes >= self.bounds.group_bytes_max;
            let due = self.last_put_began + self.bounds.flush_interval;
            if !self.aboard.is_empty() && !full && !closing && now < due {
                return Ok(Some(due));
            }
            let records = queue.take_group(self.bounds.group_bytes_max);
            drop(queue);
            self.put(records, now);
        }
    }

    fn put(&mut self, records: VecDeque<WalRecord>, now: Duration) {
        let place = self.next_place();
        let nonce = self.slots.env.uuid();
        let payload = slot::records(place, nonce, (self.next_sequence, self.synced_below), records.iter());
        self.next_sequence += records.len() as u64;
        self.aboard.push_back(Group { records, end_sequence: self.next_sequence, began: now });
        self.last_put_began = now;
        self.slots.metrics.slots_inflight.set(self.aboard.len() as i64);
        let slots = self.slots.clone();
        // A task of its own, so that checking and encrypting one does not hold up another.
        let put = tokio::spawn(async move {
            let created = slots.create(place, nonce, payload).await;
            (created, slots.env.elapsed())
        });
        self.puts.push_back(AbortOnDropHandle::new(put));
    }

    fn next_place(&mut self) -> Place {
        let place = self.slots.place(self.epoch, self.next_slot);
        self.next_slot += 1;
        place
    }

    /// The oldest slot in flight has its outcome.
    async fn landed(&mut self, created: Created, ended: Duration) -> Result<(), WalError> {
        let oldest = self.slots.place(self.epoch, self.next_slot - self.aboard.len() as u64);
        let began = self.is_ours(oldest, created)?;
        self.not_fenced(began, ended).await?;
        let Some(group) = self.aboard.pop_front() else { return Ok(()) };
        self.synced_below = group.end_sequence;
        let metrics = &self.slots.metrics;
        metrics.put_seconds.observe((ended - group.began).as_secs_f64());
        metrics.slots_inflight.set(self.aboard.len() as i64);
        let mut held = self.held.lock();
        held.landed(group.end_sequence);
        metrics.slots.set(held.len() as i64);
        drop(held);
        self.guard.confirmed_below(self.next_slot - self.aboard.len() as u64);
        self.shared.take_again();
        self.shared.acknowledge(group.records, group.end_sequence)
    }

    /// Waits for the guard's word, which may take as long as the metadata does not answer.
    async fn not_fenced(&mut self, began: Duration, ended: Duration) -> Result<(), WalError> {
        let (guard, shared, env) = (self.guard.clone(), self.shared.clone(), self.slots.env.clone());
        let mut word = std::pin::pin!(guard.not_fenced(began, ended));
        loop {
            tokio::select! {
                biased;
                word = &mut word => return word.map_err(WalError::Fenced),
                () = env.sleep(self.patience() / 4) => {}
            }
            let queue = shared.queue.lock();
            if let Some(error) = queue.failed() {
                return Err(error.clone());
            }
            self.closing = queue.health == Health::Closing;
            drop(queue);
            if self.aboard.front().is_some_and(|group| env.elapsed() >= group.began + self.patience()) {
                self.stuck()?;
            }
        }
    }

    /// When the request began that made the slot ours.
    fn is_ours(&self, place: Place, created: Created) -> Result<Duration, WalError> {
        match created {
            Created::Mine { began } => Ok(began),
            Created::Theirs(Slot { content: Content::Fence(fence), .. }) => {
                Err(WalError::Fenced(fence.by(self.slots.node_id())))
            }
            Created::Theirs(_) => {
                Err(WalError::bug(format!("somebody else wrote {} under this registration", place.path())))
            }
            Created::Damaged(why) => {
                let path = place.path();
                Err(WalError::Failed(format!(
                    "{path} holds something else: {why}; fix: see that nothing else writes under the store's prefix, \
                     then restart the broker"
                )))
            }
        }
    }

    /// The store has not taken the oldest slot for long.
    fn stuck(&mut self) -> Result<(), WalError> {
        let now = self.slots.env.elapsed();
        self.looked_at = now;
        let Some(oldest) = self.aboard.front() else { return Ok(()) };
        let waited = now.saturating_sub(oldest.began);
        let last = self.slots.trouble_since(oldest.began).map(Box::new);
        let unavailable = WalError::Unavailable { waited_ms: waited.as_millis() as u64, last };
        // A broker that stops does not wait for ever: what is not acknowledged may be lost.
        if self.closing && waited >= self.bounds.request_timeout * GIVE_UP_AFTER_REQUESTS {
            return Err(unavailable);
        }
        self.shared.hold(unavailable);
        Ok(())
    }

    fn trim(&mut self) {
        let below = {
            let mut queue = self.shared.queue.lock();
            if queue.trim_below <= queue.trimmed_below {
                return;
            }
            queue.trimmed_below = queue.trim_below;
            queue.trim_below
        };
        let mut held = self.held.lock();
        held.trim(below);
        self.slots.metrics.slots.set(held.len() as i64);
        self.trimmed.send_replace(held.position(below));
    }

    fn is_done(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.health == Health::Closing && queue.records.is_empty() && self.aboard.is_empty()
    }

    /// Says that nobody answers here any more, so that the next start need not wait for the lease.
    async fn leave_closed(&mut self) -> Result<(), WalError> {
        self.guard.revoke();
        let place = self.next_place();
        let nonce = self.slots.env.uuid();
        let create = self.slots.create(place, nonce, slot::closed(place, nonce, self.synced_below));
        match tokio::time::timeout(self.patience(), create).await {
            Ok(created) => self.is_ours(place, created).map(drop),
            Err(_) => {
                tracing::warn!("the store does not answer: the next start waits for this broker's lease");
                Ok(())
            }
        }
    }
}

/// Waits until then (by [`Env::elapsed`]).
async fn until(env: &Env, due: Option<Duration>) {
    env.sleep(due.unwrap_or_default().saturating_sub(env.elapsed())).await;
}
