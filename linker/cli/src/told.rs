//! What a verb that needs no service has to say, before anything is printed.

use serde_json::Value;

use crate::failure::{Ended, Failure};
use crate::output::Output;

/// A result for people and for scripts, and the exit code that goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// For people: the verdict first, the next command last.
    pub text: String,
    /// The same for scripts, without its schema.
    pub document: Value,
    /// The process's exit code.
    pub exit_code: u8,
}

/// Text of a file that somebody else may have written, with nothing in it that steers a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Where the result of `verb` goes, and how it ended.
pub fn tell(verb: &str, json: bool, told: anyhow::Result<Told>) -> (Output, Ended) {
    let output = Output::new(verb, json);
    let ended = told.map_err(Failure::from).and_then(|told| {
        output.result(&told.text, &told.document)?;
        Ok(told.exit_code)
    });
    (output, ended)
}
