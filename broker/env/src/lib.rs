//! The one door to clock, randomness, process signals, retries and panics.
//!
//! Every other room asks an [`Env`] for the time, for random bytes and for waiting, so that a simulation can
//! replay a run from a seed. Nothing else in the workspace may call `SystemTime::now`, `Instant::now` or a
//! random source directly (`clippy.toml` bans them).

#![forbid(unsafe_code)]

pub mod panic;
pub mod retry;
pub mod signal;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};
use uuid::Uuid;

/// Clock and randomness of one process, cheap to clone.
///
/// Under [`Env::seeded`] the wall clock is `wall_start_ms` plus tokio's own elapsed time, so that
/// `tokio::time::pause` and `advance` drive it.
#[derive(Clone)]
pub struct Env {
    inner: Arc<Inner>,
}

struct Inner {
    started: tokio::time::Instant,
    /// UTC milliseconds at `started` of a seeded clock; `None`: ask the system.
    wall_start_ms: Option<i64>,
    /// `None`: the operating system's randomness.
    seeded: Option<Mutex<StdRng>>,
}

impl Env {
    /// The system's clock and randomness.
    pub fn real() -> Env {
        Env::new(None, None)
    }

    /// A replayable environment: same seed, same random values; the wall clock starts at `wall_start_ms` (UTC
    /// milliseconds) and advances with tokio's clock.
    pub fn seeded(seed: u64, wall_start_ms: i64) -> Env {
        Env::new(Some(wall_start_ms), Some(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    fn new(wall_start_ms: Option<i64>, seeded: Option<Mutex<StdRng>>) -> Env {
        Env { inner: Arc::new(Inner { started: tokio::time::Instant::now(), wall_start_ms, seeded }) }
    }

    /// Wall clock, UTC milliseconds since 1970. May step; use [`Env::elapsed`] for durations.
    pub fn now_ms(&self) -> i64 {
        match self.inner.wall_start_ms {
            Some(start_ms) => start_ms + self.elapsed().as_millis() as i64,
            // A clock set before 1970 reads as 1970: timestamps below zero mean "none" on the wire.
            None => {
                #[allow(clippy::disallowed_methods)]
                let now = SystemTime::now();
                now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
            }
        }
    }

    /// Monotonic time since this environment was made.
    pub fn elapsed(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// Waits on tokio's clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Fills `bytes` with random values.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.inner.seeded {
            Some(rng) => rng.lock().fill_bytes(bytes),
            // Without the operating system's randomness no id or secret is safe: there is nothing to go on with.
            #[allow(clippy::expect_used)]
            None => OsRng.try_fill_bytes(bytes).expect("the operating system gives randomness"),
        }
    }

    /// A random 64-bit value.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random UUID (version 4).
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.inner.seeded.is_some() { "Env(seeded)" } else { "Env(real)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seed_replays_time_and_randomness() {
        let (first, second) = (Env::seeded(7, 1_000), Env::seeded(7, 1_000));
        assert_eq!(first.uuid(), second.uuid());
        assert_ne!(Env::seeded(8, 1_000).random_u64(), Env::seeded(7, 1_000).random_u64());
        first.sleep(Duration::from_millis(250)).await;
        assert_eq!(first.now_ms(), 1_250);
    }

    #[tokio::test]
    async fn the_real_clock_is_after_the_year_2020() {
        assert!(Env::real().now_ms() > 1_577_836_800_000);
    }
}
