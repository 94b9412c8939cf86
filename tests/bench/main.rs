//! Produce and fetch of Towpath's broker beside Apache Kafka's, in one run: `tests/bench/run`.
//!
//! Both brokers run on this machine, one at a time is under load, and rounds alternate, so that whatever else the
//! machine does meets both. The client is Kafka's own (`ProducerPerformance`, `ConsumerPerformance`), the same
//! for both. A broker's CPU-seconds are its process's own (user and system, all threads), taken from the start of
//! the load until the broker is quiet again: what it does behind the acknowledgement (uploads, flushes) counts.
//!
//! Options: `--rounds N` (3), `--mb N` per round (256), `--codec NAME` (none), `--kafka VERSION` (4.1.1),
//! `--json`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the figures are this command's result")]

mod contender;
mod figures;
mod proc;

use anyhow::{Context, Result, bail};
use towpath_tests::kafka::Tools;

use contender::Contender;
use figures::{Round, Table};

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
    let (codec, kafka) = ("none".to_owned(), "4.1.1".to_owned());
    let mut options = Options { rounds: 3, mb: 256, codec, kafka, json: false };
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = options()?;
    let tools = Tools::of(&options.kafka).await?;
    let folder = tempfile::Builder::new().prefix("towpath-bench-").tempdir()?;
    let mut contenders = [
        Contender::kafka(&options.kafka).await.context("start Apache Kafka")?,
        Contender::towpath(folder.path()).await.context("start Towpath's broker")?,
    ];
    let mut tables: [Table; 2] = Default::default();
    for (contender, table) in contenders.iter_mut().zip(&mut tables) {
        contender.quiet().await?;
        table.idle_mb = contender.resident_mb()?;
    }
    // One unmeasured round: the JVM compiles what is hot, both touch their files.
    for contender in &mut contenders {
        contender.round(&tools, "warm-up", &Options { mb: 64, ..options.clone() }).await?;
    }
    for number in 1..=options.rounds {
        // Who begins changes, too.
        let order = if number % 2 == 1 { [0, 1] } else { [1, 0] };
        for index in order {
            let round: Round = contenders[index].round(&tools, &format!("round-{number}"), &options).await?;
            if !options.json {
                println!("{:<14} round {number}: {round}", contenders[index].name());
            }
            tables[index].rounds.push(round);
        }
    }
    for (contender, table) in contenders.iter_mut().zip(&mut tables) {
        table.loaded_mb = contender.resident_mb()?;
    }
    let [kafka, towpath] = &tables;
    if options.json {
        println!("{}", figures::json(kafka, towpath));
    } else {
        println!("\n{}", figures::summary(kafka, towpath));
    }
    for contender in contenders {
        contender.stop().await?;
    }
    Ok(())
}
