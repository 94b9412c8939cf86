//! When to look for other writers' entries, without asking the store more often than it is worth.

use std::time::Duration;

use towpath_env::Env;

/// How a follower learns of entries that others append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Nobody else writes (or whoever does is met at the next append): the store is never asked.
    Never,
    /// Soon after something came, ever more rarely while nothing does.
    Adaptive {
        /// Shortest wait.
        first: Duration,
        /// Longest wait.
        max: Duration,
    },
}

impl Polling {
    /// 100 ms after news, doubling to 5 s: an idle follower costs 0.2 requests a second.
    pub const ADAPTIVE: Polling =
        Polling::Adaptive { first: Duration::from_millis(100), max: Duration::from_secs(5) };
}

/// Says when the next look is due. Holds no position and reads nothing: its owner does.
#[derive(Clone, Debug)]
pub struct Tail {
    polling: Polling,
    wait: Duration,
}

impl Tail {
    /// Starts with the shortest wait.
    pub fn new(polling: Polling) -> Tail {
        Tail { polling, wait: first(polling) }
    }

    /// Follows another rule from now on.
    pub fn set(&mut self, polling: Polling) {
        if self.polling != polling {
            *self = Tail::new(polling);
        }
    }

    /// Resolves when the next look is due; never, when polling is off. May be dropped and called again: the wait
    /// then starts anew.
    pub async fn due(&self, env: &Env) {
        match self.polling {
            Polling::Never => std::future::pending().await,
            Polling::Adaptive { .. } => env.sleep(self.wait).await,
        }
    }

    /// Tells what the last look (or an append that lost its slot) found.
    pub fn found(&mut self, news: bool) {
        if let Polling::Adaptive { first, max } = self.polling {
            self.wait = if news { first } else { (self.wait * 2).min(max) };
        }
    }
}

fn first(polling: Polling) -> Duration {
    match polling {
        Polling::Never => Duration::MAX,
        Polling::Adaptive { first, .. } => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_grow_rare_while_nothing_comes_and_frequent_after_news() {
        let env = Env::seeded(1, 0);
        let mut tail = Tail::new(Polling::ADAPTIVE);
        let mut waits = Vec::new();
        for news in [false, false, false, false, false, false, false, true, false] {
            let before = env.elapsed();
            tail.due(&env).await;
            waits.push((env.elapsed() - before).as_millis());
            tail.found(news);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_writer_never_looks() {
        let env = Env::seeded(1, 0);
        let tail = Tail::new(Polling::Never);
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, tail.due(&env)).await.is_err());
    }
}
