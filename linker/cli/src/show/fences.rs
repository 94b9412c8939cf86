//! The fences of a family.

use towpath_linker::http::body::Fences;

use super::{NOTHING, at_most, counted, date, table, trimmed};

/// A line per group.
pub fn table_of(fences: &Fences) -> String {
    let standing = fences.fences.iter().filter(|fence| fence.at_source.is_some()).count();
    let all = fences.fences.len();
    let verdict =
        format!("{}: fenced at the source: {standing} of {}", fences.family, counted(all as u64, "group"));
    let mut lines =
        table(&["group", "state", "instance id", "at source", "generation", "held since", "alarms"], false);
    for fence in &fences.fences {
        let (generation, since) = match &fence.held {
            Some(held) => (held.generation.to_string(), date(held.since_ms)),
            None => (NOTHING.into(), NOTHING.into()),
        };
        let stands = match (&fence.at_source, &fence.held) {
            (Some(_), Some(_)) => "stands",
            (Some(_), None) => "left behind",
            (None, Some(_)) => "gone",
            (None, None) => NOTHING,
        };
        let alarms = if fence.alarms.is_empty() { NOTHING.into() } else { fence.alarms.join("; ") };
        let state = fence.state.replace('_', " ");
        lines.add_row([
            fence.group.as_str(),
            state.as_str(),
            fence.instance_id.as_str(),
            stands,
            generation.as_str(),
            since.as_str(),
            alarms.as_str(),
        ]);
    }
    at_most(&mut lines, 6, 30);
    let next = format!("towpath status {}", fences.family);
    trimmed(&format!("{verdict}\n\n{lines}\n\n{next}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fence_that_stands_is_told_from_one_that_was_left_behind() {
        let held =
            json!({ "member_id": "m", "instance_id": "towpath-fence-views", "generation": 7, "since_ms": 0 });
        let fence = |group: &str, held: serde_json::Value, at_source: Option<&str>| {
            json!({
                "group": group, "state": "on_target", "instance_id": "towpath-fence-views", "held": held,
                "at_source": at_source, "alarms": [],
            })
        };
        let fences = json!({ "family": "views", "fences": [
            fence("ranker", held.clone(), Some("m")), fence("store", held, None),
            fence("audit", json!(null), Some("m")), fence("other", json!(null), None),
        ] });
        insta::assert_snapshot!(table_of(&serde_json::from_value(fences).unwrap()));
    }
}
