//! Starting with much in the store: a thousand topics, ten thousand partitions, a hundred thousand ranges of segments.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::LocalBoxFuture;
use futures::{StreamExt, TryStreamExt};
use towpath_env::Env;
use towpath_tests::folder::Folder;
use towpath_wire::client::admin::{ConfigChange, ConfigResource, NewTopic, alter_configs, create_topic};

use super::super::contender::{Contender, Ended};
use super::super::cores::on_broker_cores;
use super::super::load::batches::Batches;
use super::super::load::produce::Writer;
use super::super::proc::{cpu_seconds, resident_mb};
use super::super::results::{Metric, Values, Who};
use super::super::turn::{Turn, values};
use super::Scenario;

const PARTITIONS: i32 = 10;
/// Batches that each partition gets, each uploaded before the next comes: a range of its own in the index.
const ROUNDS: u64 = 10;
const RECORD_BYTES: usize = 100;
const IN_FLIGHT: usize = 32;

pub const SCENARIO: Scenario = Scenario {
    name: "start-large",
    title: "Start with 10,000 partitions and 100,000 ranges",
    about: "1,000 topics of ten partitions, made one by one. Each partition is written a record of 100 bytes, all of it is \
            uploaded, and so on, ten times; nothing is merged. Then a config of each topic is changed, one by one, so that \
            the metadata log is long and has checkpoints. The broker is stopped and started again: from the start of its \
            process until it has answered Metadata for all topics. Then the same with SIGKILL. Towpath alone: Apache Kafka \
            keeps files open for each partition, more than this machine lets a process have.",
    who: &[Who::Towpath],
    metrics: &[
        Metric::less("start_s", "start after a stop, s"),
        Metric::less("restart_s", "start after SIGKILL, s"),
        Metric::less("idle_mb", "memory when idle, MB"),
        Metric::less("idle_cpu_ms_per_s", "CPU when idle, ms per s"),
        Metric::context("ranges", "ranges of segments"),
        Metric::context("make_s", "to make it, s"),
    ],
    run,
};

fn run<'a>(turn: &'a mut Turn<'_>) -> LocalBoxFuture<'a, Result<Values>> {
    Box::pin(measure(turn))
}

async fn measure(turn: &mut Turn<'_>) -> Result<Values> {
    let (folder, pinned) = (Folder::new("towpath-bench-")?, turn.pinned);
    // A round goes up as soon as it is written, and stays as it went up.
    let keys: BTreeMap<String, u64> = [("segment_age_max_ms", 500), ("merge_layers_max", 0)]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
    let env = Env::real();
    let mut large =
        on_broker_cores(pinned, async || Contender::towpath(turn.settings, folder.path(), &keys).await)
            .await?;
    let topics: Vec<String> =
        (0..turn.sizes.topics_many).map(|number| format!("family-{number}.events")).collect();
    make(&large, &topics).await?;
    let make_s = env.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for ended in [Ended::Stopped, Ended::Killed] {
        let started =
            on_broker_cores(pinned, async || large.start_until_told(ended, topics.len()).await).await?;
        took.push(started.as_secs_f64());
        large.quiet().await?;
    }
    let idle_mb = resident_mb(large.process_id)?;
    let idle_cpu_ms_per_s = idle_cpu(&large, turn.sizes.idle).await?;
    let ranges = large.metric("towpath_broker_segment_ranges").await?;
    let expected = topics.len() as u64 * PARTITIONS as u64 * ROUNDS;
    ensure!(ranges >= expected as f64, "{ranges} ranges came of it, not {expected}");
    large.stop().await?;
    Ok(values([
        ("start_s", took[0]),
        ("restart_s", took[1]),
        ("idle_mb", idle_mb),
        ("idle_cpu_ms_per_s", idle_cpu_ms_per_s),
        ("ranges", ranges),
        ("make_s", make_s),
    ]))
}

/// As clients would: so that every range, object and entry of the metadata log is one that a broker wrote.
async fn make(large: &Contender, topics: &[String]) -> Result<()> {
    let client = &large.client;
    for topic in topics {
        create_topic(client, NewTopic::new(topic.as_str(), PARTITIONS)).await?;
    }
    let batches = Batches::new(RECORD_BYTES, RECORD_BYTES)?;
    let writer = Writer::new(client, &topics[0]).await?;
    for round in 0..ROUNDS {
        let request = |partition| (partition, batches.get(round));
        let written = topics.iter().map(async |topic| {
            let writer = writer.to_topic(topic);
            writer.begin((0..PARTITIONS).map(request).collect()).await?.acked().await
        });
        futures::stream::iter(written).buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await?;
        large.uploaded().await?;
    }
    for topic in topics {
        let change = ConfigChange::Set("retention.ms".to_owned(), "864000000".to_owned());
        alter_configs(client, &ConfigResource::Topic(topic.clone()), &[change]).await?;
    }
    Ok(())
}

/// Milliseconds of CPU in a second in which nobody asks for anything.
async fn idle_cpu(large: &Contender, window: Duration) -> Result<f64> {
    let before = cpu_seconds(large.process_id)?;
    Env::real().sleep(window).await;
    Ok((cpu_seconds(large.process_id)? - before) * 1e3 / window.as_secs_f64())
}
