//! Percentiles of many values, the spread over rounds, and ratios of rounds that were run side by side.

use serde::{Deserialize, Serialize};

/// Smallest, middle and largest of a few values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of no values, or when one is no number.
    pub fn of(values: &[f64]) -> Option<Spread> {
        if values.iter().any(|value| value.is_nan()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, min, max })
    }
}

/// The value that a share of all values do not exceed (nearest rank): `share` 0.99 is the 99th percentile. `NaN`
/// of no values.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// The percentiles that a latency is told by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(mut values: Vec<f64>) -> Latency {
        values.sort_by(f64::total_cmp);
        let at = |share| percentile(&values, share);
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// How many times better `ours` is than `theirs`, round by round: rounds that ran next to each other met the same
/// machine. Rounds that one side lacks are left out.
pub fn times_better(ours: &[Option<f64>], theirs: &[Option<f64>], more_is_better: bool) -> Option<Spread> {
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    let ratios: Vec<f64> =
        pairs.map(|(ours, theirs)| if more_is_better { ours / theirs } else { theirs / ours }).collect();
    Spread::of(&ratios).filter(|ratio| ratio.max.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen_and_the_share_does_not_exceed_it() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 500.0);
        assert_eq!(percentile(&values, 0.99), 990.0);
        assert_eq!(percentile(&values, 0.999), 999.0);
        assert_eq!(percentile(&values, 1.0), 1000.0);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&[7.0], 0.999), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_latency_is_read_from_values_in_any_order() {
        let shuffled: Vec<f64> = (0..1000).map(|number| f64::from(number * 7 % 1000)).collect();
        let latency = Latency::of(shuffled);
        assert_eq!((latency.p50, latency.p99, latency.p999, latency.max), (499.0, 989.0, 998.0, 999.0));
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_ones() {
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 10.0]), Some(Spread { median: 3.0, min: 1.0, max: 10.0 }));
        assert_eq!(Spread::of(&[5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn ratios_pair_the_rounds_and_above_one_is_always_better() {
        let (ours, theirs) = ([Some(20.0), None, Some(30.0)], [Some(10.0), Some(1.0), Some(10.0)]);
        let more = times_better(&ours, &theirs, true).unwrap();
        assert_eq!((more.min, more.median, more.max), (2.0, 2.5, 3.0));
        let less = times_better(&ours, &theirs, false).unwrap();
        assert_eq!((less.min, less.max), (1.0 / 3.0, 0.5));
        assert_eq!(times_better(&ours, &[None, Some(1.0), None], true), None);
        assert_eq!(times_better(&[Some(1.0)], &[Some(0.0)], true), None, "nothing is infinitely better");
    }
}
