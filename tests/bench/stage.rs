//! A whole run: both brokers are started and warmed, scenarios follow each other, and within one the contenders take
//! turns, so that whatever else the machine does meets all of them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_env::Env;
use towpath_tests::folder::Folder;
use towpath_tests::mirroring::ends;
use towpath_tests::process::output_of;

use super::contender::{Contender, Settings};
use super::cores::on_broker_cores;
use super::load::batches::Batches;
use super::load::closed::Closed;
use super::load::fetch::Reader;
use super::options::RunOptions;
use super::report::text;
use super::results::{FORMAT, Machine, Measured, Pinned, Round, Run, Setup, Who};
use super::scenarios::Scenario;
use super::turn::{Sizes, Turn};

const PARTITIONS: i32 = 6;
const WARM_TOPIC: &str = "warm-up";
const ASK_MAX: Duration = Duration::from_secs(30);

/// What stands while scenarios come and go.
struct Stage {
    towpath: Contender,
    kafka: Contender,
    settings: Settings,
    sizes: Sizes,
    pinned: Option<Pinned>,
    folder: Folder,
}

/// Runs what the options ask for; says what it measures while it does.
pub async fn run(options: &RunOptions) -> Result<Run> {
    let scenarios = options.scenarios()?;
    let env = Env::real();
    let (settings, sizes, pinned) = (options.brokers.settings(), options.sizes(), options.brokers.pinned());
    let folder = Folder::new("towpath-bench-")?;
    let machine = machine(folder.path()).await?;
    let (towpath, kafka) = on_broker_cores(pinned.as_ref(), async || {
        let (data, storage) = (folder.path().join("towpath"), options.storage.iter().cloned().collect());
        let towpath = Contender::towpath(&settings, &data, &storage).await?;
        Ok((towpath, Contender::kafka(&settings).await?))
    })
    .await?;
    let setup = setup(options, pinned.clone()).await?;
    println!("{}", text::heading(&machine, &setup));
    let mut stage = Stage { towpath, kafka, settings, sizes, pinned, folder };
    for contender in [&stage.kafka, &stage.towpath] {
        warm(contender, sizes.warm_mb).await?;
    }
    let mut measured = Vec::new();
    for scenario in scenarios {
        let of_scenario = stage.measure(scenario, options.rounds()).await;
        measured.push(of_scenario.with_context(|| format!("scenario {}", scenario.name))?);
    }
    stage.towpath.stop().await?;
    stage.kafka.stop().await?;
    let seconds = env.elapsed().as_secs_f64();
    let started_ms = env.now_ms() - env.elapsed().as_millis() as i64;
    Ok(Run { format: FORMAT, started_ms, seconds, machine, setup, scenarios: measured })
}

impl Stage {
    async fn measure(&mut self, scenario: &'static Scenario, rounds: usize) -> Result<Measured> {
        println!("\n{}: {}", scenario.name, scenario.title);
        let (env, mut told) = (Env::real(), Vec::new());
        for round in 1..=rounds {
            // Who begins changes, too.
            for place in 0..scenario.who.len() {
                let who = scenario.who[(place + round - 1) % scenario.who.len()];
                let mut turn = self.turn(scenario.name, who, round);
                let values = (scenario.run)(&mut turn).await;
                let values = values.with_context(|| format!("{}, round {round}", who.title()))?;
                println!("  {}", text::round(scenario.metrics, who, round, &values));
                told.push(Round { who, round, values });
            }
        }
        Ok(Measured {
            name: scenario.name.to_owned(),
            title: scenario.title.to_owned(),
            about: scenario.about.to_owned(),
            seconds: env.elapsed().as_secs_f64(),
            metrics: scenario.metrics.to_vec(),
            rounds: told,
        })
    }

    fn turn(&mut self, scenario: &'static str, who: Who, round: usize) -> Turn<'_> {
        let contender = match who {
            Who::Towpath => Some(&mut self.towpath),
            Who::Kafka | Who::KafkaFsync => Some(&mut self.kafka),
            Who::Device => None,
        };
        Turn {
            who,
            round,
            scenario,
            contender,
            settings: &self.settings,
            sizes: self.sizes,
            pinned: self.pinned.as_ref(),
            scratch: self.folder.path(),
        }
    }
}

/// Writes and reads before anything counts: the JVM compiles what is hot, both touch their files.
async fn warm(contender: &Contender, mb: u64) -> Result<()> {
    let batches = Batches::new(500, 128 << 10)?;
    let client = &contender.client;
    let new = towpath_wire::client::admin::NewTopic::new(WARM_TOPIC, PARTITIONS);
    towpath_wire::client::admin::create_topic(client, new).await?;
    let load = Closed {
        topic: WARM_TOPIC,
        partitions: PARTITIONS,
        per_request: 1,
        batches: &batches,
        bytes: mb * 1_000_000,
        limit: Duration::MAX,
    };
    load.write(client).await.context("warm up")?;
    let ends = ends(client, WARM_TOPIC).await?;
    let positions = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    Reader::new(client, WARM_TOPIC, positions).await?.read_to(&ends).await?;
    towpath_wire::client::admin::delete_topics(client, &[WARM_TOPIC]).await?;
    contender.quiet().await.map(drop)
}

async fn setup(options: &RunOptions, pinned: Option<Pinned>) -> Result<Setup> {
    let brokers = &options.brokers;
    let store = brokers.store.as_deref().and_then(|url| url.split_once("://")).map_or("file", |url| url.0);
    let java = ask("java", &["--version"]).await?;
    Ok(Setup {
        kafka: brokers.kafka.clone(),
        java: java.lines().next().unwrap_or_default().to_owned(),
        towpath: env!("CARGO_PKG_VERSION").to_owned(),
        wal: brokers.wal.clone(),
        store: store.to_owned(),
        rounds: options.rounds(),
        quick: options.quick,
        pinned,
        warm_mb: options.sizes().warm_mb,
        storage: options.storage.iter().cloned().collect(),
    })
}

/// What this machine says of itself.
async fn machine(folder: &Path) -> Result<Machine> {
    let line = |path: &str, key: &str| -> Result<String> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        Ok(line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned())
    };
    let memory_kib = line("/proc/meminfo", "MemTotal")?;
    let memory_kib: u64 = memory_kib.split(' ').next().unwrap_or_default().parse().context("MemTotal")?;
    let file_system = ask("df", &["--output=fstype", &folder.display().to_string()]).await?;
    let kernel = line("/proc/sys/kernel/osrelease", "")?;
    Ok(Machine {
        processor: line("/proc/cpuinfo", "model name")?,
        cores: std::thread::available_parallelism()?.get(),
        memory_mb: memory_kib * 1024 / 1_000_000,
        // What stands behind it is the distribution's.
        kernel: kernel.split('-').next().unwrap_or_default().to_owned(),
        file_system: file_system.lines().last().unwrap_or_default().trim().to_owned(),
    })
}

async fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    output_of(program, command, ASK_MAX).await
}
