//! One change of a family at a time. Families do not wait for each other: a cluster that hangs holds up its own only.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// The turns of all families.
#[derive(Default)]
pub(super) struct Turns {
    of: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits until nobody else changes this family.
    pub(super) async fn take(&self, family: &str) -> OwnedMutexGuard<()> {
        let turn = self.of.lock().entry(family.to_owned()).or_default().clone();
        turn.lock_owned().await
    }

    /// Whether somebody changes this family now.
    #[cfg(test)]
    pub(super) fn is_taken(&self, family: &str) -> bool {
        self.of.lock().get(family).is_some_and(|turn| turn.try_lock().is_err())
    }
}
