//! The linking service: every link, its groups and its diff, and the verbs that people ask for.
//!
//! Called by the HTTP API and by whoever embeds it. What it decides is journaled first; when it comes up again
//! it goes on from there.

mod adopt;
mod cancel;
mod check;
mod evidence;
mod fences;
mod link;
mod pause;
mod standing;
mod start;
mod tasks;
#[cfg(test)]
mod tests;
mod turns;
mod verbs;
mod watch;

pub use start::Running;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use object_store::ObjectStore;
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_plans::evidence::Signer;
use towpath_shared_log::{open_store, probe};

use crate::config::ServiceConfig;
use crate::error::LinkerError;
use crate::evidence::{former_signer, signer};
use crate::metrics::LinkMetrics;
use crate::moves::Carriers;
use crate::operation::Operations;
use crate::state::cache::Cache;
use crate::state::journal::Journal;
use tasks::{GRACE, Tasks};
use turns::Turns;

/// A running linking service. Shared as `Arc<Service>`.
pub struct Service {
    config: ServiceConfig,
    env: Env,
    registry: Registry,
    store: Arc<dyn ObjectStore>,
    journal: Journal,
    cache: Cache,
    signer: Arc<Signer>,
    former_signer: Option<Arc<Signer>>,
    operations: Operations,
    families: RwLock<BTreeMap<String, Family>>,
    carriers: Carriers,
    metrics: Mutex<BTreeMap<String, LinkMetrics>>,
    turns: Turns,
    tasks: Tasks,
    /// Another service has taken over, and everything is given up.
    given_up: CancellationToken,
}

/// A family that the journal says is linked.
#[derive(Clone)]
enum Family {
    /// It runs.
    Running(Arc<Running>),
    /// It does not run yet.
    Starting(Starting),
}

/// A family that is tried to be started.
#[derive(Clone)]
struct Starting {
    /// Why it does not run yet.
    why: String,
    /// Cancelled when whoever starts it shall leave it to somebody else.
    leave: CancellationToken,
}

impl Service {
    /// Opens store, journal and cache, takes the journal over, and starts every link that it holds. A cluster
    /// that cannot be reached delays only its own links.
    ///
    /// # Errors
    /// The store does not enforce put-if-absent or fails, the journal does not read, the cache is in use, or the
    /// signing key cannot be read.
    pub async fn open(
        config: ServiceConfig,
        env: Env,
        registry: Registry,
    ) -> Result<Arc<Service>, LinkerError> {
        std::fs::create_dir_all(&config.data).map_err(|error| LinkerError::Config {
            place: format!("data: {}", config.data.display()),
            problem: error.to_string(),
            fix: "give a folder that the service may write".into(),
        })?;
        let store = open_store(&config.store).await?;
        probe(&store, &env).await?;
        let signer = Arc::new(signer(&config, &env)?);
        let former_signer = former_signer(&config)?.map(Arc::new);
        let cache = Cache::open(&config.data)?;
        let journal = Journal::open(store.clone(), env.clone(), &standing::own_name(&config)).await?;
        let operations = Operations::new(env.clone(), config.limits.operations_kept_max);
        let service = Arc::new(Service {
            config,
            env,
            registry,
            store,
            journal,
            cache,
            signer,
            former_signer,
            operations,
            families: RwLock::default(),
            carriers: Carriers::default(),
            metrics: Mutex::default(),
            turns: Turns::default(),
            tasks: Tasks::new(),
            given_up: CancellationToken::new(),
        });
        let watching = service.clone();
        service.tasks.spawn(async move { watching.keep_watch().await });
        service.start_recorded();
        Ok(service)
    }

    /// The service's file.
    pub fn config(&self) -> &ServiceConfig {
        &self.config
    }

    /// Clock and randomness.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where its counters are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Verbs under way and ended.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// What was decided.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether it may act and every link runs.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.journal.check_mine().map_err(|error| error.to_string())?;
        for (name, family) in self.families.read().iter() {
            if let Family::Starting(starting) = family {
                return Err(format!("family {name} does not run yet: {}", starting.why));
            }
        }
        Ok(())
    }

    /// A running family.
    ///
    /// # Errors
    /// No plan of this name is linked, it could not be started yet, or another service has taken over.
    pub fn family(&self, name: &str) -> Result<Arc<Running>, LinkerError> {
        self.journal.check_mine()?;
        match self.families.read().get(name) {
            Some(Family::Running(running)) => Ok(running.clone()),
            Some(Family::Starting(starting)) => Err(LinkerError::refused(
                format!("family {name} is linked and does not run yet: {}", starting.why),
                "wait, or mend what it says; `towpath status` shows when it runs",
            )),
            None if self.was_linked(name) => Err(LinkerError::refused(
                format!("family {name} is not linked any more"),
                format!("`towpath evidence list {name}` shows what was; link its plan to mirror it again"),
            )),
            None => {
                let known: Vec<String> = self.families.read().keys().cloned().collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(LinkerError::refused(
                    format!("no family {name} is linked (linked: {known})"),
                    "link its plan first: `towpath link FILE`",
                ))
            }
        }
    }

    /// Every running family, by name.
    pub fn families(&self) -> Vec<Arc<Running>> {
        let families = self.families.read();
        let running = families.values().filter_map(|family| match family {
            Family::Running(running) => Some(running.clone()),
            Family::Starting(_) => None,
        });
        running.collect()
    }

    /// Families that are linked and do not run yet, with the reason.
    pub fn starting(&self) -> BTreeMap<String, String> {
        let families = self.families.read();
        let starting = families.iter().filter_map(|(name, family)| match family {
            Family::Starting(starting) => Some((name.clone(), starting.why.clone())),
            Family::Running(_) => None,
        });
        starting.collect()
    }

    /// Stops every task, within seconds; groups keep their routes, and fences their sessions. What is under way
    /// goes on from the journal at the next start.
    pub async fn close(&self) {
        let families = self.families();
        let families = families.iter().map(|running| running.end());
        tokio::join!(self.tasks.end(&self.env, GRACE), join_all(families));
        if let Err(error) = self.cache.flush().await {
            tracing::info!(%error, "the cache was not flushed; it is rebuilt at the next start");
        }
    }

    /// The counters of a family: registered once, used again when it is started again.
    fn metrics_of(&self, family: &str) -> Result<LinkMetrics, LinkerError> {
        let mut all = self.metrics.lock();
        if let Some(metrics) = all.get(family) {
            return Ok(metrics.clone());
        }
        let metrics = LinkMetrics::register(&self.registry, family)
            .map_err(|error| LinkerError::Bug(format!("metrics of family {family}: {error}")))?;
        all.insert(family.to_owned(), metrics.clone());
        Ok(metrics)
    }
}
