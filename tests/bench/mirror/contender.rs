//! One mirror with an empty target: Towpath's data path and broker, or MirrorMaker 2 and an Apache Kafka.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use towpath_env::Env;
use towpath_tests::clients::built;
use towpath_tests::daemon::Daemon;
use towpath_tests::kafka::{Kafka, KafkaOptions, Tool};
use towpath_tests::mirroring::{connect, ends};
use towpath_tests::process::{Output, Process};
use towpath_tests::wait;
use towpath_wire::client::Client;

use super::load::{TOPIC, Written};
use super::proc::{cpu_seconds, resident_mb};

/// In the order of the figures.
pub const NAMES: [&str; 2] = ["MirrorMaker 2", "Towpath"];

const MIRROR_MAX: Duration = Duration::from_secs(600);
/// A target that uses less than this much of one core is quiet.
const QUIET_SHARE: f64 = 0.05;
const QUIET_WINDOW: Duration = Duration::from_secs(1);

/// Figures of one round. MB are 10^6 bytes of values, before compression.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub mb_s: f64,
    pub linker_cpu_s_per_gb: f64,
    pub target_cpu_s_per_gb: f64,
    pub linker_resident_mb: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { mb_s, linker_cpu_s_per_gb, target_cpu_s_per_gb, linker_resident_mb } = self;
        write!(
            f,
            "{mb_s:.0} MB/s; linker {linker_cpu_s_per_gb:.2} CPU-s/GB, {linker_resident_mb:.0} MB resident; target \
             {target_cpu_s_per_gb:.2} CPU-s/GB"
        )
    }
}

/// A mirror that has just been started.
pub struct Contender {
    pub name: &'static str,
    linker: Process,
    target: Target,
    target_id: u32,
    bootstrap: String,
    /// What the topic is called there.
    topic: String,
    _folder: TempDir,
}

enum Target {
    Kafka(Kafka),
    Towpath(Daemon),
}

impl Contender {
    /// Towpath with its defaults.
    pub async fn towpath(source: &Kafka) -> Result<Contender> {
        let folder = tempfile::Builder::new().prefix("towpath-bench-").tempdir()?;
        let mut target = Daemon::broker("target", folder.path(), &[])?;
        target.start().await?;
        let target_id = target.running()?.id();
        let mut command = Command::new(built("bench_mirror")?);
        command.arg("link").arg(source.bootstrap()).arg(target.bootstrap());
        let log = Output::File(folder.path().join("link.log"));
        let linker = Process::spawn("link", command, &log)?;
        let bootstrap = target.bootstrap();
        let (name, topic) = (NAMES[1], TOPIC.to_owned());
        Ok(Contender {
            name,
            linker,
            target: Target::Towpath(target),
            target_id,
            bootstrap,
            topic,
            _folder: folder,
        })
    }

    /// MirrorMaker 2 with as many tasks as cores, batches as large as the source's, and nothing but the topic to
    /// care for.
    pub async fn mirror_maker(source: &Kafka, version: &str, codec: &str) -> Result<Contender> {
        let folder = tempfile::Builder::new().prefix("towpath-bench-").tempdir()?;
        let mut options = KafkaOptions::new(version);
        options.jvm = ["-Xmx1G", "-XX:+UseG1GC"].map(str::to_owned).to_vec();
        let mut target = Kafka::start_with(options).await?;
        let (bootstrap, target_id) = (target.bootstrap(), target.process_id(0)?);
        let file = folder.path().join("mm2.properties");
        std::fs::write(&file, properties(&source.bootstrap(), &bootstrap, codec))?;
        let path = file.display().to_string();
        let jvm = ["-Xmx1G", "-XX:+UseG1GC"];
        let command = source.tools().command_with(&jvm, Tool::MirrorMaker, &[&path]);
        let linker = Process::spawn("mm2", command, &Output::File(folder.path().join("mm2.log")))?;
        let (name, topic) = (NAMES[0], format!("source.{TOPIC}"));
        Ok(Contender {
            name,
            linker,
            target: Target::Kafka(target),
            target_id,
            bootstrap,
            topic,
            _folder: folder,
        })
    }

    /// From the first record at the target to the last.
    pub async fn measure(&mut self, written: &Written) -> Result<Figures> {
        let target = connect(&self.bootstrap).await?;
        let total: i64 = written.ends.iter().sum();
        let first = self.reach(&target, 1).await?;
        let (env, linker, ours) = (Env::real(), cpu_seconds(self.linker.id())?, cpu_seconds(self.target_id)?);
        let last = self.reach(&target, total).await?;
        let (seconds, linker_end) = (env.elapsed().as_secs_f64(), cpu_seconds(self.linker.id())?);
        let linker_resident_mb = resident_mb(self.linker.id())?;
        let bytes = written.bytes as f64 * (last - first) as f64 / total as f64;
        // What the target does behind the acknowledgement (uploads, flushes) counts.
        self.linker.kill().await?;
        let ours_end = self.quiet().await?;
        Ok(Figures {
            mb_s: bytes / 1e6 / seconds,
            linker_cpu_s_per_gb: (linker_end - linker) / (bytes / 1e9),
            target_cpu_s_per_gb: (ours_end - ours) / (bytes / 1e9),
            linker_resident_mb,
        })
    }

    /// Waits until the target holds `count` offsets; gives how many it holds.
    async fn reach(&self, target: &Client, count: i64) -> Result<i64> {
        wait::until(&format!("{} to mirror {count} offsets", self.name), MIRROR_MAX, async || {
            let held = ends(target, &self.topic).await.map_or(0, |ends| ends.iter().sum::<i64>());
            Ok((held >= count).then_some(held))
        })
        .await
    }

    async fn quiet(&self) -> Result<f64> {
        let env = Env::real();
        let mut before = cpu_seconds(self.target_id)?;
        loop {
            env.sleep(QUIET_WINDOW).await;
            let now = cpu_seconds(self.target_id)?;
            if now - before <= QUIET_SHARE * QUIET_WINDOW.as_secs_f64() || env.elapsed() > MIRROR_MAX {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Ends both.
    pub async fn stop(self) -> Result<()> {
        match self.target {
            Target::Kafka(mut kafka) => kafka.stop().await,
            Target::Towpath(mut daemon) => daemon.stop().await,
        }
    }
}

fn properties(source: &str, target: &str, codec: &str) -> String {
    format!(
        "clusters = source, target\nsource.bootstrap.servers = {source}\ntarget.bootstrap.servers = {target}\n\
         source->target.enabled = true\nsource->target.topics = {TOPIC}\ntarget->source.enabled = false\n\
         tasks.max = 2\nreplication.factor = 1\noffset-syncs.topic.replication.factor = 1\n\
         offset.storage.replication.factor = 1\nstatus.storage.replication.factor = 1\n\
         config.storage.replication.factor = 1\nsync.topic.acls.enabled = false\n\
         emit.heartbeats.enabled = false\nemit.checkpoints.enabled = false\n\
         dedicated.mode.enable.internal.rest = false\nconsumer.fetch.min.bytes = 131072\n\
         consumer.max.partition.fetch.bytes = 2097152\nconsumer.max.poll.records = 5000\n\
         producer.batch.size = 131072\nproducer.linger.ms = 10\nproducer.compression.type = {codec}\n"
    )
}
