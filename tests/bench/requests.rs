//! What an object store is asked for each GiB written: by write rate, and by one key of the storage (how long a flush
//! waits, how large a segment is). Towpath alone: Apache Kafka has no object store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use towpath_env::Env;
use towpath_tests::folder::Folder;
use towpath_wire::client::admin::{NewTopic, create_topic};

use super::contender::{Contender, Settings};
use super::cores::on_broker_cores;
use super::load::batches::Batches;
use super::load::open::{Open, Write};
use super::options::RequestsOptions;
use super::report::text::figure;
use super::statistics::Latency;

const TOPIC: &str = "requests";
const PARTITIONS: i32 = 6;
const RECORD_BYTES: usize = 500;
const BATCH_BYTES: usize = 16 << 10;

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub wal: String,
    pub store: String,
    pub seconds: u64,
    pub rows: Vec<Row>,
}

/// One load on a fresh broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What differs from the defaults.
    pub storage: BTreeMap<String, u64>,
    pub mb_s: f64,
    /// Requests per GiB written, by what they were for, until everything was uploaded.
    pub per_gib: BTreeMap<String, f64>,
    pub ack_p50_ms: f64,
    pub ack_p99_ms: f64,
}

impl Table {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Table> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no table of requests", path.display()))
    }

    /// Writes the file, and its folder.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Lines of cells, the heading first.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let kinds: std::collections::BTreeSet<&String> =
            self.rows.iter().flat_map(|row| row.per_gib.keys()).collect();
        let mut heading = vec!["storage".to_owned(), "MB/s".to_owned()];
        heading.extend(kinds.iter().map(|kind| format!("{kind} per GiB")));
        heading.extend(["all per GiB", "ack p50, ms", "ack p99, ms"].map(str::to_owned));
        let line = |row: &Row| {
            let keys: Vec<String> =
                row.storage.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let storage = if keys.is_empty() { "defaults".to_owned() } else { keys.join(", ") };
            let mut line = vec![storage, figure(row.mb_s)];
            line.extend(kinds.iter().map(|kind| figure(row.per_gib.get(*kind).copied().unwrap_or(0.0))));
            let all: f64 = row.per_gib.values().sum();
            line.extend([all, row.ack_p50_ms, row.ack_p99_ms].map(figure));
            line
        };
        std::iter::once(heading).chain(self.rows.iter().map(line)).collect()
    }
}

/// Measures each value at each rate.
pub async fn run(options: &RequestsOptions) -> Result<Table> {
    let (settings, pinned) = (options.brokers.settings(), options.brokers.pinned());
    let mut rows = Vec::new();
    for storage in options.storages() {
        for &mb_s in &options.rates {
            let folder = Folder::new("towpath-bench-")?;
            let contender = on_broker_cores(pinned.as_ref(), async || {
                Contender::towpath(&settings, folder.path(), &storage).await
            });
            let contender = contender.await?;
            rows.push(measure(&contender, &storage, mb_s, options.seconds).await?);
            contender.stop().await?;
        }
    }
    let Settings { wal, store, .. } = settings;
    let store = store.as_deref().and_then(|url| url.split_once("://")).map_or("file", |url| url.0).to_owned();
    Ok(Table { wal, store, seconds: options.seconds, rows })
}

async fn measure(
    contender: &Contender,
    storage: &BTreeMap<String, u64>,
    mb_s: f64,
    seconds: u64,
) -> Result<Row> {
    let (batches, env) = (Batches::new(RECORD_BYTES, BATCH_BYTES)?, Env::real());
    create_topic(&contender.client, NewTopic::new(TOPIC, PARTITIONS)).await?;
    contender.quiet().await?;
    let before = contender.object_requests().await?.unwrap_or_default();
    let length = Duration::from_secs(seconds);
    let load = Open { topic: TOPIC, partitions: PARTITIONS, batches: &batches, mb_s, length, env: &env };
    let writes = load.write(&contender.client).await?;
    contender.uploaded().await?;
    let after = contender.object_requests().await?.unwrap_or_default();
    let gib = writes.len() as f64 * batches.value_bytes as f64 / f64::from(1 << 30);
    let per_gib = after.into_iter().map(|(kind, count)| {
        let more = count - before.get(&kind).copied().unwrap_or(0.0);
        (kind, more / gib)
    });
    let latency = Latency::of(writes.iter().map(Write::ack_ms).collect());
    Ok(Row {
        storage: storage.clone(),
        mb_s,
        per_gib: per_gib.collect(),
        ack_p50_ms: latency.p50,
        ack_p99_ms: latency.p99,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_every_kind_that_any_row_has() {
        let row = |storage: &[(&str, u64)], kind: &str| Row {
            storage: storage.iter().map(|&(key, value)| (key.to_owned(), value)).collect(),
            mb_s: 10.0,
            per_gib: [(kind.to_owned(), 32.0)].into(),
            ack_p50_ms: 1.25,
            ack_p99_ms: 9.0,
        };
        let rows = vec![row(&[], "put"), row(&[("segment_bytes", 5)], "get")];
        let table = Table { wal: "disk".to_owned(), store: "file".to_owned(), seconds: 1, rows };
        let cells = table.cells();
        assert_eq!(
            cells[0].join("|"),
            "storage|MB/s|get per GiB|put per GiB|all per GiB|ack p50, ms|ack p99, ms"
        );
        assert_eq!(cells[1].join("|"), "defaults|10|0|32|32|1.25|9");
        assert_eq!(cells[2].join("|"), "segment_bytes: 5|10|32|0|32|1.25|9");
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
    }
}
