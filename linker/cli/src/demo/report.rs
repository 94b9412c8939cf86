//! What the demo says: its steps while it runs, and the table or the document at its end.

use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use towpath_env::Env;

use super::count::GroupTotals;

/// Tells steps to a person: on stdout, or with `--json` on stderr when somebody looks there.
pub struct Telling {
    env: Env,
    to: Channel,
}

enum Channel {
    Stdout,
    Stderr,
    Nobody,
}

impl Telling {
    /// Times are counted from now.
    pub fn new(json: bool) -> Telling {
        let to = match json {
            false => Channel::Stdout,
            true if std::io::stderr().is_terminal() => Channel::Stderr,
            true => Channel::Nobody,
        };
        Telling { env: Env::real(), to }
    }

    /// A headline.
    pub fn part(&self, text: &str) {
        self.line(&format!("\n{text}\n"));
    }

    /// One thing that happened.
    pub fn step(&self, text: &str) {
        self.line(&format!("{:>6.1} s  {text}\n", self.env.elapsed().as_secs_f64()));
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.env.elapsed().as_secs_f64()
    }

    fn line(&self, text: &str) {
        // Whoever closed the pipe does not want to hear it.
        let _ = match self.to {
            Channel::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
            Channel::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
            Channel::Nobody => Ok(()),
        };
    }
}

/// One move of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// The group.
    pub group: String,
    /// `cutover` or `rollback`.
    pub verb: String,
    /// From the last delivery that counted on the side that was left to the first on the other, as the consumers
    /// measured it.
    pub pause_ms: u64,
    /// The pause as the linking service measured it.
    pub service_pause_ms: Option<u64>,
    /// How long evicted consumers read on behind the move.
    pub overlap_ms: u64,
}

/// The end of a demo: the document that `--json` prints behind its schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemoReport {
    /// Where the records came from: `embedded stand-in`, or the address of `--legacy`.
    pub source: String,
    /// Records that the source acknowledged.
    pub records: u64,
    /// Records of the source that the diff compared.
    pub compared: u64,
    /// Differences that it found.
    pub differences: u64,
    /// Records that a group never received, over all groups.
    pub lost: u64,
    /// Deliveries of records that the group had committed, over all groups.
    pub duplicated: u64,
    /// Deliveries beyond the first of records that were not committed yet, over all groups.
    pub redelivered_uncommitted: u64,
    /// Deliveries whose key, value or place was not what was produced.
    pub altered: u64,
    /// Deliveries by a side that the group had not been moved to.
    pub stray: u64,
    /// Every move.
    pub moves: Vec<MoveReport>,
    /// `verified`, or why it is not.
    pub evidence: String,
    /// Entries of the evidence bundle.
    pub evidence_entries: u64,
    /// Each group by itself.
    pub groups: Vec<GroupTotals>,
    /// How long it took.
    pub seconds: f64,
}

/// The verdict on evidence that holds.
pub const VERIFIED: &str = "verified";

impl DemoReport {
    /// Fills in what the groups were given.
    pub fn count(&mut self, groups: Vec<GroupTotals>) {
        let sum = |of: fn(&GroupTotals) -> u64| groups.iter().map(of).sum();
        self.lost = sum(|group| group.lost);
        self.duplicated = sum(|group| group.duplicated);
        self.redelivered_uncommitted = sum(|group| group.redelivered_uncommitted);
        self.altered = sum(|group| group.altered);
        self.stray = sum(|group| group.stray);
        self.groups = groups;
    }

    /// What does not hold, for a person; empty when all holds.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut none = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        };
        none(self.differences, "differences between the sides");
        none(self.lost, "records lost");
        none(self.duplicated, "records delivered again behind their commit");
        none(self.altered, "records delivered other than they were produced");
        none(self.stray, "records delivered to members that should have been held");
        if self.records == 0 || self.compared < self.records {
            failures.push(format!("{} of {} records compared", self.compared, self.records));
        }
        if self.evidence != VERIFIED {
            failures.push(format!("evidence: {}", self.evidence));
        }
        failures
    }

    /// The closing table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut row = |name: &str, figure: String, note: String| {
            table.add_row(vec![name.to_owned(), figure, note]);
        };
        row("records", thousands(self.records), format!("acknowledged by the source ({})", self.source));
        row("compared", thousands(self.compared), "record by record, on both sides".into());
        row("differences", thousands(self.differences), String::new());
        for it in &self.moves {
            let service =
                it.service_pause_ms.map_or(String::new(), |ms| format!(" (service: {} ms)", thousands(ms)));
            let overlap = match it.overlap_ms {
                0 => String::new(),
                ms => format!(", evicted members read on for {} ms", thousands(ms)),
            };
            let note = format!("{} of {}{service}{overlap}", it.verb, short(&it.group));
            row("pause", format!("{} ms", thousands(it.pause_ms)), note);
        }
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| format!("{} {}", thousands(group.produced), short(&group.group)))
            .collect();
        row("records lost", thousands(self.lost), format!("of {}", groups.join(", ")));
        let again = format!("beyond {} that were not committed yet", thousands(self.redelivered_uncommitted));
        row("delivered twice", thousands(self.duplicated), again);
        row("evidence", self.evidence.clone(), format!("{} entries, checked offline", self.evidence_entries));
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

fn short(group: &str) -> &str {
    group.strip_prefix(super::estate::PREFIX).unwrap_or(group)
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> DemoReport {
        let pause = MoveReport {
            group: "towpath-demo-ranker".into(),
            verb: "cutover".into(),
            pause_ms: 312,
            service_pause_ms: Some(180),
            overlap_ms: 1_400,
        };
        let group =
            GroupTotals { group: "towpath-demo-ranker".into(), produced: 1_234_567, ..Default::default() };
        let mut report = DemoReport {
            source: "embedded stand-in".into(),
            records: 1_234_567,
            compared: 1_234_567,
            differences: 0,
            lost: 0,
            duplicated: 0,
            redelivered_uncommitted: 0,
            altered: 0,
            stray: 0,
            moves: vec![pause],
            evidence: VERIFIED.into(),
            evidence_entries: 31,
            groups: Vec::new(),
            seconds: 21.5,
        };
        report.count(vec![GroupTotals { redelivered_uncommitted: 40, ..group }]);
        report
    }

    #[test]
    fn the_table_reads_as_a_person_expects() {
        insta::assert_snapshot!(report().table());
    }

    #[test]
    fn each_thing_that_does_not_hold_fails_the_demo() {
        assert!(report().failures().is_empty());
        let breaks: [fn(&mut DemoReport); 8] = [
            |it| it.differences = 1,
            |it| it.lost = 1,
            |it| it.duplicated = 1,
            |it| it.altered = 1,
            |it| it.stray = 1,
            |it| it.compared -= 1,
            |it| it.records = 0,
            |it| it.evidence = "broken at entry 3: a byte".into(),
        ];
        for change in breaks {
            let mut report = report();
            change(&mut report);
            assert_eq!(report.failures().len(), 1, "{:?}", report.failures());
        }
    }

    #[test]
    fn totals_are_sums_over_groups() {
        let mut report = report();
        let group =
            |lost, duplicated| GroupTotals { lost, duplicated, altered: 1, stray: 2, ..Default::default() };
        report.count(vec![group(1, 0), group(2, 5)]);
        assert_eq!((report.lost, report.duplicated, report.altered, report.stray), (3, 5, 2, 4));
    }

    #[test]
    fn numbers_read_in_groups_of_three() {
        let read: Vec<String> = [0, 999, 1_000, 1_234_567].map(thousands).to_vec();
        assert_eq!(read, ["0", "999", "1,000", "1,234,567"]);
    }
}
