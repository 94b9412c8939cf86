//! The fences of a family.

use towpath_linker::http::body::Fences;

use super::{NOTHING, at_most, date, table, trimmed};

/// A line per group.
pub fn table_of(fences: &Fences) -> String {
    let held = fences.fences.iter().filter(|fence| fence.held.is_some()).count();
    let verdict = format!("{}: {held} of {} groups fenced at the source", fences.family, fences.fences.len());
    let mut lines = table(&["group", "state", "instance id", "generation", "held since", "alarms"], false);
    for fence in &fences.fences {
        let (generation, since) = match &fence.held {
            Some(held) => (held.generation.to_string(), date(held.since_ms)),
            None => (NOTHING.into(), NOTHING.into()),
        };
        let alarms = if fence.alarms.is_empty() { NOTHING.into() } else { fence.alarms.join("; ") };
        lines.add_row([&fence.group, &fence.state, &fence.instance_id, &generation, &since, &alarms]);
    }
    at_most(&mut lines, 5, 30);
    let next = format!("towpath status {}", fences.family);
    trimmed(&format!("{verdict}\n\n{lines}\n\n{next}"))
}
