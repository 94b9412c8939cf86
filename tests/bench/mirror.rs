//! Mirroring by Towpath beside MirrorMaker 2, in one run: `tests/bench/run-mirror`.
//!
//! One source Kafka with a topic of six partitions (500-byte records in batches of 128 KB). Each round mirrors all
//! of it into an empty target: Towpath's data path (this binary's `link`, what `towpath serve` runs for a family,
//! without diff and groups) into `towpath broker`, and MirrorMaker 2 into another Apache Kafka of the source's
//! version. Rounds alternate. Time and CPU-seconds (user and system, all threads) run from the first record at the
//! target to the last, so that the start of a JVM counts for nobody; a target's CPU also until it is quiet again.
//!
//! Options: `--rounds N` (3), `--mb N` (1000), `--codec NAME` (none), `--kafka VERSION` (3.9.1), `--json`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the figures are this command's result")]

#[path = "mirror/contender.rs"]
mod contender;
#[path = "mirror/load.rs"]
mod load;
#[path = "proc.rs"]
mod proc;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use towpath_linker::config::Limits;
use towpath_tests::kafka::{Kafka, KafkaOptions};
use towpath_tests::mirroring::{Link, LinkOptions, connect};

use contender::{Contender, Figures};
use load::TOPIC;

/// What to measure.
#[derive(Clone, Debug)]
struct Options {
    rounds: usize,
    mb: u64,
    codec: String,
    kafka: String,
    json: bool,
}

fn options() -> Result<Options> {
    let (codec, kafka) = ("none".to_owned(), "3.9.1".to_owned());
    let mut options = Options { rounds: 3, mb: 1_000, codec, kafka, json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--rounds" => options.rounds = value()?.parse()?,
            "--mb" => options.mb = value()?.parse()?,
            "--codec" => options.codec = value()?,
            "--kafka" => options.kafka = value()?,
            "--json" => options.json = true,
            other => bail!("unknown option {other}; fix: --rounds, --mb, --codec, --kafka, --json"),
        }
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, source, target] = arguments.as_slice()
        && verb == "link"
    {
        return link(source, target).await;
    }
    let options = options()?;
    let mut source_options = KafkaOptions::new(&options.kafka);
    source_options.jvm = ["-Xmx1G", "-XX:+UseG1GC"].map(str::to_owned).to_vec();
    let source = Kafka::start_with(source_options).await?;
    let written = load::write(&source.bootstrap(), options.mb, &options.codec).await?;
    let mut figures: [Vec<Figures>; 2] = Default::default();
    for number in 0..=options.rounds {
        let order = if number % 2 == 1 { [0, 1] } else { [1, 0] };
        for index in order {
            let mut contender = match index {
                0 => Contender::mirror_maker(&source, &options.kafka, &options.codec).await?,
                _ => Contender::towpath(&source).await?,
            };
            let measured = contender.measure(&written).await.context(contender.name)?;
            contender.stop().await?;
            // The first round warms the source's page cache and is not counted.
            if number > 0 {
                if !options.json {
                    println!("{:<14} round {number}: {measured}", contender::NAMES[index]);
                }
                figures[index].push(measured);
            }
        }
    }
    tell(&options, &figures);
    Ok(())
}

/// The data path alone, as a process of its own, until SIGTERM.
async fn link(source: &str, target: &str) -> Result<()> {
    let (source, target) = (connect(source).await?, connect(target).await?);
    let options = LinkOptions { limits: Limits::default(), ..LinkOptions::default() };
    let link = Link::start_with(options, &source, &target, &[TOPIC]).await?;
    signal(SignalKind::terminate())?.recv().await;
    link.stop().await
}

fn tell(options: &Options, [maker, towpath]: &[Vec<Figures>; 2]) {
    type Row = (&'static str, fn(&Figures) -> f64);
    let rows: [Row; 6] = [
        ("mb_s", |figures| figures.mb_s),
        ("mb_per_linker_cpu_s", |figures| 1e3 / figures.linker_cpu_s_per_gb),
        ("linker_cpu_s_per_gb", |figures| figures.linker_cpu_s_per_gb),
        ("target_cpu_s_per_gb", |figures| figures.target_cpu_s_per_gb),
        ("both_cpu_s_per_gb", |figures| figures.linker_cpu_s_per_gb + figures.target_cpu_s_per_gb),
        ("linker_resident_mb", |figures| figures.linker_resident_mb),
    ];
    if !options.json {
        println!("\n{:<24}{:>14}{:>10}{:>8}", "median", "MirrorMaker 2", "Towpath", "ratio");
    }
    let mut document = Value::Null;
    for (name, of) in rows {
        let (theirs, ours) = (median(maker, of), median(towpath, of));
        document[name] = json!({ "mirror_maker": theirs, "towpath": ours, "ratio": ours / theirs });
        if !options.json {
            println!("{name:<24}{theirs:>14.1}{ours:>10.1}{:>8.2}", ours / theirs);
        }
    }
    if options.json {
        println!("{document}");
    }
}

fn median(figures: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
