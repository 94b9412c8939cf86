//! Starting what the journal says is linked: connects, mirrors, and gives each group its mover.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use towpath_env::retry::RetryPolicy;
use towpath_plans::evidence::ClusterIdentity;
use towpath_plans::model::TopicSelector;
use towpath_plans::transition::{LinkRecord, LinkState};
use towpath_plans::{Plan, Side};

use super::tasks::{GRACE, Tasks};
use super::{Family, Service, Starting, adopt, watch};
use crate::cluster::Cluster;
use crate::diff::Diff;
use crate::error::LinkerError;
use crate::evidence::{Ledger, LedgerSpec};
use crate::link::Link;
use crate::link::follow::{Follow, TopicSelection};
use crate::link::mirror::{Mirror, MirrorSpec};
use crate::link::translate::Translator;
use crate::moves::{Carriers, Mover};
use crate::state::{FamilyRecord, Linked};

/// A running family.
pub struct Running {
    /// What its parts share.
    pub link: Arc<Link>,
    /// Its diff.
    pub diff: Arc<Diff>,
    /// Its groups by name.
    pub movers: BTreeMap<String, Arc<Mover>>,
    carriers: Carriers,
    tasks: Tasks,
}

impl Running {
    /// The link's state, as the journal has it.
    pub fn record(&self) -> LinkRecord {
        let family = self.link.family();
        self.link.journal.with(|recorded| match recorded.families.get(family) {
            Some(record) => record.link.clone(),
            None => LinkRecord::new(family),
        })
    }

    /// Ends its tasks, within seconds; what is in flight is settled or read again by the next start.
    pub(super) async fn end(&self) {
        let mirror = &self.link.mirror;
        mirror.stop();
        self.carriers.remove(self.link.family());
        let env = &self.link.env;
        let paused = async {
            tokio::select! {
                () = mirror.pause() => {}
                // Its tasks have been asked to end; what they wait for ends them, or the process does.
                () = env.sleep(GRACE) => {}
            }
        };
        tokio::join!(self.tasks.end(env, GRACE), paused);
    }
}

impl Service {
    /// Starts every family of the journal in the background, again and again until it runs.
    pub(super) fn start_recorded(self: &Arc<Self>) {
        for (name, record) in self.journal.recorded().families {
            if record.is_over() {
                continue;
            }
            let leave = self.set_starting(&name, "the service has just started");
            self.keep_starting(&name, leave);
        }
    }

    /// The family does not run yet; whoever starts it leaves it when the answer is cancelled. Whoever started it
    /// before leaves it now.
    pub(super) fn set_starting(&self, family: &str, why: &str) -> CancellationToken {
        let leave = self.tasks.stop().child_token();
        let starting = Family::Starting(Starting { why: why.into(), leave: leave.clone() });
        if let Some(Family::Starting(before)) = self.families.write().insert(family.to_owned(), starting) {
            before.leave.cancel();
        }
        leave
    }

    /// Starts the family in the background, again and again until it runs.
    pub(super) fn keep_starting(self: &Arc<Self>, family: &str, leave: CancellationToken) {
        let (service, family) = (self.clone(), family.to_owned());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = leave.cancelled() => {}
                () = service.start_until_it_runs(&family, &leave) => {}
            }
        });
    }

    async fn start_until_it_runs(self: &Arc<Self>, name: &str, leave: &CancellationToken) {
        let mut delays = RetryPolicy::FOREVER.delays(&self.env);
        loop {
            let turn = self.turns.take(name).await;
            let Ok(record) = self.record_of(name) else { return };
            // Whoever gave it up had the turn before.
            if record.is_over() || leave.is_cancelled() {
                return;
            }
            match self.start(&record).await {
                Ok(running) => {
                    self.families.write().insert(name.to_owned(), Family::Running(running));
                    tracing::info!(family = name, "link runs again");
                    return;
                }
                Err(error) => {
                    tracing::info!(family = name, %error, "link cannot be started yet; trying again");
                    let starting = Starting { why: error.to_string(), leave: leave.clone() };
                    self.families.write().insert(name.to_owned(), Family::Starting(starting));
                }
            }
            drop(turn);
            self.env.sleep(delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max)).await;
        }
    }

    /// Connects both sides, creates what is missing at the target, and spawns every task of the family. May be
    /// dropped at any time: nothing runs until it returns.
    pub(super) async fn start(self: &Arc<Self>, record: &FamilyRecord) -> Result<Arc<Running>, LinkerError> {
        let (link, unfinished) = self.assemble(record).await?;
        let link = Arc::new(link);
        adopt::settle(&link, record).await?;
        let diff = Diff::open(link.clone())?;
        let groups = &link.plan.groups;
        let movers: BTreeMap<String, Arc<Mover>> = groups
            .iter()
            .map(|group| {
                let carriers = self.carriers.clone();
                (group.name.clone(), Mover::new(link.clone(), diff.clone(), carriers, group.clone()))
            })
            .collect();
        self.carriers.add(link.clone(), diff.clone());
        let tasks = self.tasks.child();
        let stop = tasks.stop().clone();
        tasks.spawn(link.follow.clone().run(stop.clone()));
        tasks.spawn(diff.clone().run(stop.clone()));
        for mover in movers.values() {
            tasks.spawn(mover.clone().run(stop.clone()));
        }
        unfinished.runs();
        let running = Arc::new(Running { link, diff, movers, carriers: self.carriers.clone(), tasks });
        running.tasks.spawn(watch::run(running.clone(), stop));
        Ok(running)
    }

    /// The family's evidence, taken over from whoever wrote it before.
    pub(super) async fn ledger_of(&self, linked: &Linked) -> Result<Ledger, LinkerError> {
        Ledger::open(LedgerSpec {
            store: self.store.clone(),
            family: linked.plan.family.clone(),
            clusters: identities(linked),
            signer: self.signer.clone(),
            former_signer: self.former_signer.clone(),
            standing: self.journal.standing().clone(),
            env: self.env.clone(),
        })
        .await
    }

    async fn assemble(&self, record: &FamilyRecord) -> Result<(Link, Unfinished), LinkerError> {
        let linked = &record.linked;
        let plan = Arc::new(linked.plan.clone());
        let source = Cluster::connect(&self.config, &plan.source, Side::Source, &self.env).await?;
        let target = Cluster::connect(&self.config, &plan.target, Side::Target, &self.env).await?;
        check_identity(linked, &source, &target)?;
        let ledger = self.ledger_of(linked).await?;
        let mirror = Mirror::new(MirrorSpec {
            link: plan.family.clone(),
            env: self.env.clone(),
            source: source.client.clone(),
            source_cluster_id: source.id.clone(),
            target: target.client.clone(),
            limits: self.config.limits,
            bandwidth_bytes_per_s: plan.link.bandwidth_bytes_per_s_max,
            metrics: self.metrics_of(&plan.family)?,
        });
        if matches!(record.link.state, LinkState::Paused { .. }) {
            mirror.pause().await;
        }
        let unfinished = Unfinished(Some(mirror.clone()));
        let follow = Arc::new(Follow::new(mirror.clone(), selection(&plan)?));
        follow.look().await?;
        let translator = Translator::new(&plan.family, mirror.clone(), Arc::new(self.cache.clone()));
        let link = Link {
            plan_hash: linked.plan_hash,
            plan,
            source,
            target,
            env: self.env.clone(),
            limits: self.config.limits,
            mirror,
            follow,
            translator,
            journal: self.journal.clone(),
            ledger,
            cache: self.cache.clone(),
        };
        Ok((link, unfinished))
    }
}

/// A mirror whose link does not run yet: it ends with this, unless the link comes to run.
struct Unfinished(Option<Arc<Mirror>>);

impl Unfinished {
    fn runs(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(mirror) = &self.0 {
            mirror.stop();
        }
    }
}

/// Both clusters, as evidence names them: those that the plan was linked with, or nothing is started.
fn identities(linked: &Linked) -> Vec<ClusterIdentity> {
    let identity = |side, name: &str, id: &str| ClusterIdentity {
        side,
        name: name.to_owned(),
        cluster_id: id.to_owned(),
    };
    vec![
        identity(Side::Source, &linked.plan.source, &linked.source_cluster_id),
        identity(Side::Target, &linked.plan.target, &linked.target_cluster_id),
    ]
}

/// The addresses must still lead to the clusters that the plan was linked with.
fn check_identity(linked: &Linked, source: &Cluster, target: &Cluster) -> Result<(), LinkerError> {
    let expected = [
        (Side::Source, source, &linked.source_cluster_id),
        (Side::Target, target, &linked.target_cluster_id),
    ];
    for (side, cluster, id) in expected {
        if cluster.id != *id {
            return Err(LinkerError::Answer {
                side,
                problem: format!(
                    "clusters.{} now leads to cluster {}, family {} was linked with {id}",
                    cluster.name, cluster.id, linked.plan.family
                ),
                fix: "correct its `bootstrap` in the service's file".into(),
            });
        }
    }
    Ok(())
}

fn selection(plan: &Plan) -> Result<TopicSelection, LinkerError> {
    let mut selection = TopicSelection::default();
    for topic in &plan.topics {
        match topic {
            TopicSelector::Name(name) => {
                selection.names.insert(name.clone());
            }
            TopicSelector::Pattern(pattern) => {
                let whole = format!("^(?:{})$", pattern.as_str());
                let regex = regex::Regex::new(&whole).map_err(|error| {
                    LinkerError::Bug(format!("pattern {topic} does not compile: {error}"))
                })?;
                selection.patterns.push(regex);
            }
        }
    }
    Ok(selection)
}
