//! Reading a whole topic with one client, to compare what independent readers see.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

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
        let mut settings = ConsumeSettings::new(bootstrap, &[topic]);
        settings.assign = true;
        settings.until_end = true;
        settings.isolation = isolation.to_owned();
        let name = format!("read-{topic}");
        let mut client = Client::start(kind, &name, &Settings::Consume(settings), folder).await?;
        let mut whole = WholeTopic { records: Vec::new(), bounds: Vec::new() };
        loop {
            match client.next(SILENCE_MAX).await? {
                Some(Event::Record(record)) => whole.records.push(record),
                Some(Event::End(bounds)) => {
                    whole.bounds =
                        bounds.into_iter().map(|(_, index, start, end)| (index, start, end)).collect();
                    break;
                }
                Some(Event::Error { message, .. }) => bail!("{kind:?} reading {topic}: {message}"),
                Some(_) => {}
                None => bail!("{kind:?} reading {topic}: ended before the end of the topic"),
            }
        }
        whole.bounds.sort_unstable();
        // A stable sort by partition alone: what is left of the order is the order of delivery.
        whole.records.sort_by_key(|record| record.partition);
        let out_of_order = whole
            .records
            .windows(2)
            .find(|pair| pair[0].partition == pair[1].partition && pair[0].offset >= pair[1].offset);
        if let Some(pair) = out_of_order {
            bail!("{kind:?}: {topic}-{}: {} after {}", pair[0].partition, pair[1].offset, pair[0].offset);
        }
        Ok(whole)
    }
}
