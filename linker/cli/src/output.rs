//! The only place that writes to the terminal: people's text or one JSON document to stdout, progress and errors
//! to stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::json;
use towpath_linker::operation::exit;

use crate::failure::Failure;
use crate::show;

/// A result behind its schema.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// Where a verb's result goes.
#[derive(Clone, Debug)]
pub struct Output {
    schema: String,
    json: bool,
    colours: bool,
    /// Nobody reads stdout any more.
    closed: Arc<AtomicBool>,
}

impl Output {
    /// The output of `verb`; with `json`, one document of schema `towpath/VERB/v1`.
    pub fn new(verb: &str, json: bool) -> Output {
        let colours = !json && std::io::stdout().is_terminal() && colours_wanted();
        Output { schema: format!("towpath/{verb}/v1"), json, colours, closed: Arc::default() }
    }

    /// Whether stdout shows colours.
    pub fn has_colours(&self) -> bool {
        self.colours
    }

    /// Whether a person watches stdout, so that it can be redrawn.
    pub fn is_live(&self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Whether the reader of stdout has gone: what is shown again and again ends then.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A result: `text` for people, or `document` (a struct) for scripts, behind its schema.
    ///
    /// # Errors
    /// Stdout cannot be written. A reader that has gone (`| head`) is no failure.
    pub fn result(&self, text: &str, document: &impl Serialize) -> Result<(), Failure> {
        match self.json {
            true => self.line(&self.document(document)?),
            false => self.line(show::trimmed(text).trim_end()),
        }
    }

    /// A failure: to stderr for people, as a document to stdout for scripts.
    pub fn failure(&self, failure: &Failure) {
        if !self.json {
            return note(&format!("towpath: {failure}"));
        }
        let document = json!({ "error": failure.document(), "exit_code": failure.exit_code });
        if let Ok(line) = self.document(&document) {
            // With stdout closed there is nobody to tell.
            let _ = self.line(&line);
        }
    }

    fn document(&self, body: &impl Serialize) -> Result<String, Failure> {
        let whole = Document { schema: &self.schema, body };
        serde_json::to_string(&whole).map_err(|error| Failure::told("bug", &error.to_string(), exit::UNKNOWN))
    }

    /// One line (or several) to stdout, at once.
    fn line(&self, text: &str) -> Result<(), Failure> {
        self.line_to(&mut std::io::stdout().lock(), text)
    }

    fn line_to(&self, stdout: &mut impl Write, text: &str) -> Result<(), Failure> {
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => Ok(written?),
        }
    }
}

/// One line to stderr: progress, hints, errors. Lost when nobody reads it.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `NO_COLOR` is honoured when it says anything (no-color.org).
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let output = Output::new("status", false);
        output.line_to(&mut Full(ErrorKind::StorageFull), "text").unwrap_err();
        assert!(!output.is_closed());
        output.line_to(&mut Full(ErrorKind::BrokenPipe), "text").unwrap();
        assert!(output.is_closed());
    }

    #[test]
    fn a_document_names_its_schema_first() {
        let output = Output::new("status", true);
        let document = output.document(&json!({ "families": [] })).unwrap();
        assert_eq!(document, r#"{"schema":"towpath/status/v1","families":[]}"#);
    }
}
