//! A closed load: each producer keeps its window full, so the broker is never without work.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use towpath_env::Env;
use towpath_wire::client::Client;

use super::batches::Batches;
use super::produce::Writer;

/// `max.in.flight.requests.per.connection` of Kafka's producer.
const IN_FLIGHT: usize = 5;
/// Producers, each with a connection.
const WRITERS: usize = 6;

/// What to write.
pub struct Closed<'a> {
    pub topic: &'a str,
    pub partitions: i32,
    /// Partitions that share one request.
    pub per_request: i32,
    pub batches: &'a Batches,
    /// Bytes of values.
    pub bytes: u64,
    /// A broker that is slower than this writes less.
    pub limit: Duration,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Wrote {
    /// Bytes of values that were acknowledged.
    pub bytes: u64,
    pub seconds: f64,
    pub retries: u64,
}

impl Wrote {
    pub fn mb_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    pub fn gb(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

impl Closed<'_> {
    /// Writes it all; returns behind the last acknowledgement.
    pub async fn write(&self, client: &Client) -> Result<Wrote> {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(Writer::new(client, self.topic).await?);
        }
        let (env, next) = (Env::real(), Cell::new(0));
        let done = try_join_all(writers.iter().map(|writer| self.keep_full(writer, &env, &next))).await?;
        let seconds = env.elapsed().as_secs_f64();
        let requests: u64 = done.iter().map(|(requests, _)| requests).sum();
        let bytes = requests * self.per_request as u64 * self.batches.value_bytes;
        Ok(Wrote { bytes, seconds, retries: done.iter().map(|(_, retries)| retries).sum() })
    }

    async fn keep_full(&self, writer: &Writer, env: &Env, next: &Cell<u64>) -> Result<(u64, u64)> {
        let total = self.bytes.div_ceil(self.batches.value_bytes * self.per_request as u64);
        let (mut sent, mut requests, mut retries) = (VecDeque::with_capacity(IN_FLIGHT), 0, 0);
        loop {
            let number = next.get();
            let more = number < total && env.elapsed() < self.limit;
            if more && sent.len() < IN_FLIGHT {
                next.set(number + 1);
                sent.push_back(writer.begin(self.request(number)).await?);
                continue;
            }
            let Some(oldest) = sent.pop_front() else { return Ok((requests, retries)) };
            retries += oldest.acked().await?.retries;
            requests += 1;
        }
    }

    /// Partitions take turns, also within a request.
    fn request(&self, number: u64) -> Vec<(i32, bytes::Bytes)> {
        let first = number * self.per_request as u64;
        let places = first..first + self.per_request as u64;
        places.map(|place| ((place % self.partitions as u64) as i32, self.batches.get(place))).collect()
    }
}
