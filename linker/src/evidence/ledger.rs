//! The evidence chain of one family as this service extends it.
//!
//! Entry N of the chain is slot N of a shared log under `evidence/FAMILY`, and holds the very line that a bundle
//! holds. Exclusive by `append_at`: opening the ledger writes an entry, which takes the slot that whoever wrote the
//! chain before expects to be next; that one stops for good at its next append. A slot that is taken by a line of
//! this service's own, sent and never answered for, is recognised and taken in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use towpath_env::Env;
use towpath_plans::PlanHash;
use towpath_plans::evidence::{
    Actor, Body, Chain, ChainError, ClusterIdentity, Line, PseudonymKind, Pseudonyms, Signer, export,
};
use towpath_plans::transition::GroupState;
use towpath_shared_log::{Appended, SharedLog};

use super::tail::Tail;
use super::{SOFTWARE, secret};
use crate::error::LinkerError;
use crate::state::standing::Standing;

/// Folder of the chains in the store.
pub(super) const FOLDER: &str = "evidence";
/// No more entries than these stand behind the last signature: what a thief of the store could cut unseen.
pub(super) const SIGN_EVERY_ENTRIES: u64 = 64;
/// How long the store may take to answer whether an entry could be written.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Signed before `signer` did, if that key is at hand ([`super::former_signer`]): signs the hand-over.
    pub former_signer: Option<Arc<Signer>>,
    /// Whether this service may act.
    pub standing: Standing,
    /// Clock.
    pub env: Env,
}

/// Extends the chain of one family. Cheap to clone; appends are in order.
#[derive(Clone)]
pub struct Ledger {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    spec: LedgerSpec,
    log: SharedLog,
    pseudonyms: Pseudonyms,
    /// One append at a time.
    turn: Mutex<()>,
    pub(super) tail: RwLock<Tail>,
    superseded: AtomicBool,
}

impl Ledger {
    /// Reads the chain to its head, or begins it, and takes it over from whoever wrote it before.
    ///
    /// # Errors
    /// The store fails, or the chain does not hold: the first entry that does not is named.
    pub async fn open(spec: LedgerSpec) -> Result<Ledger, LinkerError> {
        let prefix = format!("{FOLDER}/{}", spec.family);
        let log = SharedLog::open(spec.store.clone(), &prefix, spec.env.clone()).await?;
        let (pseudonyms, new_secret) = secret::pseudonyms(&*spec.store, &spec.family, &spec.env).await?;
        let mut tail = Tail::new(&spec.family);
        let first = loop {
            replay(&log, &mut tail).await?;
            let first = tail.head().entries == 0;
            let (at_ms, clusters) = (spec.env.now_ms(), spec.clusters.clone());
            let line = tail.draft(|chain| match first {
                true => chain.open(at_ms, &spec.signer, clusters),
                false => chain.append(at_ms, None, Body::ClustersSeen { clusters }),
            });
            if log.append_at(tail.head().entries, Bytes::from(line.to_string())).await? == Appended::Written {
                tail.take(&line)?;
                break first;
            }
        };
        let (tail, superseded) = (RwLock::new(tail), AtomicBool::new(false));
        let ledger = Ledger {
            inner: Arc::new(Inner { spec, log, pseudonyms, turn: Mutex::new(()), tail, superseded }),
        };
        ledger.inner.settle(new_secret && !first).await?;
        Ok(ledger)
    }

    /// Appends one entry; durable when it returns.
    ///
    /// # Errors
    /// The store fails: then it may stand or not. Another service writes this chain: then it does not.
    pub async fn record(&self, actor: Option<Actor>, body: Body) -> Result<(), LinkerError> {
        let _turn = self.inner.turn.lock().await;
        self.inner.append(actor, body).await?;
        if self.inner.tail.read().unsigned() >= SIGN_EVERY_ENTRIES
            && let Err(error) = self.inner.checkpoint().await
        {
            // The entry stands; the next one brings the next attempt.
            tracing::info!(family = self.inner.spec.family, %error, "evidence checkpoint not written yet");
        }
        Ok(())
    }

    /// Appends entries and a signed checkpoint behind them.
    ///
    /// # Errors
    /// As [`Ledger::record`]; the entries before the one that failed stand.
    pub async fn record_signed(&self, actor: Option<Actor>, bodies: Vec<Body>) -> Result<(), LinkerError> {
        let _turn = self.inner.turn.lock().await;
        for body in bodies {
            self.inner.append(actor.clone(), body).await?;
        }
        self.inner.checkpoint().await
    }

    /// The state that the last entry about a group's change led to; `None`: there is no such entry. After a crash
    /// between journal and evidence the journal is ahead of it, and the entry must be made up for.
    pub fn last_group_state(&self, group: &str) -> Option<GroupState> {
        self.inner.tail.read().group(group)
    }

    /// The plan that the chain says is in force, and since when, ms since the epoch. After a crash between journal and
    /// evidence it may be behind.
    pub fn plan_in_force(&self) -> Option<(PlanHash, i64)> {
        self.inner.tail.read().plan()
    }

    /// Whether an entry could be written now: puts a probe object beside the chain.
    ///
    /// # Errors
    /// Why not, for the gate `evidence-writable`.
    pub async fn writable(&self) -> Result<(), String> {
        let inner = &self.inner;
        inner.check_mine().map_err(|error| error.to_string())?;
        let path = Path::from(format!("{}/probe/{}", inner.log.prefix(), inner.spec.env.uuid()));
        let put =
            inner.spec.store.put_opts(&path, Bytes::from_static(b"probe").into(), PutMode::Create.into());
        let answer = tokio::time::timeout(PROBE_TIMEOUT, put).await;
        let outcome = match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{path}: {error}")),
            Err(_) => Err(format!("{path}: no answer within {} s", PROBE_TIMEOUT.as_secs())),
        };
        // Also when the put failed: it may have taken effect. What stays costs five bytes and means nothing.
        match tokio::time::timeout(PROBE_TIMEOUT, inner.spec.store.delete(&path)).await {
            Ok(Ok(())) | Ok(Err(object_store::Error::NotFound { .. })) => {}
            _ => tracing::info!(%path, "probe object left behind"),
        }
        outcome
    }

    /// The name under which evidence speaks of `value` (a key, a host): an HMAC under the family's secret.
    pub fn pseudonym(&self, kind: PseudonymKind, value: &[u8]) -> String {
        self.inner.pseudonyms.of(kind, value)
    }

    /// The chain as it stands, for `evidence list` and the report.
    ///
    /// # Errors
    /// The store fails, or a line does not continue the one before: it is named.
    pub async fn lines(&self) -> Result<Vec<Line>, LinkerError> {
        let inner = &self.inner;
        let end = inner.tail.read().head();
        let mut tail = Tail::new(&inner.spec.family);
        let mut lines = Vec::new();
        while tail.head().entries < end.entries {
            let stored = inner.log.read_from(tail.head().entries).await?;
            if stored.is_empty() {
                return Err(inner.gone(tail.head().entries).into());
            }
            for (index, payload) in stored {
                if index < end.entries {
                    let line = tail.parse(index, &payload)?;
                    tail.take(&line)?;
                    lines.push(line);
                }
            }
        }
        match tail.head() == end {
            true => Ok(lines),
            false => Err(inner.gone(end.entries.saturating_sub(1)).into()),
        }
    }

    /// One bundle for an auditor, signed up to its end.
    ///
    /// # Errors
    /// As [`Ledger::lines`]; and when another service writes this chain: ask that one.
    pub async fn bundle(&self) -> Result<String, LinkerError> {
        self.inner.check_mine()?;
        let lines = self.lines().await?;
        let spec = &self.inner.spec;
        Ok(export(&spec.family, SOFTWARE, spec.env.now_ms(), &lines, Some(&spec.signer)))
    }
}

impl Inner {
    /// After taking over: the key in force becomes this service's, and what stands so far is signed.
    async fn settle(&self, secret_is_new: bool) -> Result<(), LinkerError> {
        let _turn = self.turn.lock().await;
        let (at_ms, signer) = (self.spec.env.now_ms(), &*self.spec.signer);
        let in_force = self.tail.read().key();
        if in_force != Some(signer.public()) {
            let former = self.spec.former_signer.as_deref().filter(|key| in_force == Some(key.public()));
            match former {
                Some(former) => {
                    let reason = "another key is configured";
                    self.write(|chain| chain.rotate(at_ms, None, (former, signer), reason)).await?;
                }
                None => {
                    let unsigned = self.tail.read().unsigned();
                    let reason = format!(
                        "the key that signed before is not at hand; {unsigned} entries before this one are \
                         behind its last signature"
                    );
                    self.write(|chain| chain.replace_key(at_ms, signer, reason.clone())).await?;
                }
            }
        }
        if secret_is_new {
            let secret = self.pseudonyms.secret_name();
            let sentence = format!("pseudonyms from here on are under a new secret, {secret}");
            self.append(None, Body::Noted { sentence }).await?;
        }
        self.checkpoint().await
    }

    async fn append(&self, actor: Option<Actor>, body: Body) -> Result<(), LinkerError> {
        let at_ms = self.spec.env.now_ms();
        self.write(|chain| chain.append(at_ms, actor.clone(), body.clone())).await
    }

    async fn checkpoint(&self) -> Result<(), LinkerError> {
        let at_ms = self.spec.env.now_ms();
        self.write(|chain| chain.checkpoint(at_ms, &self.spec.signer)).await
    }

    /// Writes the line that `make` gives for the slot that is next, which may turn out to be a later one than it
    /// seemed. Whoever calls holds the turn.
    async fn write(&self, make: impl Fn(&mut Chain) -> Line) -> Result<(), LinkerError> {
        loop {
            self.check_mine()?;
            let (line, slot) = {
                let mut tail = self.tail.write();
                (tail.draft(&make), tail.head().entries)
            };
            match self.log.append_at(slot, Bytes::from(line.to_string())).await? {
                Appended::Written => return Ok(self.tail.write().take(&line)?),
                Appended::Taken => self.take_in_my_own(slot).await?,
            }
        }
    }

    /// The slot is taken: by an append of this very service whose outcome was unknown, or by a successor.
    async fn take_in_my_own(&self, slot: u64) -> Result<(), LinkerError> {
        let stored = self.log.read_from(slot).await?;
        if stored.is_empty() {
            return Err(self.gone(slot).into());
        }
        for (index, payload) in stored {
            let mut tail = self.tail.write();
            let line = tail.parse(index, &payload)?;
            if !tail.is_mine(&line) {
                self.superseded.store(true, Ordering::Release);
                // Whoever extends the chain has opened the journal before: there it is named.
                self.spec.standing.suspect();
                return Err(self.superseded());
            }
            tail.take(&line)?;
        }
        Ok(())
    }

    fn check_mine(&self) -> Result<(), LinkerError> {
        self.spec.standing.check()?;
        match self.superseded.load(Ordering::Acquire) {
            true => Err(self.superseded()),
            false => Ok(()),
        }
    }

    fn superseded(&self) -> LinkerError {
        let by = format!("another writer of the evidence of family {}", self.spec.family);
        LinkerError::Superseded { by }
    }

    fn gone(&self, sequence: u64) -> ChainError {
        let why = "it is not the one that was written: the store lost or changed it".to_owned();
        ChainError { family: self.spec.family.clone(), sequence, why }
    }
}

async fn replay(log: &SharedLog, tail: &mut Tail) -> Result<(), LinkerError> {
    loop {
        let stored = log.read_from(tail.head().entries).await?;
        if stored.is_empty() {
            return Ok(());
        }
        for (index, payload) in stored {
            let line = tail.parse(index, &payload)?;
            tail.take(&line)?;
        }
    }
}
