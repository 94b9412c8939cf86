//! What Linux knows of a process: CPU time and resident memory, from `/proc`.

use std::fmt::Display;

use anyhow::{Context, Result};

/// `USER_HZ`, which Linux fixes at 100 for what it shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU-seconds since its start, user and system, of all threads of a process, by its id; of the thread that asks, by
/// `thread-self`.
pub fn cpu_seconds(whose: impl Display) -> Result<f64> {
    let path = format!("/proc/{whose}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_cpu_seconds(&text).with_context(|| format!("{path} is not as proc(5) says: {text}"))
}

/// Fields 14 and 15; the name in parentheses before them may contain anything.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let behind_name = stat.rsplit_once(") ")?.1;
    let mut fields = behind_name.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Resident memory in MB (10^6 bytes).
pub fn resident_mb(process_id: u32) -> Result<f64> {
    let path = format!("/proc/{process_id}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 9 0 1 2 3";
        assert_eq!(parse_cpu_seconds(stat), Some(4.0));
        assert_eq!(parse_cpu_seconds("42 (a)"), None);
    }
}
