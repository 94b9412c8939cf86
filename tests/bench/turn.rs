//! One contender's turn in one round of one scenario, and what all scenarios measure of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_env::Env;
use towpath_tests::mirroring::ends;
use towpath_wire::client::Client;
use towpath_wire::client::admin::{NewTopic, create_topic, delete_topics};

use super::contender::{Contender, DELETE, Settings};
use super::load::batches::Batches;
use super::load::closed::Closed;
use super::memory;
use super::proc::cpu_seconds;
use super::results::{Pinned, Values, Who};
use super::statistics::Latency;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Written and read before anything is measured.
    pub warm_mb: u64,
    /// A closed load, and what lies there to be caught up with.
    pub bulk_mb: u64,
    /// An open load.
    pub paced: Duration,
    /// A broker that is slower than this writes less in a closed load.
    pub closed_max: Duration,
    /// Where there are many.
    pub partitions_many: i32,
    /// Where there are many, of ten partitions each.
    pub topics_many: usize,
    /// How long nothing is asked of a broker to see what it does by itself: beyond the intervals of its own work.
    pub idle: Duration,
}

impl Sizes {
    /// A JVM is warm behind 2 GB.
    pub const FULL: Sizes = Sizes {
        warm_mb: 2048,
        bulk_mb: 1000,
        paced: Duration::from_secs(8),
        closed_max: Duration::from_secs(10),
        partitions_many: 1000,
        topics_many: 1000,
        idle: Duration::from_secs(60),
    };
    pub const QUICK: Sizes = Sizes {
        warm_mb: 32,
        bulk_mb: 24,
        paced: Duration::from_millis(700),
        closed_max: Duration::from_secs(2),
        partitions_many: 100,
        topics_many: 50,
        idle: Duration::from_secs(2),
    };
}

/// What a scenario's function is given.
pub struct Turn<'a> {
    pub who: Who,
    pub round: usize,
    pub scenario: &'static str,
    /// `None` for the device.
    pub contender: Option<&'a mut Contender>,
    pub settings: &'a Settings,
    pub sizes: Sizes,
    pub pinned: Option<&'a Pinned>,
    /// In the file system that the brokers write to.
    pub scratch: &'a Path,
}

/// What a load cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU-seconds of the broker's process, until it was quiet again.
    pub broker_cpu_s: f64,
    /// How much of a core this process used during the load. Near 1, the client was the limit.
    pub client_share: f64,
    /// Peak of the broker's resident memory.
    pub peak_mb: f64,
    /// Requests to the object store without deletions; `None` of Kafka.
    pub object_requests: Option<f64>,
}

/// A load under way.
pub struct Meter {
    env: Env,
    broker_cpu_s: f64,
    client_cpu_s: f64,
    object_requests: Option<f64>,
}

impl Turn<'_> {
    pub fn contender(&self) -> Result<&Contender> {
        self.contender.as_deref().context("the device is no broker")
    }

    pub fn client(&self) -> Result<&Client> {
        Ok(&self.contender()?.client)
    }

    /// This turn's own topic.
    pub fn topic(&self) -> String {
        format!("{}-{}-{}", self.scenario, self.who.slug(), self.round)
    }

    /// Creates a topic, synced before each acknowledgement where that is what is measured.
    pub async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let mut new = NewTopic::new(topic, partitions);
        if self.who == Who::KafkaFsync {
            new = new.with_config("flush.messages", "1");
        }
        create_topic(self.client()?, new).await.with_context(|| format!("create {topic}"))
    }

    /// Deletes it, so that a run does not fill the disk.
    pub async fn delete(&self, topic: &str) -> Result<()> {
        let outcomes = delete_topics(self.client()?, &[topic]).await?;
        for outcome in outcomes.into_values() {
            outcome.with_context(|| format!("delete {topic}"))?;
        }
        Ok(())
    }

    /// A topic that all rounds of the scenario read, filled in the first one; gives its name and ends.
    pub async fn filled(&self, partitions: i32, batches: &Batches) -> Result<(String, Vec<i64>)> {
        let topic = format!("{}-{}", self.scenario, self.who.slug());
        if self.round == 1 {
            self.create(&topic, partitions).await?;
            self.fill(&topic, partitions, batches).await?;
        }
        let ends = ends(self.client()?, &topic).await?;
        Ok((topic, ends))
    }

    /// Writes a bulk, however long it takes.
    pub async fn fill(&self, topic: &str, partitions: i32, batches: &Batches) -> Result<()> {
        self.fill_with(topic, partitions, batches, self.sizes.bulk_mb * 1_000_000).await
    }

    /// Writes so many bytes of values, however long it takes.
    pub async fn fill_with(&self, topic: &str, partitions: i32, batches: &Batches, bytes: u64) -> Result<()> {
        let limit = Duration::MAX;
        let load = Closed { topic, partitions, per_request: 1, batches, bytes, limit };
        load.write(self.client()?).await.map(drop)
    }

    /// Waits until the broker is quiet and the disk has what others left, then begins to measure.
    pub async fn meter(&self) -> Result<Meter> {
        let contender = self.contender()?;
        contender.quiet().await?;
        memory::settle(self.scratch).await?;
        memory::reset_peak(contender.process_id)?;
        Ok(Meter {
            object_requests: requests(contender).await?,
            broker_cpu_s: cpu_seconds(contender.process_id)?,
            client_cpu_s: cpu_seconds(std::process::id())?,
            env: Env::real(),
        })
    }
}

impl Meter {
    /// The load is over: what it cost.
    pub async fn end(self, turn: &Turn<'_>) -> Result<Cost> {
        let contender = turn.contender()?;
        let client_cpu_s = cpu_seconds(std::process::id())? - self.client_cpu_s;
        let client_share = client_cpu_s / self.env.elapsed().as_secs_f64();
        let broker_cpu_s = contender.quiet().await? - self.broker_cpu_s;
        let object_requests = match (requests(contender).await?, self.object_requests) {
            (Some(after), Some(before)) => Some(after - before),
            _ => None,
        };
        let peak_mb = memory::peak_mb(contender.process_id)?;
        Ok(Cost { broker_cpu_s, client_share, peak_mb, object_requests })
    }
}

async fn requests(contender: &Contender) -> Result<Option<f64>> {
    let by_kind: Option<BTreeMap<String, f64>> = contender.object_requests().await?;
    // Deletions follow minutes later: these are about what other turns wrote.
    let sum = |by_kind: BTreeMap<String, f64>| {
        by_kind.iter().filter(|(kind, _)| *kind != DELETE).map(|(_, count)| count).sum()
    };
    Ok(by_kind.map(sum))
}

/// Figures by key.
pub fn values<const N: usize>(figures: [(&str, f64); N]) -> Values {
    figures.map(|(key, value)| (key.to_owned(), value)).into()
}

/// A latency's percentiles, under keys that begin with `prefix`.
pub fn latency_values(prefix: &str, milliseconds: Vec<f64>) -> Values {
    let latency = Latency::of(milliseconds);
    let figures = [
        ("p50_ms", latency.p50),
        ("p99_ms", latency.p99),
        ("p999_ms", latency.p999),
        ("max_ms", latency.max),
    ];
    figures.map(|(key, value)| (format!("{prefix}{key}"), value)).into()
}
