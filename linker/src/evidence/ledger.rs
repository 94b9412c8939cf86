//! The evidence chain of one family as this service extends it.

use std::sync::Arc;

use object_store::ObjectStore;
use towpath_env::Env;
use towpath_plans::evidence::{Actor, Body, ClusterIdentity, Line, PseudonymKind, Signer};

use crate::error::LinkerError;

/// What a ledger is made of.
pub struct LedgerSpec {
    /// The target's object store.
    pub store: Arc<dyn ObjectStore>,
    /// The family.
    pub family: String,
    /// Both clusters, for the first entry.
    pub clusters: Vec<ClusterIdentity>,
    /// Signs checkpoints.
    pub signer: Arc<Signer>,
    /// Clock.
    pub env: Env,
}

/// Extends the chain of one family. Cheap to clone; appends are in order.
#[derive(Clone)]
pub struct Ledger {
    #[allow(dead_code)]
    spec: Arc<LedgerSpec>,
}

impl Ledger {
    /// Reads the chain to its head, or begins it.
    ///
    /// # Errors
    /// The store fails, or the chain does not hold: the first entry that does not is named.
    pub async fn open(spec: LedgerSpec) -> Result<Ledger, LinkerError> {
        Ok(Ledger { spec: Arc::new(spec) })
    }

    /// Appends one entry; durable when it returns.
    ///
    /// # Errors
    /// The store fails, or another service writes this chain.
    pub async fn record(&self, _actor: Option<Actor>, _body: Body) -> Result<(), LinkerError> {
        unimplemented!("the ledger's owner is at it")
    }

    /// Appends entries and a signed checkpoint behind them.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub async fn record_signed(&self, _actor: Option<Actor>, _bodies: Vec<Body>) -> Result<(), LinkerError> {
        unimplemented!("the ledger's owner is at it")
    }

    /// Whether an entry could be written now: puts a probe object beside the chain.
    ///
    /// # Errors
    /// Why not, for the gate `evidence-writable`.
    pub async fn writable(&self) -> Result<(), String> {
        unimplemented!("the ledger's owner is at it")
    }

    /// The name under which evidence speaks of `value` (a key, a host): an HMAC under the family's secret.
    pub fn pseudonym(&self, _kind: PseudonymKind, _value: &[u8]) -> String {
        unimplemented!("the ledger's owner is at it")
    }

    /// The chain as it stands, for `evidence list` and the report.
    ///
    /// # Errors
    /// The store fails.
    pub async fn lines(&self) -> Result<Vec<Line>, LinkerError> {
        unimplemented!("the ledger's owner is at it")
    }

    /// One bundle for an auditor, signed up to its end.
    ///
    /// # Errors
    /// The store fails.
    pub async fn bundle(&self) -> Result<String, LinkerError> {
        unimplemented!("the ledger's owner is at it")
    }
}
