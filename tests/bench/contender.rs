//! A broker that is measured: Apache Kafka as its distribution tunes it, or Towpath's with its defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use towpath_env::Env;
use towpath_tests::daemon::{Daemon, get};
use towpath_tests::kafka::{Kafka, KafkaOptions};
use towpath_tests::mirroring::ends;
use towpath_tests::wait;
use towpath_wire::client::Client;

use super::load;
use super::proc::cpu_seconds;

/// A broker that uses less than this much of one core is quiet.
const QUIET_SHARE: f64 = 0.03;
const QUIET_WINDOW: Duration = Duration::from_millis(500);
/// Then it is taken as it is.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// `segment_age_max_ms` is a minute.
const UPLOADED_MAX: Duration = Duration::from_secs(120);
/// A gigabyte to look through.
const START_MAX: Duration = Duration::from_secs(120);

/// How brokers are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Version of Apache Kafka.
    pub kafka: String,
    /// `--wal` of Towpath.
    pub wal: String,
    /// `--store` of Towpath, if not its data folder.
    pub store: Option<String>,
}

/// How a broker came to its end.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// SIGTERM.
    Stopped,
    /// SIGKILL.
    Killed,
}

/// A running broker.
pub struct Contender {
    pub bootstrap: String,
    pub process_id: u32,
    /// For topics and offsets.
    pub client: Client,
    /// Where its files are.
    pub folder: PathBuf,
    broker: Broker,
}

enum Broker {
    Kafka(Kafka),
    Towpath(Daemon),
}

impl Contender {
    /// Apache Kafka with the settings of its distribution's `server.properties`, and the options of the JVM that its
    /// start script gives.
    pub async fn kafka(settings: &Settings) -> Result<Contender> {
        let mut options = KafkaOptions::new(&settings.kafka);
        let shipped = [
            ("num.network.threads", "3"),
            ("num.io.threads", "8"),
            ("socket.send.buffer.bytes", "102400"),
            ("socket.receive.buffer.bytes", "102400"),
            ("offsets.topic.num.partitions", "50"),
            ("log.cleaner.backoff.ms", "15000"),
            ("log.cleaner.dedupe.buffer.size", "134217728"),
            ("log.retention.check.interval.ms", "300000"),
            ("log.retention.hours", "168"),
        ];
        for (key, value) in shipped {
            options = options.property(key, value);
        }
        let jvm = [
            "-Xmx1G",
            "-Xms1G",
            "-server",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-XX:+ExplicitGCInvokesConcurrent",
            "-Djava.awt.headless=true",
        ];
        options.jvm = jvm.map(str::to_owned).to_vec();
        let mut kafka = Kafka::start_with(options).await.context("start Apache Kafka")?;
        let (bootstrap, process_id, folder) = (kafka.bootstrap(), kafka.process_id(0)?, kafka.data_path(0));
        let client = load::connect(&bootstrap).await?;
        Ok(Contender { bootstrap, process_id, client, folder, broker: Broker::Kafka(kafka) })
    }

    /// Towpath's broker with its defaults, but for `storage` (keys of its configuration file).
    pub async fn towpath(
        settings: &Settings,
        folder: &Path,
        storage: &BTreeMap<String, u64>,
    ) -> Result<Contender> {
        std::fs::create_dir_all(folder)?;
        let mut arguments = vec!["--wal".to_owned(), settings.wal.clone()];
        if let Some(store) = &settings.store {
            // Each broker of a run has a part of the store to itself.
            let name = Env::real().uuid();
            arguments.extend(["--store".to_owned(), format!("{}/{name}", store.trim_end_matches('/'))]);
        }
        if !storage.is_empty() {
            let file = folder.join("broker.yaml");
            let keys: Vec<String> = storage.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            std::fs::write(&file, format!("storage: {{ {} }}\n", keys.join(", ")))?;
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let mut daemon = Daemon::broker("towpath", folder, &arguments)?;
        daemon.start().await.context("start Towpath's broker")?;
        let (bootstrap, process_id) = (daemon.bootstrap(), daemon.running()?.id());
        let client = load::connect(&bootstrap).await?;
        let folder = folder.to_owned();
        Ok(Contender { bootstrap, process_id, client, folder, broker: Broker::Towpath(daemon) })
    }

    /// Waits until the broker does next to nothing; gives its CPU-seconds so far.
    pub async fn quiet(&self) -> Result<f64> {
        let env = Env::real();
        let mut before = cpu_seconds(self.process_id)?;
        loop {
            env.sleep(QUIET_WINDOW).await;
            let now = cpu_seconds(self.process_id)?;
            if now - before <= QUIET_SHARE * QUIET_WINDOW.as_secs_f64() || env.elapsed() > QUIET_MAX {
                return Ok(now);
            }
            before = now;
        }
    }

    /// SIGKILL, and a start on the same data; gives the time until every partition of the topic has its end again.
    pub async fn kill_and_start(&mut self, topic: &str, expected: &[i64]) -> Result<Duration> {
        let env = match &mut self.broker {
            Broker::Kafka(kafka) => {
                kafka.kill(0).await?;
                let env = Env::real();
                kafka.start_again().await?;
                self.process_id = kafka.process_id(0)?;
                env
            }
            Broker::Towpath(daemon) => {
                daemon.kill().await?;
                let env = Env::real();
                daemon.start().await?;
                self.process_id = daemon.running()?.id();
                env
            }
        };
        self.client = load::connect(&self.bootstrap).await?;
        wait::until(&format!("{topic} to end at {expected:?}"), START_MAX, async || {
            Ok(ends(&self.client, topic).await.is_ok_and(|ends| ends == expected).then_some(()))
        })
        .await?;
        Ok(env.elapsed())
    }

    /// Ends Towpath's broker and starts it again on the same data; gives the time from the start of the process until
    /// it has told of so many topics.
    pub async fn start_until_told(&mut self, ended: Ended, topics: usize) -> Result<Duration> {
        let Broker::Towpath(daemon) = &mut self.broker else { bail!("of Towpath's broker only") };
        match ended {
            Ended::Stopped => daemon.stop().await?,
            Ended::Killed => daemon.kill().await?,
        }
        let env = Env::real();
        daemon.start().await?;
        self.process_id = daemon.running()?.id();
        self.client = load::connect(&self.bootstrap).await?;
        let told = self.client.metadata_all().await?.topics.len();
        let took = env.elapsed();
        ensure!(told >= topics, "it told of {told} topics, not {topics}");
        Ok(took)
    }

    /// The sum of a metric of Towpath's broker over its labels.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let Broker::Towpath(daemon) = &self.broker else { bail!("{name} is Towpath's") };
        daemon.metric(name, "").await
    }

    /// Requests to the object store so far, by what they were for; `None` of Kafka.
    pub async fn object_requests(&self) -> Result<Option<BTreeMap<String, f64>>> {
        let Broker::Towpath(daemon) = &self.broker else { return Ok(None) };
        let (_, text) = get(&daemon.http_address(), "/metrics").await?;
        Ok(Some(by_kind(&text)))
    }

    /// Waits until nothing waits for the object store any more, at most as long as a segment may wait and a little; of
    /// Kafka, until it is quiet.
    pub async fn uploaded(&self) -> Result<()> {
        if let Broker::Towpath(daemon) = &self.broker {
            wait::until("everything to be uploaded", UPLOADED_MAX, async || {
                let waiting = daemon.metric("towpath_broker_unuploaded_bytes", "").await?;
                Ok((waiting == 0.0).then_some(()))
            })
            .await?;
        }
        self.quiet().await.map(drop)
    }

    /// Stops it as its operator would.
    pub async fn stop(self) -> Result<()> {
        match self.broker {
            Broker::Kafka(mut kafka) => kafka.stop().await.context("stop Apache Kafka"),
            Broker::Towpath(mut daemon) => daemon.stop().await.context("stop Towpath's broker"),
        }
    }
}

/// What is counted as a deletion, whatever was deleted.
pub const DELETE: &str = "delete";

/// The values of the counter of object requests by what they were for; deletions by themselves.
fn by_kind(metrics: &str) -> BTreeMap<String, f64> {
    let series =
        metrics.lines().filter_map(|line| line.strip_prefix("towpath_broker_object_requests_total{"));
    let values = series.filter_map(|rest| {
        let (labels, value) = rest.split_once("} ")?;
        let label = |name: &str| {
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            labels.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next()
        };
        let kind = if label("verb") == Some(DELETE) { DELETE } else { label("kind")? };
        Some((kind.to_owned(), value.trim().parse::<f64>().ok()?))
    });
    let mut all = BTreeMap::new();
    for (kind, value) in values {
        *all.entry(kind).or_insert(0.0) += value;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_requests_are_read_by_kind_and_deletions_apart() {
        let text = "# HELP towpath_broker_object_requests_total x\n\
                    towpath_broker_object_requests_total{kind=\"segment\",verb=\"put\"} 7\n\
                    towpath_broker_object_requests_total{kind=\"segment\",verb=\"get\"} 2\n\
                    towpath_broker_object_requests_total{kind=\"segment\",verb=\"delete\"} 30\n\
                    towpath_broker_object_requests_total{kind=\"wal\",verb=\"put\"} 3\n\
                    towpath_broker_object_requests_total{kind=\"wal\",verb=\"delete\"} 1\n\
                    towpath_broker_object_failures_total{kind=\"wal\",verb=\"get\"} 9\n";
        let expected = [("delete", 31.0), ("segment", 9.0), ("wal", 3.0)];
        assert_eq!(by_kind(text), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    }
}
