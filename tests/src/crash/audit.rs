//! The broker's own audit of its store, in the middle of a run and behind it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clients::built;
use crate::process::{Output, Process};
use crate::stores::Store;

/// Beyond `delete_grace_ms` of [`super::SMALL_LIMITS`]: a life of the broker may be shorter than that, and the next sees
/// to what was too young for it.
const GRACE_MS: &str = "10000";
const AUDIT_MAX: Duration = Duration::from_secs(120);
/// What `towpath broker audit` exits with when it found something.
const FINDINGS: i32 = 5;

/// Audits every byte; what it found, if anything.
///
/// # Errors
/// When it could not be done.
pub async fn audited(store: &Store, folder: &Path) -> Result<Option<String>> {
    let mut command = Command::new(built("towpath")?);
    command.args(["broker", "audit", "--checksums", "--grace-ms", GRACE_MS, "--store", store.url()]);
    command.env("NO_COLOR", "1").envs(store.environment().iter().cloned());
    let path = folder.join("audit.log");
    let told = || std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()));
    // Of this audit alone.
    std::fs::write(&path, "")?;
    let mut process = Process::spawn("the audit", command, &Output::File(path.clone()))?;
    match process.ended(AUDIT_MAX).await?.code() {
        Some(0) => Ok(None),
        Some(FINDINGS) => told().map(Some),
        code => bail!("the audit ended with {code:?}: {}", told()?),
    }
}
