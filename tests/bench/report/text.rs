//! Lines for a terminal.

use super::super::results::{Machine, Measured, Metric, Run, Setup, Values, Who};
use super::super::statistics::Spread;

/// What is compared, and where.
pub fn heading(machine: &Machine, setup: &Setup) -> String {
    let pinned = match &setup.pinned {
        Some(pinned) => {
            format!("brokers on core {}, clients on core {}", pinned.broker_cores, pinned.client_cores)
        }
        None => "cores left to the kernel".to_owned(),
    };
    let mut remarks = if setup.quick { "\nquick run: the figures say nothing" } else { "" }.to_owned();
    if !setup.storage.is_empty() {
        remarks += &format!("\nTowpath's storage differs from its defaults: {}", storage(setup));
    }
    format!(
        "Towpath {} ({} WAL, {} store) beside Apache Kafka {} ({})\n{}, {} cores, {} MB, Linux {}, {}\n{pinned}; \
         {} rounds; warmed with {} MB{remarks}",
        setup.towpath,
        setup.wal,
        setup.store,
        setup.kafka,
        setup.java,
        machine.processor,
        machine.cores,
        machine.memory_mb,
        machine.kernel,
        machine.file_system,
        setup.rounds,
        setup.warm_mb
    )
}

/// What of Towpath's storage differs from the defaults, as its configuration file has it.
pub fn storage(setup: &Setup) -> String {
    let keys: Vec<String> = setup.storage.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    keys.join(", ")
}

/// One turn, as it ends.
pub fn round(metrics: &[Metric], who: Who, round: usize, values: &Values) -> String {
    let told = metrics.iter().filter_map(|metric| {
        let value = values.get(metric.key.as_ref())?;
        Some(format!("{} {}", metric.title, figure(*value)))
    });
    format!("{round}  {:<13}{}", who.title(), told.collect::<Vec<_>>().join("; "))
}

/// All scenarios, median and spread.
pub fn summary(run: &Run) -> String {
    let tables = run.scenarios.iter().map(|scenario| {
        format!(
            "\n{} ({}, {:.0} s)\n{}",
            scenario.title,
            scenario.name,
            scenario.seconds,
            aligned(&cells(scenario))
        )
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// A scenario's table, the heading first: a row for each figure, a column for each contender, and how many times
/// better Towpath is.
pub fn cells(scenario: &Measured) -> Vec<Vec<String>> {
    let who = scenario.who();
    let others: Vec<Who> =
        who.iter().copied().filter(|who| !matches!(who, Who::Towpath | Who::Device)).collect();
    let mut heading = vec!["median (min..max)".to_owned()];
    heading.extend(who.iter().map(|who| who.title().to_owned()));
    heading.extend(others.iter().map(|who| format!("× {}", who.title())));
    let row = |metric: &Metric| {
        let mut row = vec![metric.title.to_string()];
        row.extend(who.iter().map(|&who| spread(scenario.spread(who, &metric.key))));
        row.extend(others.iter().map(|&who| spread(scenario.times_better_than(who, metric))));
        row
    };
    let seen = |metric: &&Metric| who.iter().any(|&who| scenario.spread(who, &metric.key).is_some());
    std::iter::once(heading).chain(scenario.metrics.iter().filter(seen).map(row)).collect()
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => String::new(),
        Some(spread) if spread.min == spread.max => figure(spread.median),
        Some(spread) => {
            format!("{} ({}..{})", figure(spread.median), figure(spread.min), figure(spread.max))
        }
    }
}

/// Three digits that count.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Columns under each other.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits_that_count() {
        let pairs = [
            (1234.5, "1234"),
            (100.0, "100"),
            (99.96, "100"),
            (12.34, "12.3"),
            (2.0, "2"),
            (0.0344, "0.034"),
            (0.0, "0"),
        ];
        for (value, text) in pairs {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_table_tells_medians_with_their_spread_and_ratios_where_there_are_two_sides() {
        let run = super::super::super::results::tests::sample();
        let cells = cells(run.scenario("produce").unwrap());
        assert_eq!(cells[0].join("|"), "median (min..max)|Towpath|Kafka|device|× Kafka");
        assert_eq!(cells[1].join("|"), "MB/s|175 (150..200)|50|10|3.5 (3..4)");
        assert_eq!(cells.len(), 5, "a figure that nobody has is left out");
    }
}
