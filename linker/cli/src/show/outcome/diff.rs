//! What a diff found.

use towpath_linker::diff::DiffReport;
use towpath_linker::operation::OperationView;
use towpath_plans::diff::PartitionProgress;

use super::super::{at_most, count, counted, numbers, table};
use super::verdict;

/// Partitions that are shown; those with differences come first.
const ROWS_MAX: usize = 30;
/// Samples that are shown of all that are kept.
const SAMPLES_MAX: usize = 20;

/// Verdict, table of partitions, samples.
pub fn text(view: &OperationView, colours: bool) -> Vec<String> {
    let Ok(report) = serde_json::from_value::<DiffReport>(view.outcome.clone()) else {
        return vec![verdict(view, "done")];
    };
    let done = format!("{} compared, all equal", counted(report.records, "record"));
    let mut partitions: Vec<&PartitionProgress> = report.partitions.iter().collect();
    partitions.sort_by_key(|one| std::cmp::Reverse(one.counts.total() > 0));
    let mut parts = vec![verdict(view, &done), rows(&partitions, colours)];
    let mut samples: Vec<String> = partitions
        .iter()
        .flat_map(|one| one.samples.iter().map(move |sample| (one, sample)))
        .map(|(one, sample)| format!("{}-{}: {sample}", one.topic, one.partition))
        .collect();
    if samples.len() > SAMPLES_MAX {
        samples.truncate(SAMPLES_MAX);
        samples.push("… --json shows every sample".into());
    }
    if !samples.is_empty() {
        parts.push(samples.join("\n"));
    }
    parts
}

fn rows(partitions: &[&PartitionProgress], colours: bool) -> String {
    let heads = ["partition", "from", "through", "records", "missing", "extra", "twice", "moved", "altered"];
    let mut lines = table(&heads, colours);
    for one in partitions.iter().take(ROWS_MAX) {
        let counts = &one.counts;
        lines.add_row([
            format!("{}-{}", one.topic, one.partition),
            one.from.to_string(),
            one.through.to_string(),
            count(one.records),
            count(counts.missing),
            count(counts.extra),
            count(counts.duplicated),
            count(counts.reordered),
            count(counts.altered),
        ]);
    }
    numbers(&mut lines, &[1, 2, 3, 4, 5, 6, 7, 8]);
    at_most(&mut lines, 0, 35);
    match partitions.len().checked_sub(ROWS_MAX) {
        None | Some(0) => lines.to_string(),
        Some(rest) => format!("{lines}\n… and {} more; --json shows all", counted(rest as u64, "partition")),
    }
}
