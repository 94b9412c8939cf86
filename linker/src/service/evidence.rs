//! The evidence of every family that was ever linked, whatever has become of it.

use towpath_plans::evidence::{Line, Signer};

use super::Service;
use crate::error::LinkerError;
use crate::evidence::{Archive, Ledger};

/// Where a family's evidence is read from.
enum Source {
    /// This service extends it.
    Ledger(Ledger),
    /// Nobody extends it here.
    Archive(Archive),
}

impl Service {
    /// The chain of a family as it stands.
    ///
    /// # Errors
    /// The family was never linked, the store fails, or the chain does not hold: the first bad line is named.
    pub async fn evidence_lines(&self, family: &str) -> Result<Vec<Line>, LinkerError> {
        match self.evidence_of(family).await? {
            Source::Ledger(ledger) => ledger.lines().await,
            Source::Archive(archive) => archive.lines().await,
        }
    }

    /// One bundle of it for an auditor.
    ///
    /// # Errors
    /// As [`Service::evidence_lines`].
    pub async fn evidence_bundle(&self, family: &str) -> Result<String, LinkerError> {
        match self.evidence_of(family).await? {
            Source::Ledger(ledger) => ledger.bundle().await,
            Source::Archive(archive) => {
                let keys = [Some(&self.signer), self.former_signer.as_ref()];
                let signers: Vec<&Signer> = keys.into_iter().flatten().map(|key| &**key).collect();
                archive.bundle(&signers).await
            }
        }
    }

    async fn evidence_of(&self, family: &str) -> Result<Source, LinkerError> {
        match self.family(family) {
            Ok(running) => Ok(Source::Ledger(running.link.ledger.clone())),
            Err(_) if self.was_linked(family) => {
                Ok(Source::Archive(Archive::open(self.store.clone(), family, self.env.clone()).await?))
            }
            Err(unknown) => Err(unknown),
        }
    }

    /// Whether the journal knows the family, whatever has become of it.
    pub fn was_linked(&self, family: &str) -> bool {
        self.journal.with(|recorded| recorded.families.contains_key(family))
    }
}
