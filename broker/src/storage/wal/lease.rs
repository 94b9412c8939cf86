//! How long a broker may answer from its state without a new proof that no other has taken over.
//!
//! A proof counts from the moment its request began, so that a successor that waits one lease after it has fenced
//! its predecessor never meets an answer from the past. Nobody renews it but who needs it: a check that finds less
//! than half of it left rings for a proof, one that finds none waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use towpath_env::Env;

use crate::storage::metrics::WalMetrics;

/// A check waits so many leases for a proof.
const WAIT_LEASES: u32 = 3;

/// Whether answers may be given. Cheap to clone.
#[derive(Clone)]
pub struct Lease {
    /// `None`: nobody else can take over.
    inner: Option<Arc<Inner>>,
}

/// Why no answer may be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another broker has taken over, or this one has stopped.
    #[error("this broker may not answer any more: another one has taken over, or it is stopping")]
    Gone,
    /// The store did not tell in time.
    #[error("the object store did not say within {waited_ms} ms that no other broker has taken over")]
    NoProof {
        /// How long was waited.
        waited_ms: u64,
    },
}

struct Inner {
    env: Env,
    length: Duration,
    /// Microseconds of [`Env::elapsed`].
    until_us: AtomicU64,
    gone: watch::Sender<Proved>,
    wanted: Notify,
    metrics: WalMetrics,
}

/// What those who wait for a proof look at.
#[derive(Clone, Copy, Default)]
struct Proved {
    until: Duration,
    gone: bool,
}

impl Lease {
    /// The lease of a broker that nobody else can take over from.
    pub fn always() -> Lease {
        Lease { inner: None }
    }

    /// A lease of this length, not proved yet.
    pub(super) fn new(length: Duration, env: Env, metrics: WalMetrics) -> Lease {
        let (until_us, gone, wanted) = (AtomicU64::new(0), watch::Sender::default(), Notify::new());
        Lease { inner: Some(Arc::new(Inner { env, length, until_us, gone, wanted, metrics })) }
    }

    /// Whether it never ends, so that there is nothing to check.
    pub fn is_always(&self) -> bool {
        self.inner.is_none()
    }

    /// Resolves once an answer from state may be given: at once while a proof holds.
    pub async fn check(&self) -> Result<(), LeaseError> {
        let Some(inner) = &self.inner else { return Ok(()) };
        if inner.live() {
            return Ok(());
        }
        inner.metrics.lease_waits.inc();
        let mut proved = inner.gone.subscribe();
        inner.wanted.notify_one();
        let wait = inner.length * WAIT_LEASES;
        let env = inner.env.clone();
        let came = tokio::time::timeout(wait, proved.wait_for(|now| now.gone || now.until > env.elapsed()));
        match came.await {
            Ok(Ok(now)) if !now.gone => Ok(()),
            Ok(_) => Err(LeaseError::Gone),
            Err(_) => Err(LeaseError::NoProof { waited_ms: wait.as_millis() as u64 }),
        }
    }

    /// Resolves when somebody wants a proof and less than half of the lease is left.
    pub(super) async fn wanted(&self) {
        let Some(inner) = &self.inner else { return std::future::pending().await };
        loop {
            inner.wanted.notified().await;
            if inner.left() < inner.length / 2 {
                return;
            }
        }
    }

    /// Whether somebody waits for a proof.
    pub(super) fn is_awaited(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.gone.receiver_count() > 0)
    }

    /// A request that began then (by [`Env::elapsed`]) has shown that nobody had taken over.
    pub(super) fn proved(&self, began: Duration) {
        let Some(inner) = &self.inner else { return };
        let until = began + inner.length;
        inner.gone.send_if_modified(|now| {
            if now.gone || now.until >= until {
                return false;
            }
            now.until = until;
            inner.until_us.store(until.as_micros() as u64, Ordering::Release);
            true
        });
    }

    /// No answer may be given any more.
    pub(super) fn revoke(&self) {
        let Some(inner) = &self.inner else { return };
        inner.gone.send_modify(|now| {
            now.gone = true;
            inner.until_us.store(0, Ordering::Release);
        });
    }
}

impl Inner {
    fn left(&self) -> Duration {
        let until = Duration::from_micros(self.until_us.load(Ordering::Acquire));
        until.saturating_sub(self.env.elapsed())
    }

    fn live(&self) -> bool {
        let left = self.left();
        if left < self.length / 2 {
            self.wanted.notify_one();
        }
        !left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::storage::StorageMetrics;

    const LENGTH: Duration = Duration::from_secs(3);

    fn lease() -> (Lease, Env) {
        let env = Env::seeded(1, 0);
        let metrics = StorageMetrics::register(&Registry::new()).unwrap();
        (Lease::new(LENGTH, env.clone(), metrics.wal), env)
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_counts_from_the_beginning_of_its_request_and_never_longer() {
        let (lease, env) = lease();
        env.sleep(Duration::from_secs(10)).await;
        lease.proved(Duration::from_secs(8));
        lease.check().await.unwrap();
        assert_eq!(env.elapsed(), Duration::from_secs(10), "it did not wait");
        env.sleep(Duration::from_secs(1)).await;
        let waited = lease.check().await.unwrap_err();
        assert_eq!(
            (waited, env.elapsed()),
            (LeaseError::NoProof { waited_ms: 9_000 }, Duration::from_secs(20))
        );
        // An older proof that comes late changes nothing.
        lease.proved(Duration::from_secs(20));
        lease.proved(Duration::from_secs(1));
        lease.check().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_asked_for_when_half_of_the_lease_is_gone_and_not_before() {
        let (lease, env) = lease();
        lease.proved(Duration::ZERO);
        lease.check().await.unwrap();
        let asked = |lease: Lease| async move {
            tokio::time::timeout(Duration::from_millis(1), lease.wanted()).await.is_ok()
        };
        assert!(!asked(lease.clone()).await);
        env.sleep(LENGTH / 2).await;
        assert!(!asked(lease.clone()).await, "nobody needs it");
        lease.check().await.unwrap();
        assert!(asked(lease.clone()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_at_once_of_a_proof_and_of_the_end() {
        let (lease, env) = lease();
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { lease.check().await }
        });
        lease.wanted().await;
        assert!(lease.is_awaited());
        lease.proved(env.elapsed());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(!lease.is_awaited());
        lease.revoke();
        lease.proved(env.elapsed());
        assert_eq!(lease.check().await, Err(LeaseError::Gone));
        assert!(env.elapsed() < Duration::from_secs(1));
    }
}
