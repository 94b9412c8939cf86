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
