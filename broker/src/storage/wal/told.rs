//! An owner of records that remembers what it was told, for tests.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Owner, WalError};

/// Remembers how far it is durable, and why it failed.
#[derive(Default)]
pub(super) struct Told {
    durable: Mutex<i64>,
    changed: watch::Sender<i64>,
    failed: watch::Sender<Option<WalError>>,
    silenced: AtomicBool,
}

impl Told {
    /// The last mark that is durable.
    pub fn mark(&self) -> i64 {
        *self.durable.lock()
    }

    /// Resolves once this mark is durable. Panics when it never will be.
    pub async fn durable(&self, mark: i64) {
        let mut changed = self.changed.subscribe();
        tokio::select! {
            biased;
            durable = changed.wait_for(|durable| *durable >= mark) => drop(durable.unwrap()),
            error = self.failed() => panic!("durable up to {}, not {mark}: {error}", self.mark()),
        }
    }

    /// Resolves once it is told that the WAL has failed.
    pub async fn failed(&self) -> WalError {
        let mut failed = self.failed.subscribe();
        failed.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    /// Nothing may be told to be durable from here on.
    pub fn silence(&self) {
        self.silenced.store(true, Ordering::SeqCst);
    }
}

impl Owner for Told {
    fn durable(&self, mark: i64) {
        assert!(!self.silenced.load(Ordering::SeqCst), "{mark} was acknowledged after another took over");
        let mut durable = self.durable.lock();
        assert!(mark > *durable, "told {mark} after {durable}");
        *durable = mark;
        self.changed.send_replace(mark);
    }

    fn failed(&self, error: &WalError) {
        self.failed.send_replace(Some(error.clone()));
    }
}
