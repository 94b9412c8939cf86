//! What a verb that needs no service has to say, before anything is printed.

use serde_json::Value;

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
