//! An open load: each write has a time at which it is meant to be sent, whatever became of those before it, and its
//! latency runs from then. A broker that stalls for a second is seen by all writes of that second, not by one.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use towpath_env::Env;
use towpath_wire::client::Client;

use super::batches::Batches;
use super::produce::{Sent, Writer};

/// Between the making of the load and its first write.
const LEAD_IN: Duration = Duration::from_millis(20);

/// What to write.
pub struct Open<'a> {
    pub topic: &'a str,
    /// As many producers, each with a connection.
    pub partitions: i32,
    pub batches: &'a Batches,
    /// 10^6 bytes of values.
    pub mb_s: f64,
    pub length: Duration,
    /// The clock that all times of it are on.
    pub env: &'a Env,
}

/// One write, times on the load's clock.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub partition: i32,
    pub base_offset: i64,
    pub intended: Duration,
    /// When the client got to send it: what it lags behind `intended` is the client's own.
    pub begun: Duration,
    pub acked: Duration,
}

impl Write {
    pub fn ack_ms(&self) -> f64 {
        milliseconds(self.intended, self.acked)
    }

    pub fn late_ms(&self) -> f64 {
        milliseconds(self.intended, self.begun)
    }
}

pub fn milliseconds(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64() * 1e3
}

impl Open<'_> {
    /// Writes to the end of the load; returns behind the last acknowledgement.
    pub async fn write(&self, client: &Client) -> Result<Vec<Write>> {
        let mut writers = Vec::new();
        for _ in 0..self.partitions {
            writers.push(Writer::new(client, self.topic).await?);
        }
        let mut due = self.pace();
        let (mut pending, mut done, mut paced) = (FuturesUnordered::new(), Vec::new(), true);
        while paced || !pending.is_empty() {
            tokio::select! {
                Some(acked) = pending.next(), if !pending.is_empty() => done.push(acked?),
                next = due.recv(), if paced => match next {
                    None => paced = false,
                    Some((number, intended)) => {
                        let partition = (number % self.partitions as u64) as usize;
                        let begun = self.env.elapsed();
                        let batch = vec![(partition as i32, self.batches.get(number))];
                        let sent = writers[partition].begin(batch).await?;
                        pending.push(self.acked(sent, intended, begun));
                    }
                },
            }
        }
        Ok(done)
    }

    async fn acked(&self, sent: Sent<'_>, intended: Duration, begun: Duration) -> Result<Write> {
        let acked = sent.acked().await?;
        let &(partition, base_offset) = acked.offsets.first().context("an answer without its partition")?;
        Ok(Write { partition, base_offset, intended, begun, acked: self.env.elapsed() })
    }

    /// Numbers of writes and when they are meant to be sent, each told at its time. A thread of its own: tokio's timer
    /// counts whole milliseconds, which would be part of every latency.
    fn pace(&self) -> mpsc::UnboundedReceiver<(u64, Duration)> {
        let (due, queue) = mpsc::unbounded_channel();
        let interval = Duration::from_secs_f64(self.batches.value_bytes as f64 / 1e6 / self.mb_s);
        let count = (self.length.as_secs_f64() / interval.as_secs_f64()).ceil() as u64;
        let (env, start) = (self.env.clone(), self.env.elapsed() + LEAD_IN);
        thread::spawn(move || {
            for number in 0..count {
                let intended = start + interval.mul_f64(number as f64);
                if let Some(wait) = intended.checked_sub(env.elapsed()) {
                    thread::sleep(wait);
                }
                // The load has failed, and with it the run.
                if due.send((number, intended)).is_err() {
                    return;
                }
            }
        });
        queue
    }
}
