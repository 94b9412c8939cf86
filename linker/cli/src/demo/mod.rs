//! `towpath demo`: the whole set-up and the main job on one machine, counted by the demo's own consumers.
//!
//! [`estate`]: both clusters. [`workload`], [`produce`]: the shop. [`consume`]: the groups' members. [`count`]: what
//! was lost or given twice. [`desk`]: the linking service, driven as a person drives it. [`story`]: what happens, on
//! the [`stage`]. [`report`]: what is told.

mod consume;
mod count;
mod desk;
mod estate;
mod produce;
mod report;
mod stage;
mod story;
mod workload;

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use clap::Args;
use towpath_env::{Env, signal};
use towpath_linker::operation::exit;

use estate::{Estate, GROUPS, PREFIX, TOPICS};
use report::{DemoReport, Telling};
use stage::Stage;

use crate::failure::Ended;
use crate::output::Output;

/// Arguments of `towpath demo`.
#[derive(Args)]
pub struct Arguments {
    /// A real Kafka as source, instead of the embedded stand-in
    #[arg(long, value_name = "HOST:PORT")]
    legacy: Option<String>,
    /// Print one JSON document and ask nothing
    #[arg(long)]
    json: bool,
    /// Do not ask before something is created on the legacy cluster
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    /// Where the result goes.
    pub fn output(&self) -> Output {
        Output::new("demo", self.json)
    }
}

/// Runs the demo and cleans up behind it, whatever happens. Exit code 1 unless all holds.
///
/// # Errors
/// It could not be run to its end.
pub fn run(arguments: &Arguments, output: &Output) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let telling = Telling::new(arguments.json);
    let report = runtime.block_on(perform(arguments, &telling))?;
    let failures = report.failures();
    let verdict = match failures.as_slice() {
        [] => "Everything holds.".to_owned(),
        failures => format!("Does not hold: {}.", failures.join("; ")),
    };
    let text = format!("\n{}\n\n{verdict} ({:.0} s)", report.table(), report.seconds);
    output.result(&text, &report)?;
    Ok(if failures.is_empty() { exit::DONE } else { exit::FAILED })
}

async fn perform(arguments: &Arguments, telling: &Telling) -> Result<DemoReport> {
    let env = Env::real();
    let legacy = arguments.legacy.as_deref();
    let estate = tokio::select! {
        estate = Estate::start(legacy, &env) => estate?,
        stop = interrupted() => return Err(stop),
    };
    if let Some(address) = legacy {
        tokio::select! {
            answer = ask(arguments, address, &estate) => answer?,
            stop = interrupted() => return Err(stop),
        }
    }
    let failed = estate.failed();
    let mut stage = Stage::new(estate, env);
    let outcome = tokio::select! {
        failure = failed => Err(failure.into()),
        outcome = story::tell(&mut stage, telling, legacy) => outcome,
        stop = interrupted() => Err(stop),
    };
    if outcome.is_err() {
        telling.step("stops, and cleans up");
    }
    let cleaned = stage.close().await;
    let report = outcome?;
    cleaned?;
    Ok(report)
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() -> anyhow::Error {
    match signal::shutdown().await {
        Ok(()) => anyhow::anyhow!("interrupted"),
        Err(error) => anyhow::Error::new(error).context("cannot listen to signals"),
    }
}

/// Nothing is created on a cluster of somebody else without a yes.
async fn ask(arguments: &Arguments, address: &str, estate: &Estate) -> Result<()> {
    if arguments.yes || arguments.json {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("the demo writes to {address} and nobody is here to be asked\nfix: give --yes");
    }
    let left = estate.names_at_source().await?;
    let left = match left.as_slice() {
        [] => String::new(),
        names => format!(", after deleting what an earlier demo left ({})", names.join(", ")),
    };
    let question = format!(
        "The demo will create {} topics and {} groups on {address} (cluster {}){left}, write some 100,000 records\n\
         to them, and delete all of it at its end. Every name begins with {PREFIX}.\nGo on? [y/N] ",
        TOPICS.len(),
        GROUPS.len(),
        estate.source_id(),
    );
    let (sender, answer) = tokio::sync::oneshot::channel();
    // A thread that nobody waits for: who interrupts instead of answering does not have to press a key as well.
    std::thread::spawn(move || sender.send(answered(&question)));
    let answer = answer.await?.context("cannot read the answer")?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was done on {address}"),
    }
}

fn answered(question: &str) -> std::io::Result<String> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    drop(stdout);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}
