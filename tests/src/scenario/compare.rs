//! Comparing what topics hold, by independent readers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::loads::{Fate, LoadState};
use super::model::{ExpectTopic, SameTopics};
use super::records::MARK;
use super::world::World;
use crate::clients::ClientKind;
use crate::clients::reading::WholeTopic;
use crate::record::{Message, Record};

impl World<'_> {
    async fn read(
        &self,
        node: &str,
        topics: &[&str],
        reader: &str,
        isolation: &str,
    ) -> Result<BTreeMap<String, WholeTopic>> {
        let kind: ClientKind = reader.parse()?;
        let read =
            WholeTopic::read_all(&kind, &self.bootstrap(node)?, topics, isolation, self.folder()).await;
        read.with_context(|| format!("{reader} on {node}"))
    }

    /// A topic holds what loads produced: every acknowledged record once, in order, and nothing else.
    pub(super) async fn expect_topic(&mut self, step: &ExpectTopic) -> Result<()> {
        for reader in &step.readers {
            let read = self.read(&step.on, &[&step.topic], reader, &step.isolation).await?;
            let whole = read.get(&step.topic).context("the topic was read")?;
            let mut by_load: BTreeMap<String, Vec<(u64, &Record)>> = BTreeMap::new();
            for record in &whole.records {
                let (load, n) = mark_of(record)?;
                by_load.entry(load).or_default().push((n, record));
            }
            if let Some(stranger) = by_load.keys().find(|load| !step.holds.contains(load)) {
                bail!("{reader}: {} holds records of {stranger:?}", step.topic);
            }
            for name in &step.holds {
                let load = self.loads.get(name).with_context(|| format!("no load {name:?}"))?;
                let found = by_load.remove(name).unwrap_or_default();
                let committed_only = step.isolation == "read_committed";
                holds(&load.state.lock(), &found, committed_only)
                    .with_context(|| format!("{reader}: {name}"))?;
            }
        }
        Ok(())
    }

    /// Two nodes' topics are equal.
    pub(super) async fn same_topics(&mut self, step: &SameTopics) -> Result<()> {
        let topics: Vec<&str> = step.topics.iter().map(String::as_str).collect();
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for reader in &step.readers {
            for isolation in &step.isolations {
                let left = self.read(&step.left, &topics, reader, isolation).await?;
                let right = self.read(&step.right, &topics, reader, isolation).await?;
                for topic in &topics {
                    let (left, right) = (&left[*topic], &right[*topic]);
                    same(left, right).with_context(|| format!("{topic}, {reader}, {isolation}"))?;
                    let most = most.entry(topic).or_default();
                    *most = (*most).max(left.records.len());
                }
            }
        }
        match most.iter().find(|(_, records)| **records < step.at_least) {
            Some((topic, records)) => bail!("{topic}: only {records} records, which proves little"),
            None => Ok(()),
        }
    }
}

fn mark_of(record: &Record) -> Result<(String, u64)> {
    let value = record.headers.iter().find(|(name, _)| name == MARK).and_then(|(_, value)| value.clone());
    let text = value.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default();
    let parsed = text.rsplit_once('/').and_then(|(load, n)| Some((load.to_owned(), n.parse().ok()?)));
    parsed.with_context(|| format!("no load's mark on {record:?}"))
}

/// `found` (in the order of partitions and offsets) is what the load did.
fn holds(state: &LoadState, found: &[(u64, &Record)], committed_only: bool) -> Result<()> {
    let mut seen = vec![false; state.sent.len()];
    let mut last: BTreeMap<i32, u64> = BTreeMap::new();
    for (n, record) in found {
        let place = format!("{}-{}@{}", record.topic, record.partition, record.offset);
        let (message, fate) =
            state.sent.get(*n as usize).with_context(|| format!("{place}: {n} was never sent"))?;
        if std::mem::replace(&mut seen[*n as usize], true) {
            bail!("{place}: message {n} is there twice");
        }
        if committed_only && state.aborted.contains(n) {
            bail!("{place}: message {n} was aborted");
        }
        if let Some(before) = last.insert(record.partition, *n)
            && before > *n
        {
            bail!("{place}: message {n} behind {before}");
        }
        if let Fate::Acked { partition, offset } = fate
            && *offset >= 0
            && (*partition, *offset) != (record.partition, record.offset)
        {
            bail!("{place}: message {n} was acknowledged at {partition}@{offset}");
        }
        same_contents(message, record).with_context(|| place)?;
    }
    let must = |n: usize, fate: &Fate| {
        matches!(fate, Fate::Acked { .. }) && !(committed_only && state.aborted.contains(&(n as u64)))
    };
    let lost: Vec<usize> = (0..seen.len()).filter(|&n| !seen[n] && must(n, &state.sent[n].1)).collect();
    if let Some(first) = lost.first() {
        bail!("{} acknowledged messages are missing, first {first}: {:?}", lost.len(), state.sent[*first].1);
    }
    Ok(())
}

fn same_contents(message: &Message, record: &Record) -> Result<()> {
    if message.key != record.key {
        bail!("key {:?}, not {:?}", record.key, message.key);
    }
    if message.value != record.value {
        bail!("value {:?}, not {:?}", record.value, message.value);
    }
    if message.headers != record.headers {
        bail!("headers {:?}, not {:?}", record.headers, message.headers);
    }
    if let Some(sent_ms) = message.timestamp_ms
        && record.timestamp_type == 0
        && sent_ms != record.timestamp_ms
    {
        bail!("timestamp {}, not {sent_ms}", record.timestamp_ms);
    }
    Ok(())
}

fn same(left: &WholeTopic, right: &WholeTopic) -> Result<()> {
    for (one, other) in left.records.iter().zip(&right.records) {
        if one != other {
            bail!("differ:\n  left  {one:?}\n  right {other:?}");
        }
    }
    let (ours, theirs) = (left.records.len(), right.records.len());
    if ours != theirs {
        let (longer, side) = if ours > theirs { (left, "left") } else { (right, "right") };
        bail!("{ours} records left, {theirs} right; only {side}: {:?}", longer.records[ours.min(theirs)]);
    }
    if left.bounds != right.bounds {
        bail!("(partition, start, end) left {:?}, right {:?}", left.bounds, right.bounds);
    }
    Ok(())
}
