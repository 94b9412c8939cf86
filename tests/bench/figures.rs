//! What was measured, and how it is told: medians over the rounds, and ratios.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Figures of one round. MB are 10^6 bytes of records, before compression.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub produce_mb_s: f64,
    pub produce_cpu_s_per_gb: f64,
    pub fetch_mb_s: f64,
    pub fetch_cpu_s_per_gb: f64,
    /// From send to acknowledgement at a fixed pace.
    pub paced_p50_ms: f64,
    pub paced_p99_ms: f64,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "produce {:.0} MB/s, {:.1} CPU-s/GB; fetch {:.0} MB/s, {:.1} CPU-s/GB; paced p50 {} ms, p99 {} ms",
            self.produce_mb_s,
            self.produce_cpu_s_per_gb,
            self.fetch_mb_s,
            self.fetch_cpu_s_per_gb,
            self.paced_p50_ms,
            self.paced_p99_ms
        )
    }
}

/// All that was measured of one broker.
#[derive(Debug, Default)]
pub struct Table {
    pub rounds: Vec<Round>,
    /// Resident memory after the start.
    pub idle_mb: f64,
    /// Resident memory behind the last round.
    pub loaded_mb: f64,
}

/// A row: what, how it is read from a table, and whether more is better.
type Row = (&'static str, &'static str, fn(&Table) -> f64, bool);

const ROWS: [Row; 8] = [
    ("produce_mb_s", "produce, MB/s", |table| table.median(|round| round.produce_mb_s), true),
    (
        "produce_cpu_s_per_gb",
        "produce, CPU-s per GB",
        |table| table.median(|round| round.produce_cpu_s_per_gb),
        false,
    ),
    ("fetch_mb_s", "fetch, MB/s", |table| table.median(|round| round.fetch_mb_s), true),
    (
        "fetch_cpu_s_per_gb",
        "fetch, CPU-s per GB",
        |table| table.median(|round| round.fetch_cpu_s_per_gb),
        false,
    ),
    ("paced_p50_ms", "2,000 records/s: p50 ms", |table| table.median(|round| round.paced_p50_ms), false),
    ("paced_p99_ms", "2,000 records/s: p99 ms", |table| table.median(|round| round.paced_p99_ms), false),
    ("idle_mb", "resident, idle, MB", |table| table.idle_mb, false),
    ("loaded_mb", "resident, after load, MB", |table| table.loaded_mb, false),
];

impl Table {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        }
    }
}

/// The table for people: medians, and Towpath's as a multiple of Kafka's.
pub fn summary(kafka: &Table, towpath: &Table) -> String {
    let mut lines = vec![format!("{:<26}{:>10}{:>10}{:>8}", "median", "Kafka", "Towpath", "ratio")];
    for (_, name, of, more_is_better) in ROWS {
        let (theirs, ours) = (of(kafka), of(towpath));
        let better = if more_is_better { "more is better" } else { "less is better" };
        lines.push(format!("{name:<26}{theirs:>10.1}{ours:>10.1}{:>8.2}  ({better})", ours / theirs));
    }
    lines.join("\n")
}

/// The same as one JSON document.
pub fn json(kafka: &Table, towpath: &Table) -> Value {
    let side = |table: &Table| -> Value {
        ROWS.iter().map(|(key, _, of, _)| ((*key).to_owned(), json!(of(table)))).collect()
    };
    let ratios: Value =
        ROWS.iter().map(|(key, _, of, _)| ((*key).to_owned(), json!(of(towpath) / of(kafka)))).collect();
    json!({ "kafka": side(kafka), "towpath": side(towpath), "ratios": ratios })
}

/// What `ProducerPerformance` says at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Produced {
    pub mb_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// MiB in the tools' figures, MB in ours.
const MB_PER_MIB: f64 = 1.048_576;

/// Reads the last line of `ProducerPerformance`.
pub fn produced(said: &str) -> Result<Produced> {
    let last = said.lines().rfind(|line| line.contains("99th")).unwrap_or_default();
    let parse = || {
        let mib: f64 = last.split_once('(')?.1.split_once(" MB/sec")?.0.parse().ok()?;
        let before = |unit: &str| -> Option<f64> {
            last.split_once(unit)?.0.trim_end().rsplit_once([',', ' '])?.1.trim().parse().ok()
        };
        Some(Produced { mb_s: mib * MB_PER_MIB, p50_ms: before("ms 50th")?, p99_ms: before("ms 99th")? })
    };
    parse().with_context(|| format!("ProducerPerformance says something else:\n{said}"))
}

/// Reads the MB/s without the time to join from `ConsumerPerformance`.
pub fn fetched(said: &str) -> Result<f64> {
    let mut lines = said.lines().skip_while(|line| !line.contains("fetch.MB.sec"));
    let (head, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let column = head.split(',').position(|name| name.trim() == "fetch.MB.sec");
    let value = column.and_then(|column| row.split(',').nth(column)?.trim().parse::<f64>().ok());
    Ok(value.with_context(|| format!("ConsumerPerformance says something else:\n{said}"))? * MB_PER_MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_last_words_are_understood() {
        let said = "100 records sent, 1.0 records/sec (0.01 MB/sec), 1.0 ms avg latency, 2.0 ms max latency.\n\
                    300000 records sent, 52345.300000 records/sec (50.00 MB/sec), 12.30 ms avg latency, \
                    300.00 ms max latency, 3 ms 50th, 10 ms 95th, 20 ms 99th, 30 ms 99.9th.\n";
        let told = produced(said).unwrap();
        assert_eq!((told.p50_ms, told.p99_ms), (3.0, 20.0));
        assert!((told.mb_s - 52.4288).abs() < 1e-9);
        assert!(produced("error").is_err());
        let said = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                    rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
                    2026-01-01 00:00:00:000, 2026-01-01 00:00:05:000, 286.1, 57.2, 300000, 60000, 3000, 2000, 100, 150000\n";
        assert!((fetched(said).unwrap() - 104.8576).abs() < 1e-9);
        assert!(fetched("").is_err());
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_ones() {
        let round = |value| Round {
            produce_mb_s: value,
            produce_cpu_s_per_gb: 1.0,
            fetch_mb_s: 1.0,
            fetch_cpu_s_per_gb: 1.0,
            paced_p50_ms: 1.0,
            paced_p99_ms: 1.0,
        };
        let table = Table { rounds: [4.0, 1.0, 2.0, 10.0].map(round).to_vec(), ..Table::default() };
        assert_eq!(table.median(|round| round.produce_mb_s), 3.0);
    }
}
