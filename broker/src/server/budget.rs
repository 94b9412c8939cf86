//! Bytes in flight over all connections, and the right to hold some of them.
//!
//! Back-pressure is by waiting: a connection that can't charge its next bytes is not read, so the client's own
//! socket fills. Who waits in the middle of a frame keeps what it has charged; for that not to become a
//! deadlock, one holder at a time may overdraw the budget until its charge ends. The most that can be held is
//! therefore the budget and one frame.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on bytes in flight.
pub struct ByteBudget {
    permits: Semaphore,
    overdraft: Arc<Semaphore>,
    held: IntGauge,
}

impl ByteBudget {
    /// A budget of `bytes_max`; `held` shows what is charged.
    pub fn new(bytes_max: usize, held: IntGauge) -> Arc<ByteBudget> {
        let permits = Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS));
        Arc::new(ByteBudget { permits, overdraft: Arc::new(Semaphore::new(1)), held })
    }

    /// A charge of nothing yet.
    pub fn charge(self: &Arc<ByteBudget>) -> Charge {
        Charge { budget: Arc::clone(self), permits: 0, overdrawn: 0, overdraft: None }
    }
}

/// Bytes held of a budget; given back on drop.
pub struct Charge {
    budget: Arc<ByteBudget>,
    permits: usize,
    overdrawn: usize,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Charge {
    /// Holds `bytes` more, waiting while the budget is used up. Dropping the future changes nothing.
    pub async fn grow(&mut self, bytes: u32) {
        if self.try_grow(bytes) {
            return;
        }
        let budget = Arc::clone(&self.budget);
        tokio::select! {
            biased;
            granted = budget.permits.acquire_many(bytes) => {
                // A budget's semaphore is never closed; if it were, not to count is the safe side.
                if let Ok(permits) = granted {
                    permits.forget();
                    self.permits += bytes as usize;
                    self.budget.held.add(i64::from(bytes));
                }
            }
            granted = Arc::clone(&budget.overdraft).acquire_owned() => {
                self.overdraft = granted.ok();
                self.overdraw(bytes);
            }
        }
    }

    /// Holds `bytes` more, waiting while the budget is used up, without the right to overdraw: for who holds
    /// nothing yet.
    pub async fn grow_within(&mut self, bytes: u32) {
        let budget = Arc::clone(&self.budget);
        // As above: never closed.
        if let Ok(permits) = budget.permits.acquire_many(bytes).await {
            permits.forget();
            self.permits += bytes as usize;
            self.budget.held.add(i64::from(bytes));
        }
    }

    /// Holds `bytes` more if they are free now.
    pub fn try_grow(&mut self, bytes: u32) -> bool {
        if self.overdraft.is_some() {
            self.overdraw(bytes);
            return true;
        }
        let Ok(permits) = self.budget.permits.try_acquire_many(bytes) else { return false };
        permits.forget();
        self.permits += bytes as usize;
        self.budget.held.add(i64::from(bytes));
        true
    }

    /// Gives back all but `bytes`; a charge smaller than that stays as it is.
    pub fn shrink_to(&mut self, bytes: usize) {
        let give_back = self.permits.saturating_sub(bytes);
        self.permits -= give_back;
        self.budget.permits.add_permits(give_back);
        self.budget.held.sub(give_back as i64);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.permits + self.overdrawn
    }

    fn overdraw(&mut self, bytes: u32) {
        self.overdrawn += bytes as usize;
        self.budget.held.add(i64::from(bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.permits.add_permits(self.permits);
        self.budget.held.sub(self.bytes() as i64);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn budget(bytes_max: usize) -> Arc<ByteBudget> {
        ByteBudget::new(bytes_max, IntGauge::new("held", "held").unwrap())
    }

    #[tokio::test]
    async fn when_all_is_held_one_overdraws_and_the_next_waits_until_something_is_given_back() {
        let budget = budget(100);
        let mut first = budget.charge();
        first.grow(100).await;
        let mut second = budget.charge();
        second.grow(50).await;
        second.grow(50).await;
        assert_eq!((second.bytes(), budget.held.get()), (100, 200));
        let mut third = budget.charge();
        assert!(third.grow(1).now_or_never().is_none());
        drop(first);
        third.grow(1).await;
        assert_eq!(budget.held.get(), 101);
        drop((second, third));
        assert_eq!((budget.held.get(), budget.permits.available_permits()), (0, 100));
    }

    #[tokio::test]
    async fn what_is_not_needed_goes_back_at_once() {
        let budget = budget(100);
        let mut charge = budget.charge();
        assert!(charge.try_grow(100));
        charge.shrink_to(30);
        assert!(!budget.charge().try_grow(71));
        assert!(budget.charge().try_grow(70));
    }
}
