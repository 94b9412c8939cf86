//! Dashboards and alert rules speak of metrics that the daemons really export.

#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_under(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, extension, found);
        } else if path.extension().is_some_and(|name| name == extension) {
            found.push(path);
        }
    }
}

/// Every metric that dashboards and rules name.
fn named() -> BTreeSet<String> {
    let mut files = Vec::new();
    files_under(&house().join("dashboards/grafana"), "json", &mut files);
    files_under(&house().join("dashboards/prometheus"), "yaml", &mut files);
    assert!(files.len() >= 3, "{files:?}");
    let texts: String = files.iter().map(|file| read(file)).collect();
    let words = texts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics =
        words.filter(|word| word.starts_with("towpath_broker_") || word.starts_with("towpath_linker_"));
    let histograms = ["_bucket", "_sum", "_count"];
    metrics
        .map(|word| histograms.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word).to_owned())
        .collect()
}

/// The strings that the rooms that export metrics have in their sources.
fn strings_of(room: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    files_under(&house().join(room), "rs", &mut files);
    let metrics = files.iter().map(|file| read(file)).filter(|text| text.contains("prometheus::"));
    metrics.flat_map(|text| text.split('"').map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_metric_that_is_named_is_exported() {
    let rooms =
        [("towpath_broker_", strings_of("broker/src")), ("towpath_linker_", strings_of("linker/src"))];
    let mut unknown = Vec::new();
    for metric in named() {
        let exported = rooms.iter().any(|(prefix, strings)| {
            let Some(name) = metric.strip_prefix(prefix) else { return false };
            // The diff has a prefix of its own.
            let names = [Some(metric.as_str()), Some(name), name.strip_prefix("diff_")];
            names.into_iter().flatten().any(|name| strings.contains(name))
        });
        if !exported {
            unknown.push(metric);
        }
    }
    assert!(unknown.is_empty(), "named and exported by nobody: {unknown:?}");
}

#[test]
fn every_dashboard_is_one_and_every_panel_says_what_it_shows() {
    let mut files = Vec::new();
    files_under(&house().join("dashboards/grafana"), "json", &mut files);
    for file in files {
        let board: serde_json::Value = serde_json::from_str(&read(&file)).unwrap();
        assert!(board["uid"].is_string() && board["title"].is_string(), "{}", file.display());
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: {}", file.display(), panel["title"]);
            let described = panel["type"] == "row" || !panel["description"].as_str().unwrap().is_empty();
            assert!(described, "{}: {}", file.display(), panel["title"]);
        }
    }
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_to_do() {
    let rules = read(&house().join("dashboards/prometheus/towpath.rules.yaml"));
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["expr: ", "severity: ", "summary: ", "fix: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
    }
}
