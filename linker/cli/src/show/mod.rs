//! What results look like: text of at most 100 columns, the verdict first, the next command last. Nothing here
//! prints.

pub mod fences;
pub mod outcome;
pub mod status;

use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use time::OffsetDateTime;
use time::macros::format_description;
use towpath_plans::model::{format_rounded, noun_for};

/// No line is longer.
pub const COLUMNS_MAX: u16 = 100;
/// What stands where there is nothing.
pub const NOTHING: &str = "–";

/// A table without frames, so that it can be copied.
pub fn table(heads: &[&str], colours: bool) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS_MAX)
        .set_header(heads.iter().map(Cell::new));
    match colours {
        true => table.enforce_styling(),
        false => table.force_no_tty(),
    };
    table
}

/// The text without the spaces that tables leave at the ends of lines.
pub fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Right-aligns columns that hold numbers.
pub fn numbers(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Lets a column take `percent` of the line at most.
pub fn at_most(table: &mut Table, column: usize, percent: u16) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(percent)));
    }
}

/// How a cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Somebody must act.
    Bad,
}

/// A cell in its tone.
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    let color = match tone {
        Tone::Good => Color::Green,
        Tone::Odd => Color::Yellow,
        Tone::Bad => Color::Red,
    };
    Cell::new(text).fg(color)
}

/// A whole number with its thousands apart.
pub fn count(number: u64) -> String {
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

/// A whole number with its noun, which is given for one: `1 topic`, `1,200 topics`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {}", count(number), noun_for(number, noun))
}

/// A number that may be unknown, or negative where there is none.
pub fn maybe(number: Option<i64>) -> String {
    number.and_then(|number| u64::try_from(number).ok()).map_or_else(|| NOTHING.into(), count)
}

/// A duration in the unit that a person would choose.
pub fn duration(ms: i64) -> String {
    format_rounded(u64::try_from(ms).unwrap_or(0))
}

/// A moment of today, UTC, to the millisecond.
pub fn clock(at_ms: i64) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment(at_ms).and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| at_ms.to_string())
}

/// A moment, UTC, to the minute.
pub fn date(at_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]Z");
    moment(at_ms).and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| at_ms.to_string())
}

fn moment(at_ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_people_write_them() {
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!((counted(1, "topic"), counted(1_200, "topic")), ("1 topic".into(), "1,200 topics".into()));
        assert_eq!((maybe(None), maybe(Some(-1)), maybe(Some(12))), ("–".into(), "–".into(), "12".into()));
        let durations = [12, 3_450, 125_000, 7_260_000, 200_000_000].map(duration);
        assert_eq!(durations, ["12 ms", "3.4 s", "2 min 5 s", "2 h 1 min", "2 d 7 h"]);
        assert_eq!(date(1_795_438_800_000), "2026-11-23 13:00Z");
        assert_eq!(clock(1_795_438_800_012), "13:00:00.012Z");
    }
}
