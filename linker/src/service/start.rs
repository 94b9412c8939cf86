//! Starting what the journal says is linked: connects, mirrors, and gives each group its mover.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_env::retry::RetryPolicy;
use towpath_plans::evidence::ClusterIdentity;
use towpath_plans::model::TopicSelector;
use towpath_plans::transition::{LinkRecord, LinkState};
use towpath_plans::{Plan, Side};

use super::tasks::{GRACE, Tasks};
use super::{Family, Service, watch};
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
            if matches!(record.link.state, LinkState::Cancelled | LinkState::Completed) {
                continue;
            }
            self.families
                .write()
                .insert(name.clone(), Family::Starting("the service has just started".into()));
            let (service, stop) = (self.clone(), self.tasks.stop().clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = service.start_until_it_runs(&name) => {}
                }
            });
        }
    }

    pub(super) async fn start_until_it_runs(self: &Arc<Self>, name: &str) {
        let mut delays = RetryPolicy::FOREVER.delays(&self.env);
        loop {
            let changing = self.changing.lock().await;
            // A person may have linked it anew meanwhile.
            if !matches!(self.families.read().get(name), Some(Family::Starting(_))) {
                return;
            }
            let record = self.journal.with(|recorded| recorded.families.get(name).cloned());
            let Some(record) = record else { return };
            match self.start(&record).await {
                Ok(running) => {
                    self.families.write().insert(name.to_owned(), Family::Running(running));
                    tracing::info!(family = name, "link runs again");
                    return;
                }
                Err(error) => {
                    tracing::info!(family = name, %error, "link cannot be started yet; trying again");
                    self.families.write().insert(name.to_owned(), Family::Starting(error.to_string()));
                }
            }
            drop(changing);
            self.env.sleep(delays.next_delay().unwrap_or(RetryPolicy::FOREVER.delay_max)).await;
        }
    }

    /// Connects both sides, creates what is missing at the target, and spawns every task of the family.
    pub(super) async fn start(self: &Arc<Self>, record: &FamilyRecord) -> Result<Arc<Running>, LinkerError> {
        let link = Arc::new(self.assemble(record).await?);
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
        let running = Arc::new(Running { link, diff, movers, carriers: self.carriers.clone(), tasks });
        running.tasks.spawn(watch::run(running.clone(), stop));
        Ok(running)
    }

    async fn assemble(&self, record: &FamilyRecord) -> Result<Link, LinkerError> {
        let linked = &record.linked;
        let plan = Arc::new(linked.plan.clone());
        let source = Cluster::connect(&self.config, &plan.source, Side::Source, &self.env).await?;
        let target = Cluster::connect(&self.config, &plan.target, Side::Target, &self.env).await?;
        check_identity(linked, &source, &target)?;
        let ledger = Ledger::open(LedgerSpec {
            store: self.store.clone(),
            family: plan.family.clone(),
            clusters: identities(&source, &target),
            signer: self.signer.clone(),
            former_signer: self.former_signer.clone(),
            standing: self.journal.standing().clone(),
            env: self.env.clone(),
        })
        .await?;
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
        let follow = Arc::new(Follow::new(mirror.clone(), selection(&plan)?));
        if let Err(error) = follow.look().await {
            mirror.pause().await;
            return Err(error);
        }
        let translator = Translator::new(&plan.family, mirror.clone(), Arc::new(self.cache.clone()));
        Ok(Link {
            service: self.config.name.clone(),
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
        })
    }
}

/// Both clusters, as evidence names them.
fn identities(source: &Cluster, target: &Cluster) -> Vec<ClusterIdentity> {
    let identity = |side, cluster: &Cluster| ClusterIdentity {
        side,
        name: cluster.name.clone(),
        cluster_id: cluster.id.clone(),
    };
    vec![identity(Side::Source, source), identity(Side::Target, target)]
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
