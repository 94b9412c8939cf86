//! Towpath's broker beside Apache Kafka, in one run: `tests/bench/run`. `--help` tells the options, and
//! `docs/benchmarks.md` how it is measured.
//!
//! [`scenarios`] say what is compared, [`stage`] lets the contenders take turns, [`load`] holds the clients,
//! [`results`] is what is left behind, and [`report`] what people see of it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the figures are this command's result")]

mod contender;
mod cores;
mod device;
mod floor;
mod load;
mod memory;
mod options;
mod proc;
mod report;
mod requests;
mod results;
mod scenarios;
mod stage;
mod statistics;
mod turn;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use options::{Cli, RequestsOptions, RunOptions, Verb};
use requests::Table;
use results::Run;

// One thread: the clients have one core, and a reactor of their own would be one more to share it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.verb {
        None => compare(&cli.run).await,
        Some(Verb::Requests(options)) => tell_requests(&options).await,
        Some(Verb::Publish { results, requests }) => publish(&Run::read(&results)?, requests.as_deref()),
        Some(Verb::Replay { bootstrap, topic, record_bytes, length_ms }) => {
            let length = Duration::from_millis(length_ms);
            println!("{}", scenarios::replay_until(&bootstrap, &topic, record_bytes, length).await?);
            Ok(())
        }
    }
}

async fn compare(options: &RunOptions) -> Result<()> {
    let run = stage::run(options).await?;
    let json = options.json();
    run.write(&json)?;
    report::draw(&run, json.parent().unwrap_or(Path::new(".")))?;
    println!("{}\n\nwritten to {}, in {:.0} s", report::text::summary(&run), json.display(), run.seconds);
    if options.publish { publish(&run, None) } else { Ok(()) }
}

async fn tell_requests(options: &RequestsOptions) -> Result<()> {
    let table = requests::run(options).await?;
    println!("{}\n\nwritten to {}", report::text::aligned(&table.cells()), options.json.display());
    table.write(&options.json)
}

fn publish(run: &Run, requests: Option<&Path>) -> Result<()> {
    let table = requests.map(Table::read).transpose()?;
    report::page::publish(run, table.as_ref(), &towpath_tests::cache::repository())
}
