//! A broker under load: Apache Kafka as its distribution tunes it, or Towpath's broker with its defaults.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use towpath_env::Env;
use towpath_tests::daemon::Daemon;
use towpath_tests::kafka::{Kafka, KafkaOptions, Tool, Tools};
use towpath_tests::process::output_of;

use super::Options;
use super::figures::{Round, fetched, produced};
use super::proc::{cpu_seconds, resident_mb};

const RECORD_BYTES: u64 = 1_000;
const PARTITIONS: i32 = 6;
/// Records a second, and for how long, when latency is measured.
const PACED_RATE: u64 = 2_000;
const PACED_RECORDS: u64 = 20_000;
/// A load on two busy cores.
const LOAD_MAX: Duration = Duration::from_secs(300);
/// A broker that uses less than this much of one core is quiet.
const QUIET_SHARE: f64 = 0.03;
const QUIET_WINDOW: Duration = Duration::from_secs(1);
const QUIET_MAX: Duration = Duration::from_secs(60);

/// A running broker.
pub struct Contender {
    name: String,
    bootstrap: String,
    process_id: u32,
    broker: Broker,
}

enum Broker {
    Kafka(Kafka),
    Towpath(Daemon),
}

impl Contender {
    /// Apache Kafka with the JVM options of its own start script and its default threads.
    pub async fn kafka(version: &str) -> Result<Contender> {
        let mut options = KafkaOptions::new(version)
            .property("num.network.threads", "3")
            .property("num.io.threads", "8")
            .property("log.cleaner.backoff.ms", "15000")
            .property("log.retention.check.interval.ms", "300000");
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
        let mut kafka = Kafka::start_with(options).await?;
        let (bootstrap, process_id) = (kafka.bootstrap(), kafka.process_id(0)?);
        Ok(Contender {
            name: format!("Kafka {version}"),
            bootstrap,
            process_id,
            broker: Broker::Kafka(kafka),
        })
    }

    /// Towpath's broker with its defaults.
    pub async fn towpath(folder: &Path) -> Result<Contender> {
        let mut daemon = Daemon::broker("towpath", folder, &[])?;
        daemon.start().await?;
        let (bootstrap, process_id) = (daemon.bootstrap(), daemon.running()?.id());
        Ok(Contender { name: "Towpath".to_owned(), bootstrap, process_id, broker: Broker::Towpath(daemon) })
    }

    /// What it is called in the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its resident memory.
    pub fn resident_mb(&self) -> Result<f64> {
        resident_mb(self.process_id)
    }

    /// Waits until the broker does next to nothing; gives its CPU-seconds so far.
    pub async fn quiet(&self) -> Result<f64> {
        let env = Env::real();
        let mut before = cpu_seconds(self.process_id)?;
        while env.elapsed() < QUIET_MAX {
            env.sleep(QUIET_WINDOW).await;
            let now = cpu_seconds(self.process_id)?;
            if now - before <= QUIET_SHARE * QUIET_WINDOW.as_secs_f64() {
                return Ok(now);
            }
            before = now;
        }
        bail!("{} is still busy after {} s", self.name, QUIET_MAX.as_secs())
    }

    /// One topic: filled as fast as it goes, read from its beginning, then written to at a fixed pace.
    pub async fn round(&mut self, tools: &Tools, topic: &str, options: &Options) -> Result<Round> {
        let partitions = PARTITIONS.to_string();
        let create = [
            "--bootstrap-server",
            &self.bootstrap,
            "--create",
            "--topic",
            topic,
            "--partitions",
            &partitions,
        ];
        tools.run(Tool::Topics, &create).await?;
        let records = options.mb * 1_000_000 / RECORD_BYTES;
        let gb = (records * RECORD_BYTES) as f64 / 1e9;

        let start = self.quiet().await?;
        let said = self.produce(tools, topic, (records, -1), &options.codec).await?;
        let produce = produced(&said)?;
        let written = self.quiet().await?;
        let said = self.fetch(tools, topic, records).await?;
        let fetch_mb_s = fetched(&said)?;
        let read = self.quiet().await?;
        let said = self.produce(tools, topic, (PACED_RECORDS, PACED_RATE as i64), &options.codec).await?;
        let paced = produced(&said)?;
        Ok(Round {
            produce_mb_s: produce.mb_s,
            produce_cpu_s_per_gb: (written - start) / gb,
            fetch_mb_s,
            fetch_cpu_s_per_gb: (read - written) / gb,
            paced_p50_ms: paced.p50_ms,
            paced_p99_ms: paced.p99_ms,
        })
    }

    async fn produce(
        &self,
        tools: &Tools,
        topic: &str,
        (records, rate): (u64, i64),
        codec: &str,
    ) -> Result<String> {
        let (records, rate, size) = (records.to_string(), rate.to_string(), RECORD_BYTES.to_string());
        let (server, compression) =
            (format!("bootstrap.servers={}", self.bootstrap), format!("compression.type={codec}"));
        let arguments = [
            "--topic",
            topic,
            "--num-records",
            &records,
            "--record-size",
            &size,
            "--throughput",
            &rate,
            "--producer-props",
            &server,
            &compression,
            "acks=all",
            "batch.size=65536",
            "linger.ms=5",
        ];
        output_of("ProducerPerformance", client(tools, Tool::ProducerPerformance, &arguments), LOAD_MAX).await
    }

    async fn fetch(&self, tools: &Tools, topic: &str, records: u64) -> Result<String> {
        let records = records.to_string();
        let arguments = [
            "--bootstrap-server",
            &self.bootstrap,
            "--topic",
            topic,
            "--messages",
            &records,
            "--timeout",
            "60000",
        ];
        output_of("ConsumerPerformance", client(tools, Tool::ConsumerPerformance, &arguments), LOAD_MAX).await
    }

    /// Stops it as its operator would.
    pub async fn stop(self) -> Result<()> {
        match self.broker {
            Broker::Kafka(mut kafka) => kafka.stop().await.context("stop Apache Kafka"),
            Broker::Towpath(mut daemon) => daemon.stop().await.context("stop Towpath's broker"),
        }
    }
}

/// A client's JVM: room to compile well, little heap.
fn client(tools: &Tools, tool: Tool, arguments: &[&str]) -> Command {
    tools.command_with(&["-Xmx512m", "-XX:+UseSerialGC"], tool, arguments)
}
