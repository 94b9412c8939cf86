//! The `towpath` command: the only place that knows both broker and linker.

#![forbid(unsafe_code)]

mod broker;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Moves a Kafka estate onto shared storage, one signal family at a time, and proves every step.
#[derive(Parser)]
#[command(name = "towpath", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the bundled Kafka-compatible broker
    Broker(broker::Arguments),
}

/// Nothing was changed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    log_to_stderr();
    let run = match verb {
        Verb::Broker(arguments) => broker::run(arguments),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// Errors are for people: what failed, why, and what to do, without a stack trace.
#[allow(clippy::print_stderr)]
fn tell(error: &anyhow::Error) {
    eprintln!("towpath: {error:#}");
}

/// Logs go to stderr; `TOWPATH_LOG` says which (`info` by default, `towpath_broker=debug` for more).
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TOWPATH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
