//! A shop's events, made up from a seed: the same seed gives the same events on every machine.
//!
//! Calibrated by figures measured on public data sets (see [`figures`]): sessions and the gaps inside them are
//! lognormal, items have a flat-headed popularity, starts follow a daily curve with sudden batches, sizes are
//! uneven with a tail to 1 MB, and one client in very many is a robot with tens of thousands of events.
//!
//! Depends on nothing but the standard library and `towpath_env`: the tests crate compiles this very file too.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write as _;

use towpath_env::Env;

/// What the generator is calibrated by.
pub mod figures {
    /// Clicks of a session: lognormal (p50 4, p95 23, p99 42).
    pub const SESSION_CLICKS: (f64, f64) = (1.40, 1.02);
    /// No person's session is longer.
    pub const SESSION_CLICKS_MAX: u32 = 195;
    /// Seconds between two clicks of a session: lognormal, p50 55 s, p95 526 s.
    pub const CLICK_GAP_S: (f64, f64) = (4.007, 1.373);
    /// Popularity of the item with rank r: (r + q)^-s.
    pub const POPULARITY: (f64, f64) = (1.23, 48.0);
    /// Bytes of an order: lognormal, p50 938, p95 5.8 KB, cut at 94 KB.
    pub const ORDER_BYTES: (f64, f64, usize) = (6.844, 1.108, 94_000);
    /// Bytes of a click without its envelope.
    pub const CLICK_BYTES: (usize, usize) = (90, 160);
    /// Bytes of an impression with its features.
    pub const IMPRESSION_BYTES: (usize, usize) = (1_600, 2_600);
    /// The largest event.
    pub const LARGEST_BYTES: usize = 1_000_000;
    /// The daily curve is e^(k cos t) over its mean: its peak is 4.1 times the mean for k = 3.
    pub const DAILY_PEAK: f64 = 3.0;
    /// The mean of e^(3 cos t).
    pub const DAILY_MEAN: f64 = 4.881;
    /// A batch makes its minute this many times the mean (log-uniform).
    pub const BATCH: (f64, f64) = (20.0, 1_000.0);
}

/// What to make up.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// The same seed gives the same events.
    pub seed: u64,
    /// Wall clock of the first event, UTC milliseconds.
    pub start_ms: i64,
    /// Mean of session starts; a session has about 7 events.
    pub sessions_per_hour: f64,
    /// How many items the shop has.
    pub items: u32,
    /// Batches (feeds, campaigns) per day.
    pub batches_per_day: f64,
    /// One session in this many belongs to the robot, the hot key.
    pub hot_one_in: u64,
    /// One event in this many is large: 32 KB up to 1 MB.
    pub large_one_in: u64,
}

impl WorkloadOptions {
    /// A small shop: 20,000 items, 6,000 sessions an hour.
    pub fn new(seed: u64) -> WorkloadOptions {
        WorkloadOptions {
            seed,
            // 2026-01-05 10:00 UTC, a Monday in the morning rise.
            start_ms: 1_767_607_200_000,
            sessions_per_hour: 6_000.0,
            items: 20_000,
            batches_per_day: 4.0,
            hot_one_in: 400,
            large_one_in: 2_000,
        }
    }
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Looked at an item.
    View,
    /// Put an item in the cart.
    Cart,
    /// Searched.
    Search,
    /// Ordered.
    Order,
    /// Was shown items, with their features.
    Impression,
}

impl Kind {
    /// The name in the event's `kind` field.
    pub fn name(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Cart => "cart",
            Kind::Search => "search",
            Kind::Order => "order",
            Kind::Impression => "impression",
        }
    }
}

/// One event, ready to be produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counted from 0; also in the value, so that a reader can tell what it misses.
    pub number: u64,
    /// UTC milliseconds, never before the event before.
    pub at_ms: i64,
    /// What happened.
    pub kind: Kind,
    /// The session: all events of one session share a partition.
    pub key: String,
    /// A JSON document.
    pub value: String,
    /// The item's rank by popularity, from 0.
    pub item: u32,
}

/// An endless, time-ordered stream of events.
pub struct Workload {
    options: WorkloadOptions,
    dice: Dice,
    /// The second whose session starts are drawn next, counted from the start.
    second: i64,
    /// End of the current batch (in seconds) and its factor.
    batch: (i64, f64),
    sessions: u64,
    events: u64,
    /// The next event of every session that goes on, earliest first.
    due: BinaryHeap<Reverse<(i64, u64, u32)>>,
    ready: VecDeque<Event>,
}

impl Workload {
    /// A stream from its first event.
    pub fn new(options: WorkloadOptions) -> Workload {
        Workload {
            dice: Dice { env: Env::seeded(options.seed, options.start_ms) },
            second: 0,
            batch: (0, 1.0),
            sessions: 0,
            events: 0,
            due: BinaryHeap::new(),
            ready: VecDeque::new(),
            options,
        }
    }

    /// Draws one second: sessions that start in it, then every event due before its end.
    fn advance(&mut self) {
        let mean = self.starts_in(self.second);
        for _ in 0..self.dice.poisson(mean) {
            let at_ms = self.second * 1_000 + self.dice.below(1_000) as i64;
            let session = self.sessions;
            self.sessions += 1;
            let (mu, sigma) = figures::SESSION_CLICKS;
            let clicks = self.dice.lognormal(mu, sigma).ceil() as u32;
            let clicks = clicks.clamp(1, figures::SESSION_CLICKS_MAX);
            self.due.push(Reverse((at_ms, session, clicks)));
        }
        self.second += 1;
        let end_ms = self.second * 1_000;
        while let Some(&Reverse((at_ms, session, left))) = self.due.peek() {
            if at_ms >= end_ms {
                break;
            }
            self.due.pop();
            if left > 1 {
                let (mu, sigma) = figures::CLICK_GAP_S;
                let gap_ms = (self.dice.lognormal(mu, sigma) * 1_000.0) as i64;
                self.due.push(Reverse((at_ms + gap_ms.max(1), session, left - 1)));
            }
            let event = self.event(at_ms, session);
            self.ready.push_back(event);
        }
    }

    /// Mean session starts of a second.
    fn starts_in(&mut self, second: i64) -> f64 {
        const DAY_S: f64 = 86_400.0;
        if second >= self.batch.0 {
            let starts_batch = self.dice.fraction() < self.options.batches_per_day / DAY_S;
            let (low, high) = figures::BATCH;
            let factor = low * (high / low).powf(self.dice.fraction());
            self.batch = if starts_batch { (second + 60, factor) } else { (second + 1, 1.0) };
        }
        // Busiest at 20:00 UTC.
        let clock_s = (self.options.start_ms / 1_000 + second) as f64;
        let angle = (clock_s / DAY_S - 20.0 / 24.0) * std::f64::consts::TAU;
        let daily = (figures::DAILY_PEAK * angle.cos()).exp() / figures::DAILY_MEAN;
        self.options.sessions_per_hour / 3_600.0 * daily * self.batch.1
    }

    fn event(&mut self, at_ms: i64, session: u64) -> Event {
        let kind = match self.dice.below(1_000) {
            0..890 => Kind::View,
            890..930 => Kind::Cart,
            930..960 => Kind::Search,
            960..978 => Kind::Order,
            _ => Kind::Impression,
        };
        let bytes = self.size_of(kind);
        let item = self.item();
        // Which sessions are the robot's is drawn from the number, so that each stays its own.
        let hot = self.options.hot_one_in > 0 && session.is_multiple_of(self.options.hot_one_in);
        let key = if hot { "robot".to_owned() } else { format!("session-{session:08}") };
        let number = self.events;
        self.events += 1;
        let at_ms = self.options.start_ms + at_ms;
        let mut value = format!(
            "{{\"kind\":\"{}\",\"number\":{number},\"session\":\"{key}\",\"at_ms\":{at_ms},\
             \"item\":\"sku-{item:06}\",\"features\":\"",
            kind.name()
        );
        let end = bytes.max(value.len() + 2) - 2;
        while value.len() < end {
            // Hexadecimal digits compress to about half, as real features do. Writing to a string never fails.
            let _ = write!(value, "{:016x}", self.dice.env.random_u64());
        }
        value.truncate(end);
        value.push_str("\"}");
        Event { number, at_ms, kind, key, value, item }
    }

    fn size_of(&mut self, kind: Kind) -> usize {
        /// What every click carries around its own fields.
        const ENVELOPE_BYTES: usize = 80;
        if self.options.large_one_in > 0 && self.dice.below(self.options.large_one_in) == 0 {
            // Twice the size is half as likely.
            let smallest = 32_000.0;
            return ((smallest / (1.0 - self.dice.fraction())) as usize).min(figures::LARGEST_BYTES);
        }
        match kind {
            Kind::View | Kind::Cart | Kind::Search => {
                ENVELOPE_BYTES + self.dice.between(figures::CLICK_BYTES)
            }
            Kind::Impression => self.dice.between(figures::IMPRESSION_BYTES),
            Kind::Order => {
                let (mu, sigma, largest) = figures::ORDER_BYTES;
                (self.dice.lognormal(mu, sigma) as usize).clamp(200, largest)
            }
        }
    }

    /// An item's rank, by the inverse of the popularity's (continuous) distribution.
    fn item(&mut self) -> u32 {
        let (s, q) = figures::POPULARITY;
        let items = f64::from(self.options.items);
        let (head, tail) = (q.powf(1.0 - s), (items + q).powf(1.0 - s));
        let rank = (head - self.dice.fraction() * (head - tail)).powf(1.0 / (1.0 - s)) - q;
        (rank as u32).min(self.options.items.saturating_sub(1))
    }
}

impl Iterator for Workload {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.options.sessions_per_hour <= 0.0 {
            return None;
        }
        while self.ready.is_empty() {
            self.advance();
        }
        self.ready.pop_front()
    }
}

/// Draws from distributions.
struct Dice {
    env: Env,
}

impl Dice {
    /// Evenly from [0, 1).
    fn fraction(&mut self) -> f64 {
        // The 53 bits that a double holds.
        (self.env.random_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        self.env.random_u64() % end.max(1)
    }

    fn between(&mut self, (low, high): (usize, usize)) -> usize {
        low + self.below((high - low) as u64) as usize
    }

    fn lognormal(&mut self, mu: f64, sigma: f64) -> f64 {
        // Box-Muller; 1 - fraction is never 0.
        let radius = (-2.0 * (1.0 - self.fraction()).ln()).sqrt();
        let normal = radius * (self.fraction() * std::f64::consts::TAU).cos();
        (mu + sigma * normal).exp()
    }

    /// Knuth's product of uniforms; exact, and quick for the few hundred of a batch's second.
    fn poisson(&mut self, mean: f64) -> u32 {
        let mut left = mean;
        let mut count = 0;
        loop {
            // In steps, so that e^-mean stays above zero.
            let step = left.min(500.0);
            left -= step;
            let (limit, mut product) = ((-step).exp(), self.fraction());
            while product > limit {
                count += 1;
                product *= self.fraction();
            }
            if left <= 0.0 {
                return count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn sample() -> Vec<Event> {
        Workload::new(WorkloadOptions::new(7)).take(100_000).collect()
    }

    #[test]
    fn a_seed_replays_its_events_in_time_order() {
        let take = |seed| Workload::new(WorkloadOptions::new(seed)).take(2_000).collect::<Vec<_>>();
        let events = take(1);
        assert_eq!(events, take(1));
        assert_ne!(events, take(2));
        assert!(events.is_sorted_by_key(|event| event.at_ms));
        assert!(events.iter().enumerate().all(|(index, event)| event.number == index as u64));
    }

    #[test]
    fn sizes_are_uneven_with_a_tail_and_values_are_json() {
        let events = sample();
        let mut sizes: Vec<usize> = events.iter().map(|event| event.value.len()).collect();
        sizes.sort_unstable();
        assert!((150..260).contains(&sizes[sizes.len() / 2]), "{}", sizes[sizes.len() / 2]);
        assert!(sizes[sizes.len() - 1] > 300_000 && sizes[sizes.len() - 1] <= figures::LARGEST_BYTES);
        assert!(events.iter().all(|event| event.value.starts_with('{') && event.value.ends_with("\"}")));
    }

    #[test]
    fn popularity_is_flat_headed_and_one_key_is_hot() {
        let events = sample();
        let (mut items, mut keys) = (HashMap::new(), HashMap::new());
        for event in &events {
            *items.entry(event.item).or_insert(0_usize) += 1;
            *keys.entry(&event.key).or_insert(0_usize) += 1;
        }
        let share = |count: usize| count as f64 / events.len() as f64;
        assert!((0.004..0.02).contains(&share(items[&0])), "{}", share(items[&0]));
        let head: usize = (0..2_000).filter_map(|rank| items.get(&rank)).sum();
        assert!((0.5..0.85).contains(&share(head)), "{}", share(head));
        let second = keys.iter().filter(|(key, _)| **key != "robot").map(|(_, count)| *count).max().unwrap();
        assert!(keys[&"robot".to_owned()] > second, "{} {second}", keys[&"robot".to_owned()]);
    }

    #[test]
    fn nine_in_ten_events_are_views() {
        let events = sample();
        let views = events.iter().filter(|event| event.kind == Kind::View).count() as f64;
        assert!((0.88..0.90).contains(&(views / events.len() as f64)));
    }
}
