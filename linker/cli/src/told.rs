//! What a verb that needs no service has to say, before anything is printed.

use serde_json::Value;
use towpath_linker::operation::exit;

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

impl Told {
    /// A verdict that is not the one hoped for, as every other error: the last paragraph says what to do.
    fn failure(&self) -> Option<Failure> {
        if self.exit_code == exit::DONE {
            return None;
        }
        let failure = match self.text.rsplit_once("\n\n") {
            Some((message, fix)) if !self.text.contains("fix: ") => Failure::caller(message, fix),
            _ => Failure::told("caller", &self.text, self.exit_code),
        };
        Some(failure)
    }
}

/// Text of a file that somebody else may have written, with nothing in it that steers a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Where the result of `verb` goes, and how it ended.
pub fn tell(verb: &str, json: bool, told: anyhow::Result<Told>) -> (Output, Ended) {
    let output = Output::new(verb, json);
    let ended = told.map_err(Failure::from).and_then(|mut told| {
        if let Some(failure) = told.failure() {
            told.document["error"] = failure.document();
            told.document["exit_code"] = told.exit_code.into();
        }
        output.result(&told.text, &told.document)?;
        Ok(told.exit_code)
    });
    (output, ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(text: &str, exit_code: u8) -> Option<Value> {
        let told = Told { text: text.into(), document: json!({}), exit_code };
        told.failure().map(|failure| failure.document())
    }

    #[test]
    fn a_bad_verdict_is_an_error_with_message_and_fix_for_scripts() {
        assert_eq!(told("it holds\n\ntowpath evidence report", exit::DONE), None);
        let broken = told("x does not hold\nEntry 0 holds.\n\nAsk for it again.", exit::FAILED).unwrap();
        assert_eq!(broken["message"], "x does not hold\nEntry 0 holds.");
        assert_eq!(broken["fix"], "Ask for it again.");
        let plan = told("1 problem\n\np.yaml:1:1: unknown\n  fix: drop it", exit::FAILED).unwrap();
        assert_eq!((&plan["kind"], &plan["fix"]), (&json!("caller"), &json!("drop it")));
    }
}
