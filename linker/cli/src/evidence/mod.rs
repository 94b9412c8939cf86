//! `towpath evidence`: what was observed and decided, listed, exported, checked and made readable.

mod list;
mod moves;
mod report;
mod sentence;
#[cfg(test)]
mod tests;
mod verify;

use clap::Subcommand;

use crate::failure::Ended;
use crate::output::Output;
use crate::told;

pub use report::report;

/// What can be done with evidence.
#[derive(Subcommand)]
pub enum Verb {
    /// List what was observed and decided
    List(list::Arguments),
    /// Write a family's evidence to one file
    Export(list::ExportArguments),
    /// Check a bundle, offline
    Verify(verify::Arguments),
    /// Make a bundle into a page that a person can read
    Report(verify::ReportArguments),
}

/// Runs a verb.
pub fn run(verb: Verb) -> (Output, Ended) {
    match verb {
        Verb::List(arguments) => {
            crate::talk("evidence-list", arguments.talk.clone(), |out| list::run(arguments, out))
        }
        Verb::Export(arguments) => {
            crate::talk("evidence-export", arguments.talk.clone(), |out| list::export(arguments, out))
        }
        Verb::Verify(arguments) => told::tell("evidence-verify", arguments.json, verify::run(&arguments)),
        Verb::Report(arguments) => told::tell("evidence-report", arguments.json, verify::report(&arguments)),
    }
}
