//! Latencies: for each scenario that has them a panel, in it p50, p99 and p99.9 of each contender on one logarithmic
//! axis, the spread over the rounds as a line.

use super::super::results::Who;
use super::super::results::{Measured, Run};
use super::super::statistics::Spread;
use super::colour;
use super::scale::Log;
use super::svg::{Anchor, Svg};
use super::text::figure;

const PERCENTILES: [(&str, &str); 3] = [("p50_ms", "p50"), ("p99_ms", "p99"), ("p999_ms", "p99.9")];
const ALL: [Who; 4] = [Who::Towpath, Who::Kafka, Who::KafkaFsync, Who::Device];
const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (346.0, 300.0);
const LEFT: f64 = 56.0;
const TOP: f64 = 70.0;
/// Of a panel: above and below the axis.
const HEAD: f64 = 34.0;
const FOOT: f64 = 40.0;

/// The plot.
pub fn draw(run: &Run) -> String {
    let has_all = |scenario: &&Measured| {
        let keys = PERCENTILES.map(|(key, _)| scenario.spread(Who::Towpath, key));
        keys.iter().all(Option::is_some)
    };
    let panels: Vec<&Measured> = run.scenarios.iter().filter(has_all).collect();
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (LEFT + PANEL.0 * COLUMNS as f64 + 16.0, TOP + PANEL.1 * rows as f64);
    let mut svg = Svg::new(width, height);
    title(&mut svg);
    // One scale for all, so that panels can be compared.
    let values =
        panels.iter().flat_map(|scenario| points(scenario)).flat_map(|point| [point.2.min, point.2.max]);
    let values: Vec<f64> = values.collect();
    for (number, scenario) in panels.iter().enumerate() {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let corner = (LEFT + PANEL.0 * column as f64, TOP + PANEL.1 * row as f64);
        let axis = Log::holding(values.iter().copied(), corner.1 + PANEL.1 - FOOT, corner.1 + HEAD);
        panel(&mut svg, scenario, &axis, corner);
    }
    svg.finish()
}

/// Place among the percentiles, contender, latency.
fn points(scenario: &Measured) -> Vec<(usize, Who, Spread)> {
    let each = PERCENTILES.iter().enumerate().flat_map(|(place, (key, _))| {
        ALL.iter().filter_map(move |&who| Some((place, who, scenario.spread(who, key)?)))
    });
    each.collect()
}

fn title(svg: &mut Svg) {
    svg.heading((16.0, 26.0), 17.0, "Latency, ms, from the time at which a write was meant to be sent");
    svg.faint(
        (16.0, 48.0),
        Anchor::Start,
        12.0,
        "Points: median of the rounds; lines: smallest and largest.",
    );
    for (who, x) in ALL.into_iter().zip([420.0, 510.0, 585.0, 700.0]) {
        svg.circle((x, 44.0), 5.0, colour(who));
        let name = if who == Who::Device { "device: write and fdatasync" } else { who.title() };
        svg.text((x + 10.0, 48.0), Anchor::Start, 12.0, name);
    }
}

fn panel(svg: &mut Svg, scenario: &Measured, axis: &Log, (x, y): (f64, f64)) {
    let (right, bottom) = (x + PANEL.0 - 46.0, y + PANEL.1 - FOOT);
    svg.heading((x, y + 20.0), 13.0, &scenario.title);
    for tick in axis.ticks() {
        let place = axis.place(tick);
        svg.line((x, place), (right, place), "#e0e0e0", 1.0);
        svg.faint((x - 6.0, place + 4.0), Anchor::End, 11.0, &figure(tick));
    }
    let group = (right - x) / PERCENTILES.len() as f64;
    for (place, (_, name)) in PERCENTILES.iter().enumerate() {
        svg.text((x + group * (place as f64 + 0.5), bottom + 18.0), Anchor::Middle, 12.0, name);
    }
    let points = points(scenario);
    for (place, who, spread) in points {
        let offset = ALL.iter().position(|other| *other == who).unwrap_or(0) as f64 - 1.5;
        let at = x + group * (place as f64 + 0.5) + offset * 22.0;
        svg.line((at, axis.place(spread.min)), (at, axis.place(spread.max)), colour(who), 2.0);
        svg.circle((at, axis.place(spread.median)), 5.0, colour(who));
        svg.faint((at, axis.place(spread.max) - 7.0), Anchor::Middle, 8.5, &figure(spread.median));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_has_a_point_for_each_percentile() {
        let document = draw(&super::super::super::results::tests::sample());
        // The legend's four, and two panels with three contenders each.
        assert_eq!(document.matches("<circle").count(), 4 + 2 * 3 * 3, "{document}");
        assert!(!document.contains("NaN"));
    }
}
