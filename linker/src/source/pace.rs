//! How fast a link may read from one source broker: a bandwidth bound, and a step back when the broker slows.

use std::time::Duration;

/// Fetches whose latency is above this multiple of the usual one count as a slow broker.
const SLOW_FACTOR: u32 = 4;
/// Below this no latency counts as slow: scheduling alone explains it.
const SLOW_FLOOR: Duration = Duration::from_millis(100);
/// Weight of one new sample in the usual latency, as a divisor.
const SMOOTHING: u32 = 16;

/// The pace of one fetcher. Times are durations since any fixed start.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: u64,
    /// When the bytes read so far are paid for.
    paid_until: Duration,
    usual_latency: Option<Duration>,
}

impl Pace {
    /// At most `bytes_per_s` bytes per second; 0: no bound.
    pub fn new(bytes_per_s: u64) -> Pace {
        Pace { bytes_per_s, paid_until: Duration::ZERO, usual_latency: None }
    }

    /// A fetch brought `bytes` after `latency` (`None`: the broker may have waited for news); at `now`, how long to
    /// wait before the next one.
    pub fn after(&mut self, bytes: u64, latency: Option<Duration>, now: Duration) -> Duration {
        let bandwidth = self.pay(bytes, now);
        let courtesy =
            latency.filter(|_| bytes > 0).map_or(Duration::ZERO, |latency| self.step_back(latency));
        bandwidth.max(courtesy)
    }

    /// The usual latency of a fetch that brought data, once known.
    pub fn usual_latency(&self) -> Option<Duration> {
        self.usual_latency
    }

    fn pay(&mut self, bytes: u64, now: Duration) -> Duration {
        if self.bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        self.paid_until = self.paid_until.max(now) + cost;
        self.paid_until.saturating_sub(now + cost.min(BURST))
    }

    fn step_back(&mut self, latency: Duration) -> Duration {
        let usual = *self.usual_latency.get_or_insert(latency);
        let slow = latency > SLOW_FLOOR && latency > usual * SLOW_FACTOR;
        let sample = latency.min(usual * SLOW_FACTOR + Duration::from_millis(1));
        self.usual_latency = Some((usual * (SMOOTHING - 1) + sample) / SMOOTHING);
        // As long as the fetch took: a slow broker serves the link at most half of the time.
        if slow { latency } else { Duration::ZERO }
    }
}

/// How far ahead of the bound one answer may run.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stays_within_the_bandwidth() {
        let mut pace = Pace::new(1_000_000);
        let (mut now, mut read) = (Duration::ZERO, 0u64);
        while now < Duration::from_secs(10) {
            read += 500_000;
            now += pace.after(500_000, Some(Duration::from_millis(1)), now) + Duration::from_millis(1);
        }
        // Ten seconds' worth, and the burst of the answer that ran over.
        assert!((9_500_000..=10_600_000).contains(&read), "{read}");
    }

    #[test]
    fn a_broker_that_slows_down_is_read_half_of_the_time() {
        let mut pace = Pace::new(0);
        let fast = Duration::from_millis(5);
        for _ in 0..50 {
            assert_eq!(pace.after(1_000, Some(fast), Duration::ZERO), Duration::ZERO);
        }
        let slow = Duration::from_millis(400);
        assert_eq!(pace.after(1_000, Some(slow), Duration::ZERO), slow);
        assert_eq!(pace.after(0, Some(slow), Duration::ZERO), Duration::ZERO);
        // A record that came after a long silence is no sign of a slow broker.
        assert_eq!(pace.after(1_000, None, Duration::ZERO), Duration::ZERO);
    }
}
