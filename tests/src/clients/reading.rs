//! Reading a whole topic with one client, to compare what independent readers see.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::protocol::{ConsumeSettings, Event, Settings};
use super::{Client, ClientKind};
use crate::record::Record;

/// A reader that sees nothing for this long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A topic, read from its beginning to the end it had when the reader started.
#[derive(Clone, Debug)]
pub struct WholeTopic {
    /// By partition, then offset.
    pub records: Vec<Record>,
    /// Partition, log start, end (high watermark, or last stable offset for a committed reader of Java or
    /// Python).
    pub bounds: Vec<(i32, i64, i64)>,
}

impl WholeTopic {
    /// Reads `topic` with a client of `kind`; `isolation` as Kafka spells it.
    ///
    /// # Errors
    /// When the client fails, hangs, or delivers a partition's records out of order.
    pub async fn read(
        kind: &ClientKind,
        bootstrap: &str,
        topic: &str,
        isolation: &str,
        folder: &Path,
    ) -> Result<WholeTopic> {
        let mut read = WholeTopic::read_all(kind, bootstrap, &[topic], isolation, folder).await?;
        read.remove(topic).with_context(|| format!("{kind:?} did not read {topic}"))
    }

    /// Reads several topics, with one client if its implementation can: starting a JVM takes longer than reading.
    ///
    /// # Errors
    /// As [`WholeTopic::read`].
    pub async fn read_all(
        kind: &ClientKind,
        bootstrap: &str,
        topics: &[&str],
        isolation: &str,
        folder: &Path,
    ) -> Result<BTreeMap<String, WholeTopic>> {
        // librdkafka tells that a partition has ended without its topic's name.
        let alone = *kind == ClientKind::Rdkafka;
        let mut read = BTreeMap::new();
        for topics in topics.chunks(if alone { 1 } else { topics.len().max(1) }) {
            read.extend(WholeTopic::read_at_once(kind, bootstrap, topics, isolation, folder).await?);
        }
        Ok(read)
    }

    async fn read_at_once(
        kind: &ClientKind,
        bootstrap: &str,
        topics: &[&str],
        isolation: &str,
        folder: &Path,
    ) -> Result<BTreeMap<String, WholeTopic>> {
        let mut settings = ConsumeSettings::new(bootstrap, topics);
        settings.assign = true;
        settings.until_end = true;
        settings.isolation = isolation.to_owned();
        let name = format!("read-{}", topics.join("-"));
        let mut client = Client::start(kind, &name, &Settings::Consume(settings), folder).await?;
        let nothing = WholeTopic { records: Vec::new(), bounds: Vec::new() };
        let mut read: BTreeMap<String, WholeTopic> =
            topics.iter().map(|topic| ((*topic).to_owned(), nothing.clone())).collect();
        loop {
            match client.next(SILENCE_MAX).await? {
                Some(Event::Record(record)) => asked_for(&mut read, &record.topic)?.records.push(record),
                Some(Event::End(bounds)) => {
                    for (topic, index, start, end) in bounds {
                        asked_for(&mut read, &topic)?.bounds.push((index, start, end));
                    }
                    break;
                }
                Some(Event::Error { message, .. }) => bail!("{kind:?} reading {topics:?}: {message}"),
                Some(_) => {}
                None => bail!("{kind:?} reading {topics:?}: ended before their end"),
            }
        }
        for (topic, whole) in &mut read {
            whole.put_in_order().with_context(|| format!("{kind:?} reading {topic}"))?;
        }
        Ok(read)
    }

    fn put_in_order(&mut self) -> Result<()> {
        self.bounds.sort_unstable();
        // A stable sort by partition alone: what is left of the order is the order of delivery.
        self.records.sort_by_key(|record| record.partition);
        let out_of_order = self
            .records
            .windows(2)
            .find(|pair| pair[0].partition == pair[1].partition && pair[0].offset >= pair[1].offset);
        match out_of_order {
            Some(pair) => {
                bail!("partition {}: {} after {}", pair[0].partition, pair[1].offset, pair[0].offset)
            }
            None => Ok(()),
        }
    }
}

fn asked_for<'a>(read: &'a mut BTreeMap<String, WholeTopic>, topic: &str) -> Result<&'a mut WholeTopic> {
    read.get_mut(topic).with_context(|| format!("{topic} was not asked for"))
}
