//! The `towpath` command: the only place that knows both broker and linker.
//!
//! A verb's file parses its arguments, talks to the service through [`service::Api`], and hands text and document
//! to [`output::Output`]; what the text looks like is decided in `show`.

#![forbid(unsafe_code)]

mod broker;
mod demo;
mod evidence;
mod failure;
mod follow;
mod output;
mod plan;
mod service;
mod show;
mod told;
mod verbs;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::{Ended, Failure};
use output::Output;
use towpath_linker::operation::exit;

/// Data comes and goes in large pieces. The system's allocator gives them back to the kernel each time, and clearing
/// the pages that it gets anew costs more than what is done with them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    /// Do the whole job on this machine: mirror, compare, move groups there and back, and count
    Demo(demo::Arguments),
    /// Run the linking service and its HTTP API
    Serve(verbs::serve::Arguments),
    /// Check a plan's file, or show what it says
    #[command(subcommand)]
    Plan(plan::Verb),
    /// Put a plan into force: mirror its topics, declare its groups
    Link(verbs::link::Arguments),
    /// Show families, or one of them
    Status(verbs::status::Arguments),
    /// Compare both sides of a family through what the source holds now
    Diff(verbs::diff::Arguments),
    /// Move groups from source to target
    Cutover(verbs::moves::Arguments),
    /// Move groups from target back to source
    Rollback(verbs::moves::Arguments),
    /// Stop mirroring; groups stay where they are, fences are held
    Pause(verbs::pause::Arguments),
    /// Mirror again
    Resume(verbs::pause::ResumeArguments),
    /// Give up a group's way back to the source (the only verb without one)
    Complete(verbs::complete::Arguments),
    /// Give a link up while every group is on the source
    Cancel(verbs::pause::Arguments),
    /// Look offsets of one side up on the other
    #[command(subcommand)]
    Offsets(verbs::offsets::Verb),
    /// Look at the fences at the source, or release one
    #[command(subcommand)]
    Fence(verbs::fence::Verb),
    /// What was observed and decided: list, export, verify, read
    #[command(subcommand)]
    Evidence(evidence::Verb),
    /// Follow an operation that runs in the service
    Watch(verbs::watch::Arguments),
    /// Ask an operation to stop; obeyed until its record step
    Abort(verbs::watch::AbortArguments),
}

/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let verb = match Arguments::try_parse() {
        Ok(arguments) => arguments.verb,
        Err(error) => return misused(&error),
    };
    log_to_stderr(matches!(verb, Verb::Broker(broker::Arguments { verb: None, .. }) | Verb::Serve(_)));
    let (output, ended) = run(verb);
    let code = ended.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit_code
    });
    ExitCode::from(code)
}

/// Where the verb's result goes, and how it ended.
fn run(verb: Verb) -> (Output, Ended) {
    match verb {
        Verb::Broker(broker::Arguments { verb: Some(broker::Verb::Audit(arguments)), .. }) => {
            let output = Output::new("broker-audit", arguments.json);
            let ended = on_one_thread(broker::audit::run(arguments, &output));
            (output, ended)
        }
        Verb::Broker(arguments) => daemon("broker", arguments.json, || broker::run(arguments)),
        Verb::Demo(arguments) => {
            let output = arguments.output();
            let ended = demo::run(&arguments, &output);
            (output, ended)
        }
        Verb::Serve(arguments) => daemon("serve", arguments.json, || verbs::serve::run(arguments)),
        Verb::Plan(verb) => plan::run(verb),
        Verb::Link(arguments) => talk("link", arguments.talk.clone(), |out| verbs::link::run(arguments, out)),
        Verb::Status(arguments) => {
            talk("status", arguments.talk.clone(), |out| verbs::status::run(arguments, out))
        }
        Verb::Diff(arguments) => talk("diff", arguments.talk.clone(), |out| verbs::diff::run(arguments, out)),
        Verb::Cutover(arguments) => moved("cutover", arguments),
        Verb::Rollback(arguments) => moved("rollback", arguments),
        Verb::Pause(arguments) => plain("pause", arguments),
        Verb::Resume(arguments) => {
            talk("resume", arguments.plain.talk.clone(), |out| verbs::pause::resume(arguments, out))
        }
        Verb::Cancel(arguments) => plain("cancel", arguments),
        Verb::Complete(arguments) => {
            talk("complete", arguments.talk.clone(), |out| verbs::complete::run(arguments, out))
        }
        Verb::Offsets(verbs::offsets::Verb::Translate(arguments)) => {
            talk("offsets-translate", arguments.talk.clone(), |out| verbs::offsets::run(arguments, out))
        }
        Verb::Fence(verbs::fence::Verb::List(arguments)) => {
            talk("fence-list", arguments.talk.clone(), |out| verbs::fence::list(arguments, out))
        }
        Verb::Fence(verbs::fence::Verb::Release(arguments)) => {
            talk("fence-release", arguments.talk.clone(), |out| verbs::fence::release(arguments, out))
        }
        Verb::Evidence(verb) => evidence::run(verb),
        Verb::Watch(arguments) => {
            talk("watch", arguments.talk.clone(), |out| verbs::watch::run(arguments, out))
        }
        Verb::Abort(arguments) => {
            talk("abort", arguments.talk.clone(), |out| verbs::watch::abort(arguments, out))
        }
    }
}

/// Runs a daemon; how it ended is all that it has to say on stdout.
fn daemon(verb: &str, json: bool, run: impl FnOnce() -> Ended) -> (Output, Ended) {
    let output = Output::new(verb, json);
    let ended = run().and_then(|exit_code| {
        if json {
            output.result("", &serde_json::json!({ "exit_code": exit_code }))?;
        }
        Ok(exit_code)
    });
    (output, ended)
}

fn moved(verb: &'static str, arguments: verbs::moves::Arguments) -> (Output, Ended) {
    talk(verb, arguments.talk.clone(), |out| verbs::moves::run(verb, arguments, out))
}

fn plain(verb: &'static str, arguments: verbs::pause::Arguments) -> (Output, Ended) {
    talk(verb, arguments.talk.clone(), |out| verbs::pause::run(verb, arguments, out))
}

/// Runs a verb that talks to the service.
fn talk<F: Future<Output = Ended>>(
    verb: &str,
    talk: service::Talk,
    run: impl FnOnce(Output) -> F,
) -> (Output, Ended) {
    let output = talk.output(verb);
    let ended = on_one_thread(run(output.clone()));
    (output, ended)
}

fn on_one_thread(work: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// A wrong command line: clap's words for people, a document where scripts asked for one.
fn misused(error: &clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let words: Vec<String> = std::env::args().skip(1).collect();
    if help || !words.iter().any(|word| word == "--json") {
        // Prints to stdout or stderr as fits; with both closed there is nobody to tell.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { USAGE } else { exit::DONE });
    }
    let text = error.to_string();
    // The first paragraph says what is wrong, the rest how it is called.
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let message = message.join(" ").trim_start_matches("error: ").to_owned();
    let verb = verb_of(&words);
    let fix = format!("towpath {} --help", verb.join(" ")).replace("  ", " ");
    let name = if verb.is_empty() { "towpath".to_owned() } else { verb.join("-") };
    Output::new(&name, true).failure(&Failure { exit_code: USAGE, ..Failure::caller(message, fix) });
    ExitCode::from(USAGE)
}

/// The words of the command line that name a verb, as `["plan", "check"]`.
fn verb_of(words: &[String]) -> Vec<&str> {
    let (mut command, mut verb) = (Arguments::command(), Vec::new());
    for word in words {
        let Some(inner) = command.find_subcommand(word).cloned() else { break };
        command = inner;
        verb.push(word.as_str());
    }
    verb
}

/// Logs go to stderr; `TOWPATH_LOG` says which (`info` for daemons and `warn` for other verbs by default,
/// `towpath_broker=debug` for more).
fn log_to_stderr(daemon: bool) {
    let usual = if daemon { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("TOWPATH_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal() && output::colours_wanted();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_under_the_name_of_its_verb() {
        let verb = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            verb_of(&words).join("-")
        };
        assert_eq!(verb("plan check --json"), "plan-check");
        assert_eq!(verb("offsets translate views --json"), "offsets-translate");
        assert_eq!(
            (verb("link --json"), verb("lnk --json"), verb("--json")),
            ("link".into(), String::new(), String::new())
        );
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
