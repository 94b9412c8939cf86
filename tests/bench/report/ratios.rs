//! How many times better Towpath is, as bars from 1 with the spread over the rounds.

use super::super::results::{Measured, Metric, Run, Who};
use super::super::statistics::Spread;
use super::colour;
use super::scale::Log;
use super::svg::{Anchor, Svg};
use super::text::figure;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 420.0;
const RIGHT: f64 = 940.0;
const TOP: f64 = 84.0;
const BAR: f64 = 11.0;
const ROW_GAP: f64 = 6.0;
const SECTION_GAP: f64 = 26.0;
const OTHERS: [Who; 2] = [Who::Kafka, Who::KafkaFsync];

/// A figure that both sides have.
struct Row<'a> {
    metric: &'a Metric,
    bars: Vec<(Who, Spread)>,
}

/// The plot.
pub fn draw(run: &Run) -> String {
    let sections: Vec<(&Measured, Vec<Row<'_>>)> = run
        .scenarios
        .iter()
        .map(|scenario| (scenario, rows(scenario)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let bars = sections.iter().flat_map(|(_, rows)| rows).flat_map(|row| &row.bars);
    let ends = bars.flat_map(|(_, spread)| [spread.min, spread.max]);
    let axis = Log::with(ends, 1.0, LEFT, RIGHT);
    let heights = sections.iter().map(|(_, rows)| SECTION_GAP + rows.iter().map(height).sum::<f64>());
    let bottom = TOP + heights.sum::<f64>();
    let mut svg = Svg::new(WIDTH, bottom + 34.0);
    title(&mut svg);
    grid(&mut svg, &axis, bottom);
    let mut y = TOP;
    for (scenario, rows) in &sections {
        y += SECTION_GAP;
        svg.heading((16.0, y - 7.0), 13.0, &scenario.title);
        for row in rows {
            bars_of(&mut svg, &axis, row, y);
            y += height(row);
        }
    }
    svg.finish()
}

fn rows(scenario: &Measured) -> Vec<Row<'_>> {
    let compared = scenario.metrics.iter().filter(|metric| metric.is_compared());
    let row = |metric| {
        let bars = OTHERS.iter().filter_map(|&who| Some((who, scenario.times_better_than(who, metric)?)));
        Row { metric, bars: bars.collect() }
    };
    compared.map(row).filter(|row| !row.bars.is_empty()).collect()
}

fn height(row: &Row<'_>) -> f64 {
    BAR * row.bars.len() as f64 + ROW_GAP
}

fn title(svg: &mut Svg) {
    svg.heading((16.0, 28.0), 17.0, "Towpath beside Apache Kafka: how many times better");
    let legend =
        "Right of 1, Towpath is better. Bars: median of the rounds; lines: smallest and largest. Against:";
    svg.faint((16.0, 50.0), Anchor::Start, 12.0, legend);
    let mut x = 600.0;
    for who in OTHERS {
        svg.rect((x, 41.0), (12.0, BAR), colour(who));
        svg.text((x + 18.0, 50.0), Anchor::Start, 12.0, who.title());
        x += 90.0;
    }
}

fn grid(svg: &mut Svg, axis: &Log, bottom: f64) {
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let is_one = (tick - 1.0).abs() < 1e-9;
        let (stroke, width) = if is_one { ("#222222", 1.5) } else { ("#e0e0e0", 1.0) };
        svg.line((x, TOP - 4.0), (x, bottom), stroke, width);
        for y in [TOP - 10.0, bottom + 16.0] {
            svg.faint((x, y), Anchor::Middle, 11.0, &format!("{}×", figure(tick)));
        }
    }
}

fn bars_of(svg: &mut Svg, axis: &Log, row: &Row<'_>, y: f64) {
    let middle = y + BAR * row.bars.len() as f64 / 2.0;
    svg.text((LEFT - 12.0, middle + 4.0), Anchor::End, 12.0, &row.metric.title);
    for (number, (who, spread)) in row.bars.iter().enumerate() {
        let top = y + BAR * number as f64;
        let (one, end) = (axis.place(1.0), axis.place(spread.median));
        svg.rect((one.min(end), top + 1.0), ((end - one).abs().max(1.0), BAR - 2.0), colour(*who));
        let (low, high, middle) = (axis.place(spread.min), axis.place(spread.max), top + BAR / 2.0);
        svg.line((low, middle), (high, middle), "#222222", 1.2);
        for x in [low, high] {
            svg.line((x, middle - 3.0), (x, middle + 3.0), "#222222", 1.2);
        }
        let beyond = one.max(end).max(high) + 6.0;
        svg.faint((beyond, middle + 3.5), Anchor::Start, 10.0, &figure(spread.median));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compared_figure_has_a_bar_and_names_are_escaped() {
        let run = super::super::super::results::tests::sample();
        let document = draw(&run);
        // White ground, legend, and two scenarios with four figures each against Kafka.
        assert_eq!(document.matches("<rect").count(), 1 + 2 + 2 * 4, "{document}");
        assert!(document.contains("produce &amp; &lt;all&gt;"));
        assert!(!document.contains("NaN") && !document.contains("inf"), "{document}");
    }

    #[test]
    fn a_run_without_anything_to_compare_is_an_empty_plot() {
        let mut run = super::super::super::results::tests::sample();
        run.scenarios.clear();
        assert!(!draw(&run).contains("NaN"));
    }
}
