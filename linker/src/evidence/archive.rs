//! The evidence of a family that this service does not extend: cancelled, complete, or not running. Read, never
//! written.

use std::sync::Arc;

use object_store::ObjectStore;
use towpath_env::Env;
use towpath_plans::evidence::{Line, Signer, export};
use towpath_shared_log::SharedLog;

use super::SOFTWARE;
use super::ledger::FOLDER;
use super::tail::Tail;
use crate::error::LinkerError;

/// A chain to read.
pub struct Archive {
    log: SharedLog,
    family: String,
    env: Env,
}

impl Archive {
    /// The chain of `family` in the store.
    ///
    /// # Errors
    /// The store fails.
    pub async fn open(store: Arc<dyn ObjectStore>, family: &str, env: Env) -> Result<Archive, LinkerError> {
        let log = SharedLog::open(store, &format!("{FOLDER}/{family}"), env.clone()).await?;
        Ok(Archive { log, family: family.to_owned(), env })
    }

    /// The chain to its end.
    ///
    /// # Errors
    /// The store fails, or a line does not continue the one before: it is named.
    pub async fn lines(&self) -> Result<Vec<Line>, LinkerError> {
        Ok(self.read().await?.0)
    }

    /// One bundle for an auditor. Its end is signed by that one of `signers` whose key is in force; without it the
    /// last signature in the chain is the last one.
    ///
    /// # Errors
    /// As [`Archive::lines`].
    pub async fn bundle(&self, signers: &[&Signer]) -> Result<String, LinkerError> {
        let (lines, tail) = self.read().await?;
        let signer = signers.iter().find(|signer| tail.key() == Some(signer.public())).copied();
        Ok(export(&self.family, SOFTWARE, self.env.now_ms(), &lines, signer))
    }

    async fn read(&self) -> Result<(Vec<Line>, Tail), LinkerError> {
        let (mut lines, mut tail) = (Vec::new(), Tail::new(&self.family));
        loop {
            let stored = self.log.read_from(tail.head().entries).await?;
            if stored.is_empty() {
                return Ok((lines, tail));
            }
            for (index, payload) in stored {
                let line = tail.parse(index, &payload)?;
                tail.take(&line)?;
                lines.push(line);
            }
        }
    }
}
