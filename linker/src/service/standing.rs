//! Noticing that another service has taken over, and giving everything up then.

use std::time::Duration;

use super::Service;
use crate::config::ServiceConfig;
use crate::error::LinkerError;

/// How often the journal is looked at when nothing is written: the longest time for which two services act. One
/// request each.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Service {
    /// Resolves when another service has taken over and this one has given up everything; says who.
    pub async fn superseded(&self) -> LinkerError {
        self.given_up.cancelled().await;
        match self.journal.check_mine() {
            Err(error) => error,
            Ok(()) => LinkerError::Bug("everything was given up without a successor".into()),
        }
    }

    /// Resolves when one of its tasks has panicked: what it did is done by nobody now, and the service must stop. What
    /// was begun goes on from the journal at its next start.
    pub async fn failed(&self) -> LinkerError {
        let why = self.tasks.panicked().await;
        LinkerError::Bug(format!("a task of the linking service panicked: {why}"))
    }

    /// Looks until the service stops, or has nothing to do here any more.
    pub(super) async fn keep_watch(&self) {
        let standing = self.journal.standing();
        loop {
            tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                () = standing.lost() => return self.give_up(),
                () = standing.suspected() => {}
                () = self.env.sleep(LOOK_EVERY) => {}
            }
            if let Err(error) = self.journal.look().await
                && !matches!(error, LinkerError::Superseded { .. })
            {
                tracing::info!(%error, "the journal could not be looked at; trying again");
            }
        }
    }

    /// From here on nothing is done to any cluster: the other service does it.
    fn give_up(&self) {
        if let Err(error) = self.journal.check_mine() {
            tracing::error!("{}", error.one_line());
        }
        for running in self.families() {
            running.link.mirror.stop();
        }
        self.given_up.cancel();
        // Its own task among them.
        self.tasks.cut();
    }
}

/// How this service calls itself towards one that it supersedes.
pub(super) fn own_name(config: &ServiceConfig) -> String {
    // Linux tells the name of the machine here; elsewhere the rest must do.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => String::new(),
        host => format!("host {host}, "),
    };
    format!("linking service {} ({host}process {}, http {})", config.name, std::process::id(), config.http)
}
