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

    /// From a text that may end in `fix: …`, on a line of its own or behind a semicolon. A text without one gets the
    /// fix that is usual for its kind.
    pub fn told(kind: &str, text: &str, exit_code: u8) -> Failure {
        let (message, fix) = match apart(text) {
            Some((message, fix)) => (message, Some(fix.to_owned())),
            None if text.contains(FIX) => (text, None),
            None => (text, Some(usual_fix(kind).to_owned())),
        };
        Failure { kind: kind.into(), message: message.into(), fix, exit_code }
    }

    /// The error part of a `--json` document: each has a kind, a message and a fix.
    pub fn document(&self) -> Value {
        let fix = self.fix.clone().unwrap_or_else(|| {
            let each = self.message.lines().filter_map(|line| Some(line.split_once(FIX)?.1));
            match each.collect::<Vec<_>>() {
                none if none.is_empty() => usual_fix(&self.kind).to_owned(),
                each => each.join("; "),
            }
        });
        json!({ "kind": self.kind, "message": self.message, "fix": fix })
    }
}

/// What stands before a fix.
const FIX: &str = "fix: ";

/// What to do about a failure that does not say it itself.
fn usual_fix(kind: &str) -> &'static str {
    match kind {
        "source" => "see that the source is up and lets the service in, then try again",
        "target" => "see that the target is up and lets the service in, then try again",
        "store" => "see that the object store is up and lets the service in, then try again",
        "service" => "see what the service logs, then try again",
        "operation" => "see `towpath status`",
        "bug" => "report this with what the service logs",
        _ => "mend what is named, then try again",
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
            Err(error) => {
                let linker = error.downcast_ref::<LinkerError>();
                let kind = linker.map_or("caller", |linker| linker.kind().as_str());
                Failure::told(kind, &whole(&error), exit::FAILED)
            }
        }
    }
}

/// An error with its causes, each told once, and behind them the fix of the first that has one.
fn whole(error: &anyhow::Error) -> String {
    let (mut message, mut fix) = (String::new(), None);
    for cause in error.chain().map(ToString::to_string) {
        let (said, its_fix) = match apart(&cause) {
            Some((said, its_fix)) => (said, Some(its_fix.to_owned())),
            None => (cause.as_str(), None),
        };
        if message.is_empty() {
            message = said.to_owned();
        } else if !message.contains(said) {
            message = format!("{message}: {said}");
        }
        fix = fix.or(its_fix);
    }
    match fix {
        Some(fix) => format!("{message}\nfix: {fix}"),
        None => message,
    }
}

/// What failed, and its one fix.
fn apart(text: &str) -> Option<(&str, &str)> {
    match text.matches(FIX).count() {
        1 => text.split_once("\nfix: ").or_else(|| text.split_once("; fix: ")),
        // Of several problems, each with its fix, the whole is the message.
        _ => None,
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
    use towpath_shared_log::StoreError;

    use super::*;

    #[test]
    fn one_fix_is_told_apart_and_several_problems_stay_together() {
        let one = Failure::told("caller", "no such family\nfix: towpath status", 1);
        assert_eq!((one.message.as_str(), one.fix.as_deref()), ("no such family", Some("towpath status")));
        let behind = Failure::told("caller", "p.yaml:1:1: unknown field; fix: drop it", 1);
        assert_eq!(behind.fix.as_deref(), Some("drop it"));
        let two = Failure::told("caller", "p.yaml:1:1: x; fix: a\np.yaml:2:1: y; fix: b", 1);
        assert_eq!((two.fix, two.message.lines().count()), (None, 2));
    }

    #[test]
    fn a_failure_of_every_kind_has_a_fix_for_scripts() {
        for kind in ["caller", "source", "target", "store", "service", "operation", "bug"] {
            let document = Failure::told(kind, "something failed", 1).document();
            assert!(document["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{document}");
        }
        let two = Failure::told("caller", "p.yaml:1:1: x; fix: a\np.yaml:2:1: y\nfix: b", 1);
        assert_eq!(two.document()["fix"], "a; b");
        let io = Failure::from(std::io::Error::other("no")).to_string();
        assert_eq!(io.lines().count(), 2, "{io}");
    }

    #[test]
    fn a_cause_belongs_to_what_failed_and_the_fix_says_only_what_to_do() {
        let cause = || std::io::Error::other("No space left on device");
        let outer = anyhow::Error::from(cause()).context("cannot listen on a:1 (http:); fix: change `http:`");
        let failure = Failure::from(outer);
        assert_eq!(failure.message, "cannot listen on a:1 (http:): No space left on device");
        assert_eq!(failure.fix.as_deref(), Some("change `http:`"));
        let folder = StoreError::Folder { path: "/x".into(), source: cause() };
        let failure = Failure::from(anyhow::Error::from(folder));
        assert_eq!(failure.message, "store folder /x: No space left on device");
        assert!(failure.fix.unwrap().starts_with("name a folder"));
    }

    #[test]
    fn a_failure_survives_the_way_through_anyhow() {
        let failure = Failure { exit_code: 7, ..Failure::caller("a", "b") };
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
    }
}
