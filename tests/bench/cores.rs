//! Which cores brokers and clients run on, by `taskset`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_tests::process::output_of;

use super::results::Pinned;

const TASKSET_MAX: Duration = Duration::from_secs(10);

/// Puts all threads of a process on these cores; threads and children that it starts later inherit them.
pub async fn pin(process_id: u32, cores: &str) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-a", "-c", "-p", cores, &process_id.to_string()]);
    let pinned = output_of("taskset", command, TASKSET_MAX).await;
    pinned.map(drop).context("fix: install util-linux, choose other cores, or give --unpinned")
}

/// This process on the brokers' cores while it starts one, so that the broker finds itself there from its first
/// instruction; on the clients' afterwards.
pub async fn on_broker_cores<T>(
    pinned: Option<&Pinned>,
    start: impl AsyncFnOnce() -> Result<T>,
) -> Result<T> {
    let Some(pinned) = pinned else { return start().await };
    pin(std::process::id(), &pinned.broker_cores).await?;
    let started = start().await;
    pin(std::process::id(), &pinned.client_cores).await?;
    started
}
