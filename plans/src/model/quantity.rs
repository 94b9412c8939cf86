//! Durations like `5s` and sizes like `100MB`, read strictly and printed so that they read back the same.

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Decimal and binary units; the letter B may be left out only for plain bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `250ms`, `5s`, `2m`, `36h` or `7d` as milliseconds. A bare `0` is zero; any other bare number is refused,
/// because it does not say its unit. Answers a sentence that tells what was expected.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a duration; write a number with ms, s, m, h or d, like 5s");
    parse(text, &DURATIONS).ok_or_else(expected)
}

/// Reads `512KB`, `100MB`, `1GiB` as bytes; KB is 1000 bytes and KiB is 1024, case does not matter.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let expected =
        || format!("{text:?} is not a size; write a number with B, KB, MB, GB or KiB, MiB, GiB, like 100MB");
    parse(text, &SIZES).ok_or_else(expected)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A count with its noun, which is given for one: `1 topic`, `2 topics`, `3 entries`.
pub fn format_count(count: impl TryInto<u64>, noun: &str) -> String {
    // What does not fit is negative; such a count is a fault elsewhere.
    let count: u64 = count.try_into().unwrap_or_default();
    format!("{count} {}", noun_for(count, noun))
}

/// A noun as it follows a count: `topic` behind one, `topics` behind any other.
pub fn noun_for(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    }
}

/// The shortest text that [`parse_duration`] reads back as the same milliseconds.
pub fn format_duration(ms: u64) -> String {
    format(ms, DURATIONS.iter().rev())
}

/// A duration in the unit that a person would choose: what was observed, where the last digit means nothing.
pub fn format_rounded(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..172_800_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

/// The shortest text that [`parse_bytes`] reads back as the same bytes.
pub fn format_bytes(bytes: u64) -> String {
    let decimal = format(bytes, SIZES[..5].iter().rev());
    let binary = format(bytes, SIZES[5..].iter().rev().chain(&SIZES[..1]));
    if binary.len() < decimal.len() { binary } else { decimal }
}

fn format<'a>(value: u64, units: impl Iterator<Item = &'a (&'static str, u64)>) -> String {
    if value == 0 {
        return "0".into();
    }
    let mut smallest = "";
    for (unit, factor) in units {
        if value.is_multiple_of(*factor) {
            return format!("{}{unit}", value / factor);
        }
        smallest = unit;
    }
    format!("{value}{smallest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_as_printed() {
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 129_600_000, 604_800_000] {
            assert_eq!(parse_duration(&format_duration(ms)), Ok(ms), "{}", format_duration(ms));
        }
        for bytes in [0, 1, 1_000, 1_024, 50_000_000, 1 << 20, 3 << 30, 123_456_789] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes), "{}", format_bytes(bytes));
        }
        assert_eq!(format_duration(90_000), "90s");
        assert_eq!(format_bytes(1 << 20), "1MiB");
    }

    #[test]
    fn what_was_observed_is_rounded_as_people_say_it() {
        let told = [0, 12, 3_450, 125_000, 7_260_000, 200_000_000, 604_702_939].map(format_rounded);
        assert_eq!(told, ["0 ms", "12 ms", "3.4 s", "2 min 5 s", "2 h 1 min", "2 d 7 h", "6 d 23 h"]);
    }

    #[test]
    fn one_is_told_in_the_singular() {
        let told = [0, 1, 2].map(|count: usize| format_count(count, "topic"));
        assert_eq!(told, ["0 topics", "1 topic", "2 topics"]);
        assert_eq!(["family", "entry"].map(|noun| format_count(2_u64, noun)), ["2 families", "2 entries"]);
        assert_eq!(format_count(1_u64, "entry"), "1 entry");
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        assert!(parse_duration("5").unwrap_err().contains("like 5s"));
        assert!(parse_bytes("100").unwrap_err().contains("like 100MB"));
        for bad in ["", "s", "-5s", "5 parsecs", "1.5s", "99999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_bytes("100mb"), Ok(100_000_000));
    }
}
