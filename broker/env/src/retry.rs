//! Bounded retries with exponential delays.
//!
//! The only place that knows the `backoff` crate (unmaintained, RUSTSEC-2025-0012): it supplies the sequence of
//! delays; the loop and the clock are ours, so that a simulation stays replayable.

use std::future::Future;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::Env;

/// How often and how long to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Delay before the second attempt.
    pub first_delay: Duration,
    /// No delay is longer than this.
    pub delay_max: Duration,
    /// No attempt starts later than this after the first one; `None`: for ever.
    pub total_max: Option<Duration>,
}

impl RetryPolicy {
    /// 50 ms, doubling to 2 s, for ever.
    pub const FOREVER: RetryPolicy = RetryPolicy {
        first_delay: Duration::from_millis(50),
        delay_max: Duration::from_secs(2),
        total_max: None,
    };

    /// 50 ms, doubling to 2 s, for at most `total_max`.
    pub const fn within(total_max: Duration) -> RetryPolicy {
        RetryPolicy { total_max: Some(total_max), ..RetryPolicy::FOREVER }
    }

    /// The delays of this policy, one after the other.
    pub fn delays(&self, env: &Env) -> Delays {
        let inner = ExponentialBackoffBuilder::default()
            .with_initial_interval(self.first_delay)
            .with_max_interval(self.delay_max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Delays { inner, env: env.clone(), started: env.elapsed(), total_max: self.total_max }
    }
}

/// An ongoing sequence of delays, each spread by up to a quarter so that clients do not retry in step.
pub struct Delays {
    inner: ExponentialBackoff,
    env: Env,
    started: Duration,
    total_max: Option<Duration>,
}

impl Delays {
    /// The next delay, or `None` when the policy's total is used up.
    pub fn next_delay(&mut self) -> Option<Duration> {
        let delay = self.inner.next_backoff()?;
        let spread = (self.env.random_u64() % 1_000) as f64 / 1_000.0;
        let delay = delay.mul_f64(0.875 + 0.25 * spread);
        match self.total_max {
            Some(total_max) if self.env.elapsed() + delay > self.started + total_max => None,
            _ => Some(delay),
        }
    }

    /// Starts again from the first delay, after a success.
    pub fn reset(&mut self) {
        self.inner.reset();
        self.started = self.env.elapsed();
    }
}

/// What an attempt says about trying again.
#[derive(Debug)]
pub enum Failure<E> {
    /// May succeed later.
    Transient(E),
    /// Will not get better by repeating.
    Permanent(E),
}

/// Runs `attempt` until it succeeds, fails for good, or the policy's total is used up; the last error is given
/// back.
pub async fn retry<T, E, F, Fut>(env: &Env, policy: RetryPolicy, mut attempt: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Failure<E>>>,
{
    let mut delays = policy.delays(env);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(Failure::Permanent(error)) => return Err(error),
            Err(Failure::Transient(error)) => error,
        };
        match delays.next_delay() {
            Some(delay) => env.sleep(delay).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_stop_at_the_total() {
        let env = Env::seeded(1, 0);
        let attempts = Cell::new(0);
        let result: Result<(), &str> = retry(&env, RetryPolicy::within(Duration::from_secs(1)), || async {
            attempts.set(attempts.get() + 1);
            Err(Failure::Transient("down"))
        })
        .await;
        assert_eq!(result, Err("down"));
        // 50 + 100 + 200 + 400 ms, each up to an eighth more or less: the fifth delay would pass one second.
        assert_eq!(attempts.get(), 5);
        assert!(env.elapsed() <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_not_repeated() {
        let env = Env::seeded(1, 0);
        let attempts = Cell::new(0);
        let result: Result<(), &str> = retry(&env, RetryPolicy::FOREVER, || async {
            attempts.set(attempts.get() + 1);
            Err(Failure::Permanent("no"))
        })
        .await;
        assert_eq!((result, attempts.get()), (Err("no"), 1));
    }
}
