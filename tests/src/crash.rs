//! The kill checker: a real broker under load is killed at random moments, and every acknowledgement is held against
//! what an independent reader gets afterwards.
//!
//! Idempotent producers and one without an id write to several partitions, readers follow the tail. Small limits
//! make the write-ahead log trim, segments upload and objects go within the run. After every kill, and at the end,
//! [`check`] says what is lost, doubled, altered, out of order, or was never sent. The broker's own audit of its store
//! must find nothing, while it runs and behind it.

mod audit;
pub mod check;
pub mod ledger;
pub mod load;
pub mod reader;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use towpath_env::Env;

use crate::daemon::Daemon;
use crate::stores::proxy::{Proxy, Weather};
use crate::stores::{Store, StoreKind};
use crate::wait;
use audit::audited;
use check::{Findings, check, check_stable};
use load::{Load, LoadSpec, make_topic};
use reader::{Read, TailReader, read_back};
pub use report::Outcome;

/// Acknowledgements go on so soon after a restart.
const PROGRESS_MAX: Duration = Duration::from_secs(60);
/// So many records are acknowledged between a restart and the next kill at least.
const PROGRESS_RECORDS: usize = 100;
/// A kill comes within so long after that.
const KILL_WITHIN_MS: u64 = 1_500;
/// One of so many restarts is killed itself,
const KILLED_RESTARTS: u64 = 5;
/// within so long.
const KILLED_RESTART_WITHIN_MS: u64 = 400;
/// Everything is read back, and the store audited, after so many kills, and what came since the check before after the others.
const WHOLE_EVERY: usize = 10;
/// With faults between broker and store, a start may fail so often in a row.
const FAILED_STARTS_MAX: usize = 5;

/// Limits so small that everything happens within seconds.
pub const SMALL_LIMITS: &str = "\
storage:
  wal_file_bytes: 1048576
  wal_lease_ms: 500
  segment_bytes: 262144
  segment_age_max_ms: 700
  tail_cache_bytes_max: 524288
  block_cache_bytes_max: 1048576
  read_ahead_bytes: 262144
  delete_grace_ms: 5000
  maintenance_interval_ms: 1000
";

/// What the broker may warn of when requests to its store fail: each is tried again.
pub const WARNINGS_OF_FAULTS: [&str; 7] = [
    "a put failed and is repeated",
    "a segment could not be committed yet",
    "an old snapshot stays in the store",
    "the metadata log cannot be followed; trying again",
    "no checkpoint of the metadata; the next is tried in time",
    "an object could not be deleted yet",
    "what earlier lives left of the WAL is looked for at the next start",
];

/// One run.
#[derive(Clone, Debug)]
pub struct CrashSettings {
    /// What `--wal` takes.
    pub wal: String,
    /// Where the broker keeps its data.
    pub store: StoreKind,
    /// So many SIGKILLs.
    pub kills: usize,
    /// Whether requests to the store meet faults.
    pub faults: bool,
    /// Moments, contents and faults follow from it.
    pub seed: u64,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Records per second.
    pub rate: u64,
}

/// A run under way.
struct Run<'a> {
    settings: &'a CrashSettings,
    store: &'a Store,
    env: Env,
    broker: Daemon,
    /// Where the next partial check begins.
    checked: BTreeMap<i32, i64>,
    outcome: Outcome,
}

/// Runs it with everything in `folder`, saying how far it is to `progress`.
///
/// # Errors
/// When something does not start, does not go on in time, or warns of what it should not; findings of the checker are
/// in the outcome.
pub async fn run(settings: &CrashSettings, folder: &Path, progress: impl Fn(&Outcome)) -> Result<Outcome> {
    let store = Store::start(settings.store, &folder.join("store-server")).await?;
    let proxy = match (settings.faults, store.address()) {
        (false, _) => None,
        (true, Some(address)) => Some(Proxy::start(address, settings.seed).await?),
        (true, None) => bail!("faults come between broker and server; fix: --store moto or seaweedfs"),
    };
    let broker = broker(folder, &settings.wal, SMALL_LIMITS, (&store, proxy.as_ref()))?;
    let outcome = Outcome::new(settings);
    let (env, checked) = (Env::seeded(settings.seed, 0), BTreeMap::new());
    let mut run = Run { settings, store: &store, env, broker, checked, outcome };
    run.broker.start().await?;
    make_topic(&run.broker.bootstrap(), settings.partitions).await?;
    if let Some(proxy) = &proxy {
        proxy.set_weather(Weather::ROUGH);
    }
    let spec = LoadSpec {
        bootstrap: run.broker.bootstrap(),
        seed: settings.seed,
        partitions: settings.partitions,
        idempotent_producers: 4,
        rate: settings.rate,
    };
    let mut load = Load::start(&spec)?;
    let tail = TailReader::start(&spec.bootstrap, settings.partitions)?;
    while run.outcome.kills < settings.kills {
        run.kill_once(&load).await.with_context(|| format!("kill {}", run.outcome.kills + 1))?;
        progress(&run.outcome);
    }
    load.finish().await?;
    let end = run.last_check(&load).await?;
    check_stable(&tail.finish()?, &end, &mut run.outcome.findings);
    run.outcome.faults = proxy.as_ref().map_or(0, |proxy| proxy.counts().faults);
    run.stop().await?;
    progress(&run.outcome);
    Ok(run.outcome)
}

/// A broker with `limits` as its configuration, not yet started: on `store`, through `proxy` if there is one.
///
/// # Errors
/// When no port is free, or the file can't be written.
pub fn broker(
    folder: &Path,
    wal: &str,
    limits: &str,
    (store, proxy): (&Store, Option<&Proxy>),
) -> Result<Daemon> {
    let config: PathBuf = folder.join("broker.yaml");
    std::fs::write(&config, limits)?;
    let config = config.display().to_string();
    let arguments = ["--config", &config, "--store", store.url(), "--wal", wal].map(str::to_owned);
    let mut broker = Daemon::broker("broker", folder, &arguments)?;
    broker.set_environment(match proxy {
        Some(proxy) => store.environment_with("AWS_ENDPOINT_URL", &format!("http://{}", proxy.address())),
        None => store.environment().to_vec(),
    });
    Ok(broker)
}

impl Run<'_> {
    /// Lets it work, kills it, starts it again, and looks.
    async fn kill_once(&mut self, load: &Load) -> Result<()> {
        let before = load.acked();
        let progress = wait::until("acknowledgements after a restart", PROGRESS_MAX, async || {
            if let Some(status) = self.broker.running()?.exit_status()? {
                bail!("the broker ended by itself with {status}");
            }
            Ok((load.acked() >= before + PROGRESS_RECORDS).then_some(()))
        });
        progress.await?;
        self.env.sleep(self.some_ms(KILL_WITHIN_MS)).await;
        self.kill().await?;
        while self.outcome.kills < self.settings.kills
            && self.env.random_u64().is_multiple_of(KILLED_RESTARTS)
        {
            self.broker.launch()?;
            self.env.sleep(self.some_ms(KILLED_RESTART_WITHIN_MS)).await;
            self.kill().await?;
            self.outcome.killed_restarts += 1;
        }
        self.restart().await?;
        let whole = self.outcome.kills.is_multiple_of(WHOLE_EVERY);
        let from = if whole { BTreeMap::new() } else { self.checked.clone() };
        self.look(load, from).await?;
        if whole { self.audit().await } else { Ok(()) }
    }

    /// Nothing unreferenced beyond its grace, nothing referenced missing, every checksum right.
    async fn audit(&mut self) -> Result<()> {
        self.outcome.audits += 1;
        if let Some(told) = audited(self.store, self.broker.folder()).await? {
            self.outcome.audit_findings.push(format!("after {} kills: {told}", self.outcome.kills));
        }
        Ok(())
    }

    fn some_ms(&self, max_ms: u64) -> Duration {
        Duration::from_millis(self.env.random_u64() % max_ms)
    }

    async fn kill(&mut self) -> Result<()> {
        self.broker.kill().await?;
        self.outcome.kills += 1;
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        for _ in 0..FAILED_STARTS_MAX {
            let begun_at = self.env.elapsed();
            match self.broker.start().await {
                Ok(()) => {
                    self.outcome.restarts_ms.push((self.env.elapsed() - begun_at).as_millis() as u64);
                    return Ok(());
                }
                Err(error) if !self.settings.faults => return Err(error),
                Err(_) => self.outcome.failed_starts += 1,
            }
        }
        bail!(
            "the broker did not start {FAILED_STARTS_MAX} times in a row; its log: {}",
            self.broker.log_path().display()
        )
    }

    /// Reads back from `from` on and holds the acknowledgements of before against it.
    async fn look(&mut self, load: &Load, from: BTreeMap<i32, i64>) -> Result<Read> {
        // Acknowledged before the ends are asked for: so it must be there.
        let before = load.ledgers();
        let read = read_back(&self.broker.bootstrap(), self.settings.partitions, from).await;
        let ended = self.broker.running()?.exit_status()?;
        let read = read.with_context(|| match ended {
            Some(status) => format!("the broker ended by itself with {status}"),
            None => "the broker runs".to_owned(),
        })?;
        let mut ledgers = load.ledgers();
        for (ledger, before) in ledgers.iter_mut().zip(&before) {
            ledger.forget_fates_since(before);
        }
        self.outcome.checks += 1;
        self.outcome.note(&ledgers, &read, check(&ledgers, &read));
        self.checked = read.iter().map(|(partition, back)| (*partition, back.end)).collect();
        Ok(read)
    }

    /// Everything is acknowledged: one more kill, and all of it is read.
    async fn last_check(&mut self, load: &Load) -> Result<Read> {
        self.kill().await?;
        self.restart().await?;
        let read = self.look(load, BTreeMap::new()).await?;
        let sent: usize = load.ledgers().iter().map(|ledger| ledger.sent.len()).sum();
        self.outcome.acked = load.acked();
        self.outcome.sent = sent;
        Ok(read)
    }

    async fn stop(&mut self) -> Result<()> {
        self.broker.stop().await?;
        self.audit().await?;
        let declared: Vec<String> = match self.settings.faults {
            true => WARNINGS_OF_FAULTS.map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        self.outcome.problems = self.broker.undeclared_problems(&declared)?;
        Ok(())
    }
}

impl Outcome {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.findings.none() && self.problems.is_empty() && self.audit_findings.is_empty()
    }

    fn note(&mut self, ledgers: &[ledger::Ledger], read: &Read, found: Findings) {
        self.acked = ledgers.iter().map(|ledger| ledger.acked).sum();
        self.sent = ledgers.iter().map(|ledger| ledger.sent.len()).sum();
        self.read = read.values().map(|back| back.end).sum::<i64>() as usize;
        self.findings.add(found);
    }
}
