//! Readers at the end of a topic, and one that reads all of it again.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_env::Env;
use towpath_tests::mirroring::ends;

use super::super::load::batches::Batches;
use super::super::load::connect;
use super::super::load::fetch::Reader;
use super::super::load::open::{Open, Write, milliseconds};
use super::super::turn::Turn;

/// What an end-to-end load showed.
pub struct Tail {
    /// From the time a batch was meant to be sent to its arrival, for each consumer.
    pub milliseconds: Vec<f64>,
    pub writes: Vec<Write>,
}

/// Writes at a pace while `readers` consumers wait at the end of the topic.
pub async fn watch(turn: &Turn<'_>, load: &Open<'_>, readers: usize) -> Result<Tail> {
    let client = turn.client()?;
    let positions: Vec<(i32, i64)> = (0..).zip(ends(client, load.topic).await?).collect();
    let total = Cell::new(None);
    let mut tails = Vec::new();
    for _ in 0..readers {
        let reader = Reader::new(client, load.topic, positions.clone()).await?;
        tails.push(arrivals(reader, load.env, &total));
    }
    let write = async {
        let writes = load.write(client).await?;
        total.set(Some(writes.len()));
        Ok(writes)
    };
    let (writes, arrived) = futures::future::try_join(write, futures::future::try_join_all(tails)).await?;
    let mut latencies = Vec::with_capacity(writes.len() * readers);
    for write in &writes {
        for arrived in &arrived {
            let at = arrived.get(&(write.partition, write.base_offset));
            let at = at.with_context(|| format!("offset {} did not arrive", write.base_offset))?;
            latencies.push(milliseconds(write.intended, *at));
        }
    }
    Ok(Tail { milliseconds: latencies, writes })
}

/// When each batch arrived, until as many have as were written.
async fn arrivals(
    mut reader: Reader,
    env: &Env,
    total: &Cell<Option<usize>>,
) -> Result<HashMap<(i32, i64), Duration>> {
    let mut seen = HashMap::new();
    while total.get().is_none_or(|total| seen.len() < total) {
        let arrived = reader.poll().await?;
        let now = env.elapsed();
        seen.extend(arrived.into_iter().map(|batch| ((batch.partition, batch.base_offset), now)));
    }
    Ok(seen)
}

/// Reads a topic from its beginning to its end, again and again, for so long; gives MB/s of values. Runs as a process
/// of its own.
pub async fn replay_until(bootstrap: &str, topic: &str, record_bytes: u64, length: Duration) -> Result<f64> {
    let client = connect(bootstrap).await?;
    let partitions = ends(&client, topic).await?.len() as i32;
    let (env, mut offsets) = (Env::real(), 0);
    while env.elapsed() < length {
        let ends = ends(&client, topic).await?;
        let mut reader =
            Reader::new(&client, topic, (0..partitions).map(|index| (index, 0)).collect()).await?;
        while env.elapsed() < length && !reader.is_at(&ends) {
            reader.poll().await?;
        }
        offsets += reader.offsets();
    }
    Ok(offsets as f64 * record_bytes as f64 / 1e6 / env.elapsed().as_secs_f64())
}

/// The usual load of this scenario's kind.
pub fn load<'a>(
    turn: &Turn<'_>,
    (topic, partitions): (&'a str, i32),
    batches: &'a Batches,
    mb_s: f64,
    env: &'a Env,
) -> Open<'a> {
    Open { topic, partitions, batches, mb_s, length: turn.sizes.paced, env }
}
