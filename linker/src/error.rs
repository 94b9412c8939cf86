//! What can go wrong in the linking service, whose fault it is, and what to do.

use thiserror::Error;
use towpath_plans::PlanError;
pub use towpath_plans::Side;
use towpath_plans::evidence::ChainError;
use towpath_shared_log::{LogError, StoreError};
use towpath_wire::client::ClientError;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request, plan or file.
    Caller,
    /// The source cluster.
    Source,
    /// The target cluster.
    Target,
    /// The object store or the local cache.
    Store,
    /// Towpath itself.
    Bug,
}

impl Kind {
    /// The word that documents and scripts know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Caller => "caller",
            Kind::Source => "source",
            Kind::Target => "target",
            Kind::Store => "store",
            Kind::Bug => "bug",
        }
    }
}

/// An error of the linking service.
#[derive(Debug, Error)]
pub enum LinkerError {
    /// A file or setting is wrong; nothing has changed.
    #[error("{place}: {problem}\nfix: {fix}")]
    Config {
        /// File, key or line.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A plan was refused, with every problem's place and fix; nothing has changed.
    #[error("{0}")]
    Plan(#[source] PlanError),
    /// The request cannot be carried out as things stand; nothing has changed.
    #[error("{problem}\nfix: {fix}")]
    Refused {
        /// Why.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A cluster failed or refused.
    #[error("{side}: {what}: {error}")]
    Cluster {
        /// Which side.
        side: Side,
        /// What was being done, with topic-partition-offset where there is one.
        what: String,
        /// What the cluster said.
        #[source]
        error: Box<ClientError>,
    },
    /// An answer of a cluster that no retry mends: the text says what to do.
    #[error("{side}: {problem}\nfix: {fix}")]
    Answer {
        /// Which side.
        side: Side,
        /// What it answered to what.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// The journal or the evidence could not be written or read.
    #[error("store: {0}")]
    Log(#[source] Box<LogError>),
    /// The evidence in the store does not hold together.
    #[error("store: {0}")]
    Evidence(#[source] Box<ChainError>),
    /// The object store could not be opened.
    #[error("store: {0}")]
    Store(#[source] Box<StoreError>),
    /// Another linking service has taken over.
    #[error(
        "{by} has taken over, this service has stopped acting\nfix: run one linking service per store: stop the \
         other one if it should not be there, then start this one again"
    )]
    Superseded {
        /// Who, as far as the store tells.
        by: String,
    },
    /// The local cache failed; it can be deleted.
    #[error("cache {place}: {problem}\nfix: stop the service, delete the folder, start again: it is rebuilt")]
    Cache {
        /// Folder.
        place: String,
        /// What failed.
        problem: String,
    },
    /// Something that the code rules out.
    #[error("bug: {0}\nfix: report this with the journal's last entries")]
    Bug(String),
}

impl LinkerError {
    /// Problem and fix in one line, for logs and steps.
    pub fn one_line(&self) -> String {
        self.to_string().replace('\n', "; ")
    }

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            LinkerError::Config { .. } | LinkerError::Plan(_) | LinkerError::Refused { .. } => Kind::Caller,
            LinkerError::Cluster { side: Side::Source, .. }
            | LinkerError::Answer { side: Side::Source, .. } => Kind::Source,
            LinkerError::Cluster { side: Side::Target, .. }
            | LinkerError::Answer { side: Side::Target, .. } => Kind::Target,
            LinkerError::Log(_)
            | LinkerError::Store(_)
            | LinkerError::Evidence(_)
            | LinkerError::Superseded { .. }
            | LinkerError::Cache { .. } => Kind::Store,
            LinkerError::Bug(_) => Kind::Bug,
        }
    }

    /// What failed, and what to do about it, told apart.
    pub fn told(&self) -> (String, String) {
        let text = self.to_string();
        // Of several problems, each with its fix, the whole is the message.
        let split = match text.matches("fix: ").count() {
            1 => text.split_once("\nfix: ").or_else(|| text.split_once("; fix: ")),
            _ => None,
        };
        match split {
            Some((message, fix)) => (message.to_owned(), fix.to_owned()),
            None => (text, self.usual_fix()),
        }
    }

    /// What helps where the error itself does not say it.
    fn usual_fix(&self) -> String {
        match self {
            LinkerError::Plan(refused) => {
                let file = refused.problems.first().map_or("FILE", |problem| problem.file.as_str());
                format!("mend each problem as its line says, then check again: towpath plan check {file}")
            }
            LinkerError::Cluster { side, .. } => format!(
                "make the {side} answer at the addresses under `clusters:` of the service's file, then repeat; \
                 repeating is safe"
            ),
            LinkerError::Log(_) | LinkerError::Store(_) | LinkerError::Evidence(_) => {
                "make the store that `store:` names answer and writable for this service, then repeat".into()
            }
            _ => "see `towpath status` and the service's log".into(),
        }
    }

    /// For `map_err` on a request to `side` while doing `what`.
    pub fn cluster(side: Side, what: impl Into<String>) -> impl FnOnce(ClientError) -> LinkerError {
        let what = what.into();
        move |error| LinkerError::Cluster { side, what, error: Box::new(error) }
    }

    /// The request is refused: `problem`, and what to do about it.
    pub fn refused(problem: impl Into<String>, fix: impl Into<String>) -> LinkerError {
        LinkerError::Refused { problem: problem.into(), fix: fix.into() }
    }
}

impl From<LogError> for LinkerError {
    fn from(error: LogError) -> LinkerError {
        LinkerError::Log(Box::new(error))
    }
}

impl From<ChainError> for LinkerError {
    fn from(error: ChainError) -> LinkerError {
        LinkerError::Evidence(Box::new(error))
    }
}

impl From<StoreError> for LinkerError {
    fn from(error: StoreError) -> LinkerError {
        LinkerError::Store(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use towpath_plans::model::Problem;

    use super::*;

    #[test]
    fn every_error_has_a_message_and_a_fix_of_its_own() {
        let cluster = LinkerError::cluster(Side::Source, "list topics")(ClientError::Unreachable {
            address: "a:1".into(),
            reason: "refused".into(),
            fix: "start it".into(),
        });
        let log = LogError::Timeout { action: "read", path: "journal/1".into(), timeout_ms: 10 };
        let all = [
            LinkerError::refused("a group is away", "roll it back"),
            LinkerError::Superseded { by: "linking service two".into() },
            LinkerError::Bug("x".into()),
            LinkerError::from(log),
            cluster,
        ];
        for error in all {
            let (message, fix) = error.told();
            assert!(!message.is_empty() && !message.contains("fix:"), "{error}: {message}");
            assert!(!fix.is_empty() && !fix.contains('\n'), "{error}: {fix}");
        }
    }

    #[test]
    fn a_refused_plan_is_checked_again_under_the_name_that_was_typed() {
        let problem = |line| Problem {
            file: "plans/views.yaml".into(),
            line,
            column: 1,
            message: "unknown field".into(),
            fix: "drop it".into(),
        };
        let refused = LinkerError::Plan(PlanError { problems: vec![problem(1), problem(2)] });
        assert!(refused.told().1.ends_with("towpath plan check plans/views.yaml"));
    }
}
