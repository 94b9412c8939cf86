//! The linking service of the demo, and how a person drives it: a service file, a plan file, the HTTP API that the
//! verbs of `towpath` talk to, and an evidence bundle that is verified with nothing but itself and a public key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_linker::config::ServiceConfig;
use towpath_linker::diff::DiffReport;
use towpath_linker::http::Api as ServiceApi;
use towpath_linker::http::body::{LinkBody, VerbBody};
use towpath_linker::moves::WAITING_FOR;
use towpath_linker::operation::{OperationState, OperationView, exit};
use towpath_linker::service::Service;
use towpath_linker::status::FamilyStatus;
use towpath_plans::evidence::{self, PublicKey, Signer};

use super::count::Side;
use super::estate::{Estate, GROUPS, TOPICS};
use super::report::VERIFIED;
use super::stage::until;
use crate::service::{Api, Talk, asked, of_family};

/// The family that moves.
pub const FAMILY: &str = "product-views";
/// How long one verb may take.
const VERB_MAX: Duration = Duration::from_secs(60);
/// How long requests under way may take to be answered at the end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A legacy Kafka's `group.initial.rebalance.delay.ms` (3 s by default) is part of a pause, twice when an evicted
/// consumer comes back before the fence stands.
const PAUSE_MAX: &str = "15s";
/// A mirror this close behind has caught up.
const CAUGHT_UP_MS: i64 = 1_000;

/// A verb that moves a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// From source to target.
    Cutover,
    /// From target to source.
    Rollback,
}

impl Verb {
    /// Where it moves a group to.
    pub fn to(self) -> Side {
        match self {
            Verb::Cutover => Side::Target,
            Verb::Rollback => Side::Source,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Cutover => "cutover",
            Verb::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a diff found.
pub struct DiffSeen {
    /// Records of the source that were compared.
    pub records: u64,
    /// Differences.
    pub differences: u64,
}

/// The service and the way to it.
pub struct Desk {
    service: Arc<Service>,
    served: JoinHandle<()>,
    stop: CancellationToken,
    api: Api,
    plan: String,
    /// Checks what the service signs.
    key: PublicKey,
}

impl Desk {
    /// Writes the service's file and the plan, and starts the service as `towpath serve` does.
    ///
    /// # Errors
    /// The service does not start.
    pub async fn open(estate: &Estate, env: &Env) -> Result<Desk> {
        let mut seed = [0; 32];
        env.fill(&mut seed);
        let signer = Signer::from_seed(seed);
        let key_path = estate.path("evidence-key.pem");
        std::fs::write(&key_path, signer.to_pem()?)?;
        let file = json!({
            "clusters": {
                "legacy": { "bootstrap": estate.bootstrap(Side::Source) },
                "towpath": { "bootstrap": estate.bootstrap(Side::Target) },
            },
            "store": estate.store(),
            "data": estate.path("linker"),
            "http": "127.0.0.1:0",
            "name": "towpath-demo",
            "signing_key": format!("file:{}", key_path.display()),
        });
        let file = written(estate, "service.yaml", &file)?;
        let plan = json!({
            "family": FAMILY,
            "source": "legacy",
            "target": "towpath",
            "topics": TOPICS.each_ref().map(|topic| topic.name),
            "groups": GROUPS.each_ref().map(|group| {
                json!({ "name": group.name, "fence": group.fence, "pause_max": PAUSE_MAX })
            }),
        });
        let plan = std::fs::read_to_string(written(estate, "product-views.yaml", &plan)?)?;

        let config = ServiceConfig::read(&file)?;
        let registry = prometheus::Registry::new();
        let api = ServiceApi::new(&config, &registry, crate::evidence::report)?;
        let socket = TcpListener::bind(config.http).await.context("no loopback port is free")?;
        let address = socket.local_addr()?;
        let service = Service::open(config, env.clone(), registry).await?;
        let stop = CancellationToken::new();
        let served = tokio::spawn(api.serve(Arc::clone(&service), socket, stop.clone()));
        let talk = Talk { service: format!("http://{address}"), token: None, json: true };
        Ok(Desk { service, served, stop, api: talk.api()?, plan, key: signer.public() })
    }

    /// `towpath link`.
    ///
    /// # Errors
    /// The plan is refused, or the link does not start.
    pub async fn link(&self) -> Result<()> {
        let request = asked("the demo", false);
        let body = LinkBody { file: "product-views.yaml".into(), yaml: self.plan.clone(), request };
        let begun: OperationView = self.api.post(&["v1", "links"], &body).await?;
        self.done("link", &begun.id).await.map(drop)
    }

    /// Records that are mirrored, once every partition has caught up.
    ///
    /// # Errors
    /// The service does not answer, or a partition has halted.
    pub async fn caught_up(&self) -> Result<Option<u64>> {
        let status = self.status().await?;
        let partitions: Vec<_> = status.topics.iter().flat_map(|topic| &topic.partitions).collect();
        if let Some(halt) = partitions.iter().find_map(|partition| partition.halted.as_ref()) {
            bail!("the mirror has halted: {}", halt.reason);
        }
        let expected: i32 = TOPICS.iter().map(|topic| topic.partitions).sum();
        let close = |lag_ms: Option<i64>| lag_ms.is_some_and(|ms| ms <= CAUGHT_UP_MS);
        let all_close = partitions.iter().all(|partition| close(partition.lag_ms));
        let held = partitions.iter().map(|it| (it.target_log_end - it.target_log_start).unsigned_abs()).sum();
        Ok((partitions.len() as i32 == expected && all_close).then_some(held))
    }

    /// `towpath diff`: through what the source holds now.
    ///
    /// # Errors
    /// It could not be compared.
    pub async fn diff(&self) -> Result<DiffSeen> {
        let begun: OperationView = self.post("diff", &VerbBody::default()).await?;
        let view = self.ended("diff", &begun.id).await?;
        if !matches!(view.exit_code, Some(exit::DONE | exit::DIFFERENCES)) {
            bail!("diff: {}", view.problem.unwrap_or_else(|| "it did not end well".into()));
        }
        let report: DiffReport = serde_json::from_value(view.outcome)?;
        Ok(DiffSeen { records: report.records, differences: report.differences })
    }

    /// How many consumers of a group are held at the target.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn held(&self, group: &str) -> Result<usize> {
        let status = self.status().await?;
        let seen = status.groups.iter().find(|seen| seen.record.group == group);
        Ok(seen.map_or(0, |seen| seen.held_members as usize))
    }

    /// Begins `towpath cutover` or `rollback` of one group; answers the operation's id.
    ///
    /// # Errors
    /// It is refused at once.
    pub async fn begin(&self, verb: Verb, group: &str) -> Result<String> {
        let body =
            VerbBody { group: Some(group.into()), request: asked("the demo", false), ..VerbBody::default() };
        let begun: OperationView = self.post(verb.name(), &body).await?;
        Ok(begun.id)
    }

    /// Whether an operation waits for members to leave, or has ended without.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn waits_or_ended(&self, id: &str) -> Result<Option<()>> {
        let view = self.operation(id).await?;
        let waits = view.steps.iter().any(|step| step.text.starts_with(WAITING_FOR));
        Ok((waits || view.state == OperationState::Ended).then_some(()))
    }

    /// Waits for the end of a move; answers the pause by the service's clock.
    ///
    /// # Errors
    /// A gate refuses, or the move fails.
    pub async fn moved(&self, verb: Verb, id: &str) -> Result<Option<u64>> {
        let outcome = self.done(verb.name(), id).await?;
        Ok(outcome.pointer("/moves/0/pause_ms").and_then(Value::as_u64))
    }

    /// `towpath evidence export`, then `evidence verify` of the file: the verdict, and how many entries it holds.
    ///
    /// # Errors
    /// The bundle cannot be had; one that does not hold is a verdict.
    pub async fn evidence(&self, estate: &Estate) -> Result<(String, u64)> {
        let path = estate.path("product-views.evidence");
        std::fs::write(&path, self.api.text(&of_family(FAMILY, "evidence/bundle")).await?)?;
        let bundle = std::fs::read_to_string(&path)?;
        Ok(match evidence::verify(&bundle, Some(self.key)) {
            Ok(verified) if verified.is_trusted() => (VERIFIED.into(), verified.header.entries),
            Ok(verified) => (verified.to_string(), verified.header.entries),
            Err(broken) => (broken.to_string(), 0),
        })
    }

    /// Ends the service.
    pub async fn close(self) {
        self.stop.cancel();
        self.service.close().await;
        // Requests under way are answered or go on without a listener.
        let _ = tokio::time::timeout(DRAIN_MAX, self.served).await;
    }

    async fn status(&self) -> Result<FamilyStatus> {
        Ok(self.api.get(&of_family(FAMILY, "status"), &[]).await?)
    }

    async fn post(&self, verb: &str, body: &VerbBody) -> Result<OperationView> {
        Ok(self.api.post(&of_family(FAMILY, verb), body).await?)
    }

    async fn operation(&self, id: &str) -> Result<OperationView> {
        Ok(self.api.get(&["v1", "operations", id], &[]).await?)
    }

    async fn ended(&self, verb: &str, id: &str) -> Result<OperationView> {
        until(verb, VERB_MAX, async || {
            let view = self.operation(id).await?;
            Ok((view.state == OperationState::Ended).then_some(view))
        })
        .await
    }

    /// Waits for a good end; answers the outcome.
    async fn done(&self, verb: &str, id: &str) -> Result<Value> {
        let view = self.ended(verb, id).await?;
        match view.exit_code {
            Some(exit::DONE) => Ok(view.outcome),
            _ => bail!("{verb}: {}", view.problem.unwrap_or_else(|| "it did not end well".into())),
        }
    }
}

/// Writes a file of the demo's folder. JSON is YAML too, and quotes every path and name.
fn written(estate: &Estate, name: &str, document: &Value) -> Result<std::path::PathBuf> {
    let path = estate.path(name);
    std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(document)?))?;
    Ok(path)
}
