//! How fast compaction goes, so that nobody notices it.

use std::time::Duration;

use towpath_env::Env;

/// Slows work down to a rate of bytes, and to half of one core.
pub(super) struct Pace {
    env: Env,
    bytes_per_second_max: u64,
}

/// One piece of work.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece {
    /// Bytes read or written.
    pub bytes: u64,
    /// How long it took, waiting for the store included.
    pub took: Duration,
    /// How long it kept a core busy.
    pub busy: Duration,
}

impl Pace {
    /// At most so many bytes a second.
    pub fn new(env: Env, bytes_per_second_max: usize) -> Pace {
        Pace { env, bytes_per_second_max: bytes_per_second_max.max(1) as u64 }
    }

    /// Pauses as long as this piece of work calls for.
    pub async fn rest(&self, piece: Piece) {
        let pause = self.pause(piece);
        if pause > Duration::ZERO {
            self.env.sleep(pause).await;
        }
    }

    fn pause(&self, piece: Piece) -> Duration {
        let due = Duration::from_micros(piece.bytes.saturating_mul(1_000_000) / self.bytes_per_second_max);
        due.saturating_sub(piece.took).max(piece.busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_rate_nor_half_a_core_is_exceeded() {
        let pace = Pace::new(Env::real(), 1_000_000);
        let ms = Duration::from_millis;
        let pause = |bytes, took, busy| pace.pause(Piece { bytes, took: ms(took), busy: ms(busy) });
        assert_eq!(pause(500_000, 100, 10), ms(400));
        assert_eq!(pause(500_000, 700, 10), ms(10));
        assert_eq!(pause(500_000, 480, 100), ms(100));
        assert_eq!(pause(0, 0, 0), ms(0));
    }
}
