//! The records that a load produces.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::model::{Records, Values};
use crate::cache;
use crate::record::{Blob, Message};
use crate::workload::{Workload, WorkloadOptions};

/// The header that says which load a record belongs to, and its number there: `LOAD/N`.
pub(super) const MARK: &str = "towpath-test";

/// A load's messages, in order.
pub(super) type Messages = Box<dyn Iterator<Item = Message> + Send>;

/// What a load produces, and what to note about it.
///
/// # Errors
/// When the file of orders can't be read.
pub(super) fn messages(
    load: &str,
    topic: &str,
    records: &Records,
) -> Result<(Messages, Option<&'static str>)> {
    let (contents, note): (Box<dyn Iterator<Item = Contents> + Send>, _) = match records.values {
        Values::Events => (events(records), None),
        Values::Orders => match orders_file() {
            Some(path) => (orders(&path)?, Some("real orders")),
            None => (events(records), Some("generated events for want of real orders")),
        },
    };
    let (load, topic, records) = (load.to_owned(), topic.to_owned(), records.clone());
    let count = records.count.unwrap_or(u64::MAX) as usize;
    let messages = contents
        .take(count)
        .enumerate()
        .map(move |(n, contents)| message(n as u64, contents, &load, &topic, &records));
    Ok((Box::new(messages), note))
}

struct Contents {
    at_ms: i64,
    key: String,
    value: String,
}

fn events(records: &Records) -> Box<dyn Iterator<Item = Contents> + Send> {
    let options = WorkloadOptions::new(records.seed);
    let large_one_in = records.large_every.unwrap_or(options.large_one_in);
    let events = Workload::new(WorkloadOptions { large_one_in, ..options });
    Box::new(events.map(|event| Contents { at_ms: event.at_ms, key: event.key, value: event.value }))
}

/// `TOWPATH_TEST_ORDERS`, or beside the repository.
fn orders_file() -> Option<PathBuf> {
    let path = match std::env::var_os("TOWPATH_TEST_ORDERS") {
        Some(path) => path.into(),
        None => cache::repository().parent()?.join("shared/data/orders.jsonl.zst"),
    };
    path.exists().then_some(path)
}

#[derive(Deserialize)]
struct Order {
    order: String,
    time_ms: i64,
    customer: Option<serde_json::Value>,
}

fn orders(path: &PathBuf) -> Result<Box<dyn Iterator<Item = Contents> + Send>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let lines = BufReader::new(zstd::Decoder::new(file)?).lines();
    // Read whole: a line that is no order must fail the load at its start.
    let orders: Result<Vec<Contents>> = lines
        .map(|line| {
            let value = line?;
            let order: Order = serde_json::from_str(&value)?;
            let key = match order.customer {
                Some(customer) if !customer.is_null() => customer.to_string(),
                _ => order.order,
            };
            Ok(Contents { at_ms: order.time_ms, key, value })
        })
        .collect();
    Ok(Box::new(orders?.into_iter()))
}

fn message(n: u64, contents: Contents, load: &str, topic: &str, records: &Records) -> Message {
    let every = |count: Option<u64>| count.is_some_and(|count| n % count.max(1) == count.max(1) - 1);
    let blob = |text: String| Some(Blob(text.into_bytes()));
    let key = match records.keys {
        Some(keys) => format!("key-{}", n % keys.max(1)),
        None => contents.key,
    };
    let mut value = contents.value;
    if let Some(largest) = records.bytes_max {
        value.truncate(largest);
    }
    let null_key = every(records.null_key_every);
    let mut headers = vec![(MARK.to_owned(), blob(format!("{load}/{n}")))];
    for index in 0..records.headers {
        match index % 3 {
            // One name twice, an empty value, none at all: what careless copies lose.
            0 => headers.push(("trace".to_owned(), blob(format!("{n}-{index}")))),
            1 => headers.push(("empty".to_owned(), blob(String::new()))),
            _ => headers.push(("trace".to_owned(), None)),
        }
    }
    Message {
        n,
        topic: topic.to_owned(),
        partition: records.partition,
        timestamp_ms: (!records.now).then_some(contents.at_ms),
        key: if null_key { None } else { blob(key) },
        // Not both null: kafka-python refuses such a record.
        value: if every(records.tombstone_every) && !null_key { None } else { blob(value) },
        headers,
    }
}
