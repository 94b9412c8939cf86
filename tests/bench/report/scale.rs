//! From a value to a place: a logarithmic axis.

/// An axis whose ends are powers of ten, or halves of a decade (3 stands for its middle).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Log {
    low: f64,
    high: f64,
    /// Where `low` and `high` are drawn.
    from: f64,
    to: f64,
}

impl Log {
    /// An axis from `from` to `to` that holds all values above zero.
    pub fn holding(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Log {
        let values: Vec<f64> = values.filter(|value| *value > 0.0 && value.is_finite()).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        if values.is_empty() {
            return Log { low: 0.1, high: 10.0, from, to };
        }
        let steps = [1.0, 3.0];
        let decades = (-6..9).flat_map(|decade| steps.map(|step| step * 10f64.powi(decade)));
        let ends: Vec<f64> = decades.collect();
        let below = ends.iter().copied().filter(|end| *end <= low).fold(f64::NAN, f64::max);
        let above = ends.iter().copied().filter(|end| *end >= high).fold(f64::NAN, f64::min);
        let (low, high) =
            (if below.is_nan() { low } else { below }, if above.is_nan() { high } else { above });
        Log { low, high: if high > low { high } else { low * 10.0 }, from, to }
    }

    /// The same, with `value` in the axis.
    pub fn with(values: impl Iterator<Item = f64>, value: f64, from: f64, to: f64) -> Log {
        Log::holding(values.chain(std::iter::once(value)), from, to)
    }

    /// Where a value is drawn; beyond the ends, at them.
    pub fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// Values with a line: 1 and 3 of each decade; of more than four decades only 1.
    pub fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high / self.low > 2e4 { &[1.0] } else { &[1.0, 3.0] };
        let all = (-6..9).flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        let close = 1.0 + 1e-9;
        all.filter(|tick| *tick * close >= self.low && *tick <= self.high * close).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_are_equal_distances_and_all_values_lie_within() {
        let log = Log::holding([0.5, 42.0].into_iter(), 100.0, 300.0);
        assert!((log.low - 0.3).abs() < 1e-9 && (log.high - 100.0).abs() < 1e-9, "{log:?}");
        assert!((log.place(0.3) - 100.0).abs() < 1e-9 && (log.place(100.0) - 300.0).abs() < 1e-9);
        let step = log.place(2.0) - log.place(1.0);
        assert!((log.place(20.0) - log.place(10.0) - step).abs() < 1e-9);
        assert!((log.place(4.0) - log.place(2.0) - step).abs() < 1e-9);
        assert_eq!(
            (log.place(0.001), log.place(1e9)),
            (log.place(0.3), log.place(100.0)),
            "nothing is outside"
        );
    }

    #[test]
    fn an_axis_may_run_upwards_and_holds_what_it_is_told_to() {
        let log = Log::with([2.0, 5.0].into_iter(), 1.0, 300.0, 100.0);
        assert_eq!((log.place(1.0), log.place(10.0)), (300.0, 100.0));
        assert!(log.place(3.0) < log.place(2.0));
    }

    #[test]
    fn ticks_are_round_values_within_the_ends() {
        let ticks = Log::holding([0.5, 42.0].into_iter(), 0.0, 1.0).ticks();
        assert_eq!(
            ticks.iter().map(|tick| format!("{tick:.1}")).collect::<Vec<_>>(),
            ["0.3", "1.0", "3.0", "10.0", "30.0", "100.0"]
        );
        assert!(Log::holding([0.01, 900.0].into_iter(), 0.0, 1.0).ticks().len() <= 6);
    }

    #[test]
    fn nothing_to_draw_and_a_single_value_have_an_axis_too() {
        for values in [vec![], vec![0.0, f64::NAN], vec![10.0]] {
            let log = Log::holding(values.into_iter(), 0.0, 1.0);
            assert!(log.high > log.low && log.place(log.low) == 0.0 && log.place(log.high) == 1.0);
        }
    }
}
