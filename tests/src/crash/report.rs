//! What a kill run comes to, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::CrashSettings;
use super::check::Findings;

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The write-ahead log.
    pub wal: String,
    /// The store.
    pub store: &'static str,
    /// The seed.
    pub seed: u64,
    /// SIGKILLs, those of restarts and the last one included.
    pub kills: usize,
    /// Those that met a broker that was starting.
    pub killed_restarts: usize,
    /// Starts that failed, because of faults.
    pub failed_starts: usize,
    /// Requests to the store that met a fault.
    pub faults: u64,
    /// Times that the checker looked.
    pub checks: usize,
    /// Records handed to clients.
    pub sent: usize,
    /// Records acknowledged.
    pub acked: usize,
    /// Records in the log at the end, which were all read.
    pub read: usize,
    /// What does not hold, over all checks.
    pub findings: Findings,
    /// From the start of the process until it is ready, ms, for every restart.
    pub restarts_ms: Vec<u64>,
    /// Warnings and errors in the broker's log that nobody declared.
    pub problems: Vec<String>,
    /// Audits of the store.
    pub audits: usize,
    /// What they found.
    pub audit_findings: Vec<String>,
}

impl Outcome {
    pub(super) fn new(settings: &CrashSettings) -> Outcome {
        Outcome {
            wal: settings.wal.clone(),
            store: settings.store.name(),
            seed: settings.seed,
            kills: 0,
            killed_restarts: 0,
            failed_starts: 0,
            faults: 0,
            checks: 0,
            sent: 0,
            acked: 0,
            read: 0,
            findings: Findings::default(),
            restarts_ms: Vec::new(),
            problems: Vec::new(),
            audits: 0,
            audit_findings: Vec::new(),
        }
    }

    /// Median and worst restart, ms.
    pub fn restart_ms(&self) -> (u64, u64) {
        let mut sorted = self.restarts_ms.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        (median, sorted.last().copied().unwrap_or(0))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { lost, duplicated, altered, misplaced, unsent, disordered, holes, unstable, .. } =
            &self.findings;
        let (median, worst) = self.restart_ms();
        writeln!(f, "{} WAL, {} store, seed {}", self.wal, self.store, self.seed)?;
        let rows: [(&str, String); 11] = [
            ("kills", format!("{} ({} of them during a restart)", self.kills, self.killed_restarts)),
            ("faults met", format!("{} ({} starts failed)", self.faults, self.failed_starts)),
            ("sent", self.sent.to_string()),
            ("acknowledged", self.acked.to_string()),
            ("read back", format!("{} ({} checks)", self.read, self.checks)),
            ("lost", format!("{lost} ({misplaced} elsewhere than acknowledged)")),
            (
                "duplicated",
                format!("{duplicated} (and {} of the producer without an id)", self.findings.repeated),
            ),
            ("altered", format!("{altered} ({unsent} never sent, {unstable} seen and gone)")),
            ("out of order", format!("{disordered} ({holes} holes)")),
            ("audits", format!("{} ({} with findings)", self.audits, self.audit_findings.len())),
            ("restart", format!("median {median} ms, worst {worst} ms")),
        ];
        for (name, value) in rows {
            writeln!(f, "  {name:<14}{value}")?;
        }
        for told in self.findings.told.iter().chain(&self.problems).chain(&self.audit_findings) {
            writeln!(f, "  ! {told}")?;
        }
        Ok(())
    }
}
