//! What a verb says when it fails: one line with what failed, one with what to do, and an exit code.

use serde_json::{Value, json};
use towpath_linker::error::LinkerError;
use towpath_linker::operation::exit;

/// How a verb ended: an exit code, or why it failed.
pub type Ended = Result<u8, Failure>;

/// A verb that failed. Exit codes are those of `towpath_linker::operation::exit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault: `caller`, `source`, `target`, `store`, `service` or `bug`.
    pub kind: String,
    /// What failed.
    pub message: String,
    /// What to do.
    pub fix: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl Failure {
    /// The caller asked for something that cannot be; nothing has changed.
    pub fn caller(message: impl Into<String>, fix: impl Into<String>) -> Failure {
        Failure {
            kind: "caller".into(),
            message: message.into(),
            fix: Some(fix.into()),
            exit_code: exit::FAILED,
        }
    }

    /// From a text that may end in `fix: …`, on a line of its own or behind a semicolon.
    pub fn told(kind: &str, text: &str, exit_code: u8) -> Failure {
        // Of several problems, each with its fix, the whole is the message.
        let split = match text.matches("fix: ").count() {
            1 => text.split_once("\nfix: ").or_else(|| text.split_once("; fix: ")),
            _ => None,
        };
        let (message, fix) = match split {
            Some((message, fix)) => (message, Some(fix.to_owned())),
            None => (text, None),
        };
        Failure { kind: kind.into(), message: message.into(), fix, exit_code }
    }

    /// The error part of a `--json` document. It always has a fix: of several problems each line has its own.
    pub fn document(&self) -> Value {
        let fix = self.fix.as_deref().unwrap_or(match self.message.contains("fix: ") {
            true => "do what each line of the message says",
            false => "see `towpath status` and the service's log",
        });
        json!({ "kind": self.kind, "message": self.message, "fix": fix })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "\nfix: {fix}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => match error.downcast_ref::<LinkerError>() {
                Some(linker) => Failure::told(linker.kind().as_str(), &format!("{error:#}"), exit::FAILED),
                None => Failure::told("caller", &format!("{error:#}"), exit::FAILED),
            },
        }
    }
}

impl From<LinkerError> for Failure {
    fn from(error: LinkerError) -> Failure {
        let (message, fix) = error.told();
        let kind = error.kind().as_str().into();
        Failure { kind, message, fix: Some(fix), exit_code: exit::FAILED }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::told("caller", &error.to_string(), exit::FAILED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fix_is_told_apart_and_several_problems_stay_together() {
        let one = Failure::told("caller", "no such family\nfix: towpath status", 1);
        assert_eq!((one.message.as_str(), one.fix.as_deref()), ("no such family", Some("towpath status")));
        let behind = Failure::told("caller", "p.yaml:1:1: unknown field; fix: drop it", 1);
        assert_eq!(behind.fix.as_deref(), Some("drop it"));
        let two = Failure::told("caller", "p.yaml:1:1: x; fix: a\np.yaml:2:1: y; fix: b", 1);
        assert_eq!(two.document()["fix"], "do what each line of the message says");
        assert_eq!((two.fix, two.message.lines().count()), (None, 2));
    }

    #[test]
    fn a_failure_survives_the_way_through_anyhow() {
        let failure = Failure { exit_code: 7, ..Failure::caller("a", "b") };
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
    }
}
