//! Runs scenarios: all of them, or those whose names contain one of the arguments. `--jobs N` at once (4),
//! `--list` only names them.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "one line per scenario is what this command is for")]

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::process::ExitCode;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use towpath_env::Env;
use towpath_tests::kafka::Pool;
use towpath_tests::scenario::Case;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> Result<ExitCode> {
    let mut jobs = 4;
    let mut wanted = Vec::new();
    let mut list = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--jobs" => jobs = arguments.next().context("--jobs N")?.parse()?,
            "--list" => list = true,
            _ => wanted.push(argument),
        }
    }
    let mut cases = Case::all()?;
    cases.retain(|case| wanted.is_empty() || wanted.iter().any(|name| case.name.contains(name.as_str())));
    if list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    // The long ones first: none of them then runs alone at the end.
    let mut timed = cases.into_iter().map(|case| Ok((case.limit()?, case))).collect::<Result<Vec<_>>>()?;
    timed.sort_by_key(|(limit, _)| Reverse(*limit));
    let cases: VecDeque<Case> = timed.into_iter().map(|(_, case)| case).collect();
    let (queue, tally, pool) = (Mutex::new(cases), Mutex::new(Tally::default()), Pool::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().pop_front() else { return };
                    run(&case, &pool, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner();
    let skipped = if tally.skipped > 0 { format!(", {} skipped", tally.skipped) } else { String::new() };
    println!("scenarios: {} passed, {} failed{skipped}", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(case: &Case, pool: &Pool, tally: &Mutex<Tally>) {
    let env = Env::real();
    let outcome = match case.missing() {
        Ok(Some(program)) => {
            println!("skip {} (needs {program})", case.name);
            tally.lock().skipped += 1;
            return;
        }
        Ok(None) => run_alone(case, pool),
        Err(error) => Err(error),
    };
    let seconds = env.elapsed().as_secs_f64();
    match outcome {
        Ok(notes) => {
            let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
            println!("ok   {} {seconds:.1} s{notes}", case.name);
            tally.lock().passed += 1;
        }
        Err(error) => {
            println!("FAIL {} {seconds:.1} s\n  {}", case.name, format!("{error:#}").replace('\n', "\n  "));
            tally.lock().failed += 1;
        }
    }
}

/// A runtime of its own: what a case started ends with it.
fn run_alone(case: &Case, pool: &Pool) -> Result<Vec<String>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(case.run(pool))
}
