//! Figures as people read them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of things: `1,204,332`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(pub i64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        if self.0 < 0 {
            f.write_str("\u{2212}")?;
        }
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A stretch of time in milliseconds: `412 ms`, `5 s`, `1.25 s`, `3 min 7 s`, `2 h 5 min`, `3 d 2 h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("\u{2212}")?;
        }
        let two =
            |f: &mut fmt::Formatter<'_>, (large, unit): (u64, &str), (small, sub): (u64, &str)| match small {
                0 => write!(f, "{large} {unit}"),
                _ => write!(f, "{large} {unit} {small} {sub}"),
            };
        let s = ms / 1_000;
        match s {
            0 => write!(f, "{ms} ms"),
            1..60 => {
                let hundredths = ms % 1_000 / 10;
                match (hundredths, hundredths % 10) {
                    (0, _) => write!(f, "{s} s"),
                    (_, 0) => write!(f, "{s}.{} s", hundredths / 10),
                    _ => write!(f, "{s}.{hundredths:02} s"),
                }
            }
            60..3_600 => two(f, (s / 60, "min"), (s % 60, "s")),
            3_600..86_400 => two(f, (s / 3_600, "h"), (s % 3_600 / 60, "min")),
            _ => two(f, (s / 86_400, "d"), (s % 86_400 / 3_600, "h")),
        }
    }
}

/// A moment, in milliseconds since the epoch: `2026-11-23 13:01:37.123`, always UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub i64);

impl At {
    /// The time of day: `13:01:37.123`.
    pub fn clock(&self) -> String {
        let ms = self.0.rem_euclid(86_400_000);
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        format!("{h:02}:{m:02}:{s:02}.{:03}", ms % 1_000)
    }

    /// The day: `2026-11-23`.
    pub fn day(&self) -> String {
        // Days since the epoch to a date of the Gregorian calendar, counted from 1 March 0000 so that the leap day
        // comes last (Hinnant's "chrono-compatible low-level date algorithms").
        let days = self.0.div_euclid(86_400_000) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        format!("{}-{month:02}-{day:02}", year + era * 400 + i64::from(month <= 2))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.day(), self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        let counts = [0, 999, 1_000, 1_204_332, -12_000].map(|n| Count(n).to_string());
        assert_eq!(counts, ["0", "999", "1,000", "1,204,332", "\u{2212}12,000"]);
        let times =
            [0, 412, 1_000, 1_250, 5_500, 187_000, 7_500_000, 266_400_000].map(|n| Millis(n).to_string());
        assert_eq!(times, ["0 ms", "412 ms", "1 s", "1.25 s", "5.5 s", "3 min 7 s", "2 h 5 min", "3 d 2 h"]);
    }

    #[test]
    fn moments_are_utc() {
        assert_eq!(At(1_700_000_000_123).to_string(), "2023-11-14 22:13:20.123");
        assert_eq!(At(1_709_164_800_000).to_string(), "2024-02-29 00:00:00.000");
        assert_eq!(At(951_782_400_000).day(), "2000-02-29");
        assert_eq!(At(4_107_542_400_000).day(), "2100-03-01");
        assert_eq!(At(-1).to_string(), "1969-12-31 23:59:59.999");
    }
}
