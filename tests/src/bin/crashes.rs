//! Kills a broker under load at random moments and holds every acknowledgement against what is read afterwards:
//!
//! `crashes [--wal disk|object] [--store file|moto|seaweedfs] [--kills N] [--faults] [--seed N] [--rate N]
//! [--partitions N] [--folder DIR] [--json]`
//!
//! With `--folder` everything is kept there: the broker's data and log, and its store's.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this command is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use towpath_env::Env;
use towpath_tests::crash::{CrashSettings, run};
use towpath_tests::folder::Folder;
use towpath_tests::stores::StoreKind;

/// Progress is told after so many kills.
const TOLD_EVERY: usize = 10;

fn main() -> Result<ExitCode> {
    let mut settings = CrashSettings {
        wal: "disk".to_owned(),
        store: StoreKind::File,
        kills: 200,
        faults: false,
        seed: Env::real().random_u64() % 1_000_000,
        partitions: 6,
        rate: 1_000,
    };
    let (mut json, mut kept) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} VALUE"));
        match argument.as_str() {
            "--wal" => settings.wal = value()?,
            "--store" => settings.store = value()?.parse()?,
            "--kills" => settings.kills = value()?.parse()?,
            "--seed" => settings.seed = value()?.parse()?,
            "--rate" => settings.rate = value()?.parse()?,
            "--partitions" => settings.partitions = value()?.parse()?,
            "--faults" => settings.faults = true,
            "--folder" => kept = Some(PathBuf::from(value()?)),
            "--json" => json = true,
            other => bail!("no option {other}; fix: see the head of tests/src/bin/crashes.rs"),
        }
    }
    let temporary = Folder::new("towpath-crashes-")?;
    let folder = kept.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut told = 0;
    let progress = std::cell::RefCell::new(&mut told);
    let outcome = runtime.block_on(run(&settings, &folder, |outcome| {
        let mut told = progress.borrow_mut();
        if outcome.kills >= **told + TOLD_EVERY {
            **told = outcome.kills;
            eprintln!(
                "{} kills, {} acknowledged, {} lost",
                outcome.kills, outcome.acked, outcome.findings.lost
            );
        }
    }));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let log = std::fs::read_to_string(folder.join("broker.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            return Err(error.context(format!("seed {}", settings.seed)));
        }
    };
    match json {
        true => println!("{}", serde_json::to_string(&outcome)?),
        false => print!("{outcome}"),
    }
    Ok(if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
