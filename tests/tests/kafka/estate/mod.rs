//! A real Apache Kafka, Towpath's broker and the linking service in one process, with a writer and live groups.

mod live;
mod sheet;
mod takeover;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use live::{Group, Writer};
pub use sheet::Sheet;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use towpath_broker::Broker;
use towpath_env::Env;
use towpath_linker::config::ServiceConfig;
use towpath_linker::groups::fence::{Fence, Joined};
use towpath_linker::operation::{Ending, Operation, OperationView, Request, exit};
use towpath_linker::service::Service;
use towpath_plans::evidence::Actor;
use towpath_plans::gates::{DiffObserved, Verdict};
use towpath_plans::transition::{FenceHold, GroupMove, Verb};
use towpath_tests::kafka::{Kafka, KafkaOptions, Pool, Tool};
use towpath_tests::mirroring::{broker, connect};
use towpath_tests::wait;
use towpath_wire::client::TopicPartition;
use towpath_wire::client::admin::{CommittedOffset, NewTopic, create_topic, leave_group, offset_fetch_all};

pub const TOPIC: &str = "views";
pub const GROUP: &str = "ranker";
pub const FAMILY: &str = "product-views";
pub const PARTITIONS: i32 = 3;
pub const LIMIT: Duration = Duration::from_secs(60);
/// What plans say of the group.
pub const EVICT: &str = "fence: evict, pause_max: 30s";
pub const WAIT: &str = "fence: wait";
/// What a rollback of [`WAIT`] tells.
pub const WAITS: &str = "waiting for 1 member to leave the target";

/// Both clusters and the service between them.
pub struct Estate {
    pub kafka: Kafka,
    broker: Broker,
    /// `None` while it is down.
    service: Mutex<Option<Arc<Service>>>,
    folder: TempDir,
}

/// A group that was moved, and whose member goes on at the target.
pub struct Moved {
    pub estate: Estate,
    pub writer: Writer,
    pub early: Group,
    /// What the cutover answered.
    pub document: Value,
}

impl Estate {
    /// An estate whose family is linked while a member of the group reads at the source.
    pub async fn with_live_group(options: KafkaOptions, how: &str) -> (Estate, Writer, Group) {
        let estate = Estate::start_with(options).await;
        let writer = estate.write_on();
        let group = Group::start(&estate.legacy(), 1);
        group.wait_for_commits(1).await;
        estate.link_with(how).await;
        (estate, writer, group)
    }

    /// The same after a cutover; the source's member has stopped before.
    pub async fn with_moved_group(options: KafkaOptions, how: &str) -> Moved {
        let (estate, writer, mut group) = Estate::with_live_group(options, how).await;
        let early = Group::start(&estate.towpath(), 1);
        group.stop();
        estate.wait_for_gates(Verb::Cutover).await;
        let document = estate.run(Verb::Cutover).await;
        early.wait_for_commits(1).await;
        Moved { estate, writer, early, document }
    }

    pub async fn start(version: &str) -> Estate {
        Estate::start_with(KafkaOptions::new(version)).await
    }

    pub async fn start_with(options: KafkaOptions) -> Estate {
        // Shown when a test fails; a second test of the same binary finds it set up.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer();
        let _ = log.with_ansi(false).try_init();
        let folder = tempfile::tempdir().unwrap();
        let kafka = Pool::shared().lease(options).await.unwrap();
        let source = connect(&kafka.bootstrap()).await.unwrap();
        create_topic(&source, NewTopic::new(TOPIC, PARTITIONS)).await.unwrap();
        let broker = broker(folder.path(), 0).await.unwrap();
        let service = serve(folder.path(), &kafka.bootstrap(), &broker.address().to_string()).await;
        Estate { kafka, broker, service: Mutex::new(Some(service)), folder }
    }

    pub fn legacy(&self) -> String {
        self.kafka.bootstrap()
    }

    pub fn towpath(&self) -> String {
        self.broker.address().to_string()
    }

    pub fn service(&self) -> Arc<Service> {
        self.service.lock().clone().unwrap()
    }

    pub async fn link(&self) {
        self.link_with(EVICT).await;
    }

    /// Links the family; `how` is what the plan says of its group.
    pub async fn link_with(&self, how: &str) {
        let operation = self.service().link("plan.yaml", &plan(how), &request()).await.unwrap();
        let ended = operation.ended().await;
        assert_eq!(ended.exit_code, Some(exit::DONE), "{ended:#?}");
    }

    /// Waits until a dry run finds nothing in the way.
    pub async fn wait_for_gates(&self, verb: Verb) {
        self.wait_for_diff().await;
        let last = Mutex::new(String::new());
        let passed = wait::until("the gates to pass", LIMIT, async || {
            let ending = self.execute(verb, Request { dry_run: true, ..request() }).await;
            *last.lock() = ending.problem.clone().unwrap_or_default();
            Ok((ending.exit_code == exit::DONE).then_some(()))
        });
        if let Err(error) = passed.await {
            panic!("{error}: {}", last.into_inner());
        }
    }

    /// Waits until every partition is compared and equal.
    pub async fn wait_for_diff(&self) {
        let running = self.service().family(FAMILY).unwrap();
        wait::until("the diff to pass", LIMIT, async || {
            let seen = running.diff.observed(&[TOPIC.to_owned()]);
            let passes = |seen: &DiffObserved| seen.verdict == Verdict::Pass && seen.compared_records > 0;
            Ok((seen.len() == PARTITIONS as usize && seen.iter().all(passes)).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Runs a verb to its end; answers the move's document.
    pub async fn run(&self, verb: Verb) -> Value {
        let ending = self.execute(verb, request()).await;
        assert_eq!(ending.exit_code, exit::DONE, "{ending:#?}");
        ending.outcome["moves"][0].clone()
    }

    /// Runs a verb as soon as only the members are in the way.
    pub async fn refused(&self, verb: Verb) -> Ending {
        self.wait_for_diff().await;
        let seen = wait::until("every other gate to pass", LIMIT, async || {
            let ending = self.execute(verb, request()).await;
            let problem = ending.problem.clone().unwrap_or_default();
            let only = problem.lines().filter(|line| line.starts_with("fix:")).count() == 1;
            Ok((only && problem.contains("members-ready")).then_some(ending))
        });
        seen.await.unwrap()
    }

    pub async fn execute(&self, verb: Verb, request: Request) -> Ending {
        let operation = self.service().move_groups(verb, FAMILY, Some(GROUP), &request).await.unwrap();
        let ended = operation.ended().await;
        Ending {
            exit_code: ended.exit_code.unwrap(),
            problem: ended.problem.clone(),
            outcome: ended.outcome.clone(),
        }
    }

    pub fn record(&self) -> GroupMove {
        self.service().family(FAMILY).unwrap().movers[GROUP].record()
    }

    /// Gives up the way back; answers its exit code and what stands in the way.
    pub async fn complete(&self, request: &Request, accept_no_stop: bool) -> (Option<u8>, String) {
        let service = self.service();
        let operation = service.complete(FAMILY, GROUP, accept_no_stop, request).await.unwrap();
        let ended = operation.ended().await;
        (ended.exit_code, ended.problem.unwrap_or_default())
    }

    /// Changes the source's ACLs on the group with Kafka's own tool.
    pub async fn acl(&self, change: &[&str]) {
        let bootstrap = self.legacy();
        let arguments = ["--bootstrap-server", &bootstrap, "--group", GROUP];
        self.kafka.tools().run(Tool::Acls, &[&arguments[..], change].concat()).await.unwrap();
    }

    /// The source lets everybody but the service act in the group. It needs [`with_acls`].
    pub async fn deny_service(&self) {
        self.acl(&["--add", "--allow-principal", "User:*", "--operation", "All"]).await;
        self.acl(&[&["--add"], &DENIED[..]].concat()).await;
        // The controller knows it before the broker does.
        let source = connect(&self.legacy()).await.unwrap();
        wait::until("the source to deny the service", LIMIT, async || {
            let refused = leave_group(&source, GROUP, &["nobody"], "a test").await.err();
            let refused = refused.and_then(|error| error.code());
            Ok((refused == Some(ResponseError::GroupAuthorizationFailed)).then_some(()))
        })
        .await
        .unwrap();
    }

    /// And the service again.
    pub async fn allow_service(&self) {
        self.acl(&[&["--remove", "--force"], &DENIED[..]].concat()).await;
    }

    /// Begins a verb.
    pub async fn begin(&self, verb: Verb) -> Arc<Operation> {
        self.service().move_groups(verb, FAMILY, Some(GROUP), &request()).await.unwrap()
    }

    pub fn alarms(&self) -> Vec<String> {
        let status = self.service().family(FAMILY).unwrap().movers[GROUP].status();
        status.map(|status| status.alarms).unwrap_or_default()
    }

    pub async fn wait_for_alarm(&self, word: &str) {
        wait::until("the alarm", LIMIT, async || {
            Ok(self.alarms().iter().any(|alarm| alarm.contains(word)).then_some(()))
        })
        .await
        .unwrap();
    }

    /// What the journal says that the fence member committed before its last commit: the last one may not stand.
    pub async fn source_positions(&self) -> BTreeMap<i32, i64> {
        wait::until("positions committed back", LIMIT, async || {
            let recorded = self.service().journal().recorded();
            let positions = recorded.families[FAMILY].source_positions.get(GROUP);
            Ok(positions.map(|[_, before]| before.iter().map(|at| (at.partition, at.offset)).collect()))
        })
        .await
        .unwrap()
    }

    /// Waits until the source's coordinator has just what `group` has committed.
    pub async fn wait_for_source_commits(&self, group: &Group) {
        let source = connect(&self.legacy()).await.unwrap();
        wait::until("the commits to stand at the source", LIMIT, async || {
            // Until an ACL is gone, looking is refused.
            let there = offset_fetch_all(&source, GROUP, false).await.map(by_partition).ok();
            Ok((there.as_ref() == Some(&group.seen.lock().committed)).then_some(()))
        })
        .await
        .unwrap();
    }

    pub async fn evidence(&self) -> String {
        let running = self.service().family(FAMILY).unwrap();
        let lines = running.link.ledger.lines().await.unwrap();
        lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// The service goes down.
    pub async fn close_service(&self) {
        let service = self.service.lock().take().unwrap();
        service.close().await;
    }

    /// And comes up again on the same store.
    pub async fn open_service(&self) {
        let service = serve(self.folder.path(), &self.legacy(), &self.towpath()).await;
        *self.service.lock() = Some(service);
        wait::until("the family to run", LIMIT, async || Ok(self.service().ready().is_ok().then_some(())))
            .await
            .unwrap();
    }

    pub fn write_on(&self) -> Writer {
        Writer::start(&self.legacy())
    }

    pub async fn stop(self) {
        // A test may have closed it.
        let service = self.service.lock().take();
        if let Some(service) = service {
            service.close().await;
        }
        self.broker.stop().await;
        Pool::shared().give_back(self.kafka);
    }
}

/// Clients without a name, as the service is one here.
const DENIED: [&str; 4] = ["--deny-principal", "User:ANONYMOUS", "--operation", "Read"];

/// A Kafka that obeys ACLs.
pub fn with_acls() -> KafkaOptions {
    KafkaOptions::new("4.1.1")
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
}

/// Waits until an operation tells a step that begins so.
pub async fn told(operation: &Operation, text: &str) {
    let mut view = operation.watch();
    let tells = |view: &OperationView| view.steps.iter().any(|step| step.text.starts_with(text));
    let told = view.wait_for(|view| tells(view) || view.exit_code.is_some());
    let told = tokio::time::timeout(LIMIT, told).await.map(|told| told.unwrap().clone());
    assert!(told.as_ref().is_ok_and(tells), "it does not tell {text:?}: {told:?}");
}

/// The family's plan; `how` is what it says of its group.
fn plan(how: &str) -> String {
    format!(
        "family: {FAMILY}\nsource: legacy\ntarget: towpath\ntopics: [{TOPIC}]\ngroups:\n  \
         - {{ name: {GROUP}, {how} }}\nlink: {{ sync_interval: 500ms }}\n"
    )
}

/// What a group has committed at a cluster.
pub async fn committed_at(bootstrap: &str, group: &str) -> BTreeMap<i32, i64> {
    let client = connect(bootstrap).await.unwrap();
    by_partition(offset_fetch_all(&client, group, false).await.unwrap())
}

fn by_partition(committed: BTreeMap<TopicPartition, CommittedOffset>) -> BTreeMap<i32, i64> {
    committed.iter().map(|(id, at)| (id.partition, at.offset)).collect()
}

/// Joins as the fence member.
pub async fn hold(fence: &Fence) -> FenceHold {
    wait::until("the fence to stand", LIMIT, async || match fence.join(&[]).await? {
        Joined::Holds(hold) => Ok(Some(hold)),
        Joined::Occupied | Joined::Again => Ok(None),
    })
    .await
    .unwrap()
}

async fn serve(folder: &Path, legacy: &str, towpath: &str) -> Arc<Service> {
    serve_from(folder, &folder.join("linker"), legacy, towpath).await
}

/// A service with its cache under `data`.
async fn serve_from(folder: &Path, data: &Path, legacy: &str, towpath: &str) -> Arc<Service> {
    let text = format!(
        "clusters:\n  legacy: {{ bootstrap: \"{legacy}\" }}\n  towpath: {{ bootstrap: \"{towpath}\" }}\n\
         store: \"file://{0}/journal\"\ndata: \"{1}\"\n\
         limits: {{ fetch_wait_ms: 100, topic_check_ms: 500 }}\n",
        folder.display(),
        data.display()
    );
    let config = ServiceConfig::parse(&text, "service.yaml").unwrap();
    // A service that has just been closed gives its cache up when its last task has ended.
    wait::until("the service to open", LIMIT, async || {
        Ok(Service::open(config.clone(), Env::real(), prometheus::Registry::new()).await.ok())
    })
    .await
    .unwrap()
}

pub fn request() -> Request {
    Request::by(Actor { name: "test".into(), authenticated: false, role: "unauthenticated".into() })
}
