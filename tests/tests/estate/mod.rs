//! A real Apache Kafka, Towpath's broker and the linking service in one process, with a writer and live groups.

mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::Value;
use tempfile::TempDir;
use towpath_broker::Broker;
use towpath_env::Env;
use towpath_linker::config::ServiceConfig;
use towpath_linker::operation::{Ending, Request, exit};
use towpath_linker::service::Service;
use towpath_plans::evidence::Actor;
use towpath_plans::gates::{DiffObserved, Verdict};
use towpath_plans::transition::{GroupMove, Verb};
use towpath_tests::kafka::{Kafka, KafkaOptions};
use towpath_tests::mirroring::{broker, connect};
use towpath_tests::wait;
use towpath_wire::client::admin::{NewTopic, create_topic};

pub const TOPIC: &str = "views";
pub const GROUP: &str = "ranker";
pub const FAMILY: &str = "product-views";
pub const PARTITIONS: i32 = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// Both clusters and the service between them.
pub struct Estate {
    pub kafka: Kafka,
    broker: Broker,
    /// `None` while it is down.
    service: Mutex<Option<Arc<Service>>>,
    folder: TempDir,
}

impl Estate {
    pub async fn start(version: &str) -> Estate {
        Estate::start_with(KafkaOptions::new(version)).await
    }

    pub async fn start_with(options: KafkaOptions) -> Estate {
        // Shown when a test fails; a second test of the same binary finds it set up.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer();
        let _ = log.with_ansi(false).try_init();
        let folder = tempfile::tempdir().unwrap();
        let kafka = Kafka::start_with(options).await.unwrap();
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

    fn service(&self) -> Arc<Service> {
        self.service.lock().clone().unwrap()
    }

    pub async fn link(&self) {
        self.link_with("fence: evict, pause_max: 30s").await;
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
        self.service().close().await;
        self.broker.stop().await;
    }
}

/// The family's plan; `how` is what it says of its group.
fn plan(how: &str) -> String {
    format!(
        "family: {FAMILY}\nsource: legacy\ntarget: towpath\ntopics: [{TOPIC}]\ngroups:\n  \
         - {{ name: {GROUP}, {how} }}\nlink: {{ sync_interval: 500ms }}\n"
    )
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

/// Writes to every partition until it is stopped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeMap<i32, i64>>>,
}

impl Writer {
    fn start(bootstrap: &str) -> Writer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("linger.ms", "5").set("broker.address.family", "v4");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for partition in 0..PARTITIONS {
                    let record: BaseRecord<'_, str, str> =
                        BaseRecord::to(TOPIC).partition(partition).key("key").payload("a product view");
                    producer.send(record).map_err(|(error, _)| error).unwrap();
                    *ends.entry(partition).or_default() += 1;
                }
                // The workload's pace, not a wait for anything.
                std::thread::sleep(Duration::from_millis(10));
            }
            producer.flush(LIMIT).unwrap();
            ends
        });
        Writer { stop, thread: Some(thread) }
    }

    /// The end of each partition.
    pub fn stop(&mut self) -> BTreeMap<i32, i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the members of a group saw and did.
#[derive(Default)]
struct Seen {
    delivered: Vec<(i32, i64)>,
    committed: BTreeMap<i32, i64>,
    commits: BTreeMap<usize, u64>,
}

/// Live members of the group on one cluster; each commits behind every record.
pub struct Group {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Group {
    pub fn start(bootstrap: &str, members: usize) -> Group {
        Group::start_with(bootstrap, members, &[])
    }

    /// Members with settings of their own.
    pub fn start_with(bootstrap: &str, members: usize, settings: &'static [(&str, &str)]) -> Group {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let threads = (0..members)
            .map(|index| {
                let (stop, seen, bootstrap) = (stop.clone(), seen.clone(), bootstrap.to_owned());
                std::thread::spawn(move || consume(&bootstrap, index, settings, &stop, &seen))
            })
            .collect();
        Group { stop, seen, threads }
    }

    pub fn delivered(&self) -> usize {
        self.seen.lock().delivered.len()
    }

    pub fn offsets(&self) -> BTreeSet<(i32, i64)> {
        self.seen.lock().delivered.iter().copied().collect()
    }

    pub fn first_delivered(&self, partition: i32) -> Option<i64> {
        self.seen.lock().delivered.iter().find(|(at, _)| *at == partition).map(|(_, offset)| *offset)
    }

    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.seen.lock().committed.get(&partition).copied()
    }

    /// Waits until so many members have committed since the call, and every partition has a commit.
    pub async fn wait_for_commits(&self, members: usize) {
        self.seen.lock().commits.clear();
        wait::until("every member to commit", LIMIT, async || {
            let seen = self.seen.lock();
            let all = seen.commits.len() >= members && seen.committed.len() == PARTITIONS as usize;
            Ok(all.then_some(()))
        })
        .await
        .unwrap();
    }

    pub async fn wait_until_committed(&self, ends: &BTreeMap<i32, i64>) {
        wait::until("the group to reach the end", LIMIT, async || {
            let seen = self.seen.lock();
            let reached = ends.iter().all(|(partition, end)| seen.committed.get(partition) == Some(end));
            Ok(reached.then_some(()))
        })
        .await
        .unwrap();
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consume(bootstrap: &str, index: usize, settings: &[(&str, &str)], stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("group.id", GROUP)
        .set("client.id", format!("member-{index}"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    // KIP-848 leaves these to the broker.
    if settings.iter().all(|(key, _)| *key != "group.protocol") {
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
    }
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let (partition, offset) = (message.partition(), message.offset());
        seen.lock().delivered.push((partition, offset));
        if consumer.commit_message(&message, CommitMode::Sync).is_ok() {
            let mut seen = seen.lock();
            seen.committed.insert(partition, offset + 1);
            *seen.commits.entry(index).or_default() += 1;
        }
    }
}
