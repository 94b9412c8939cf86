//! [`Metadata`]: the handle that proposes entries to the shared log and follows it.

use std::sync::Arc;

use object_store::ObjectStore;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use towpath_env::Env;
use towpath_shared_log::{ErrorKind, LogError, Polling, SharedLog};

use super::entry::codec::encode_group;
use super::entry::{Entry, Rejection};
use super::image::Image;
use super::writer::{Proposal, Request, Writer};
use crate::background::Background;

/// Where the metadata log lives in the store.
pub const LOG_PREFIX: &str = "metadata";
/// So many proposals may wait; more wait before they are queued.
const QUEUE_MAX: usize = 1_024;

/// The cluster's metadata, shared by all rooms of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    published: Arc<Published>,
    requests: mpsc::Sender<Request>,
    tasks: Background,
}

/// The newest image, as the writer publishes it.
pub(super) struct Published {
    image: Mutex<Arc<Image>>,
    changes: watch::Sender<u64>,
}

/// Why the metadata could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The shared log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log or a checkpoint holds something that does not read.
    #[error(
        "the metadata log does not read at entry {index}: {reason}; a newer version may have written it: start that version"
    )]
    Unreadable {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl OpenError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            OpenError::Log(error) => error.kind(),
            OpenError::Unreadable { .. } => ErrorKind::Store,
        }
    }
}

/// Why an entry did not take effect, or may not have.
#[derive(Clone, Debug, Error)]
pub enum ProposeError {
    /// It broke a rule; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store failed; it did not take effect.
    #[error("the metadata log cannot be used: {0}")]
    Log(#[source] Arc<LogError>),
    /// The store failed in the middle; it may take effect later, or not at all.
    #[error("it is unknown whether the change took effect: {0}; look before trying again")]
    Unknown(#[source] Arc<LogError>),
    /// The metadata is being closed.
    #[error("the broker is stopping; try again at another")]
    Closed,
}

impl ProposeError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ProposeError::Rejected(_) => ErrorKind::Caller,
            ProposeError::Log(error) | ProposeError::Unknown(error) => error.kind(),
            ProposeError::Closed => ErrorKind::Caller,
        }
    }
}

impl Metadata {
    /// Replays the shared log under `metadata/`; creates the cluster's id on first start. Must be called in a tokio
    /// runtime, where the log's single writer of this broker then lives until every clone is dropped.
    pub async fn open(store: Arc<dyn ObjectStore>, env: Env, node_id: i32) -> Result<Metadata, OpenError> {
        let log = SharedLog::open(store, LOG_PREFIX, env.clone()).await?;
        let published = Arc::new(Published::new());
        let writer = Writer::start(log, env, node_id, published.clone()).await?;
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let tasks = Background::new();
        tasks.spawn("the writer of the metadata", writer.run(queue));
        Ok(Metadata { published, requests, tasks })
    }

    /// The image at the end of the log, without writing anything; empty where there is no log.
    pub async fn replay(store: Arc<dyn ObjectStore>, env: Env) -> Result<Arc<Image>, OpenError> {
        let log = SharedLog::open(store, LOG_PREFIX, env.clone()).await?;
        Writer::replayed(log, env).await
    }

    /// The log's writer.
    pub(crate) fn tasks(&self) -> &Background {
        &self.tasks
    }

    /// The newest image that this broker knows.
    pub fn image(&self) -> Arc<Image> {
        self.published.image.lock().clone()
    }

    /// Follows the image's version.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.published.changes.subscribe()
    }

    /// Appends an entry and gives the image in which it took effect; or the rule that it broke at its place in
    /// the log.
    ///
    /// Proposals that wait at the same time share one object of the store. Dropping the future does not take the
    /// proposal back.
    pub async fn propose(&self, entry: Entry) -> Result<Arc<Image>, ProposeError> {
        self.propose_all(vec![entry]).await
    }

    /// Appends entries that take effect together or not at all: the error is that of the first that broke a rule.
    pub async fn propose_all(&self, entries: Vec<Entry>) -> Result<Arc<Image>, ProposeError> {
        if entries.is_empty() {
            return Ok(self.image());
        }
        for entry in &entries {
            entry.validate()?;
        }
        let encoded = encode_group(&entries);
        self.ask(|reply| Request::Propose(Proposal { entries, encoded, reply })).await?
    }

    /// Reads the log to its end and gives the image there: a linearizable read, one request to the store.
    pub async fn refresh(&self) -> Result<Arc<Image>, ProposeError> {
        self.ask(Request::Refresh).await?
    }

    /// How to learn of other brokers' entries between one's own. Without this call the log is polled while another
    /// broker is registered, and never while none is.
    pub async fn set_polling(&self, polling: Polling) -> Result<(), ProposeError> {
        self.ask(|reply| Request::SetPolling(polling, reply)).await
    }

    /// Serves what is queued, finishes a checkpoint under way and stops. Later proposals are refused.
    pub async fn close(&self) {
        // A writer that is gone already is closed.
        let _ = self.ask(Request::Close).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ProposeError::Closed)?;
        answer.await.map_err(|_| ProposeError::Closed)
    }
}

impl Published {
    pub(super) fn new() -> Published {
        Published { image: Mutex::default(), changes: watch::channel(0).0 }
    }

    pub(super) fn publish(&self, image: Arc<Image>) {
        let version = image.version;
        *self.image.lock() = image;
        self.changes.send_replace(version);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use towpath_shared_log::fault::{Faults, FaultyStore};
    use uuid::Uuid;

    use super::*;
    use crate::metadata::entry::*;
    use crate::metadata::image::tests::{commit, topic};

    fn store(env: &Env, faults: Faults) -> Arc<FaultyStore> {
        FaultyStore::new(Arc::new(InMemory::new()), env.clone(), faults)
    }

    async fn open(store: &Arc<FaultyStore>, env: &Env, node_id: i32) -> Metadata {
        Metadata::open(store.clone(), env.clone(), node_id).await.unwrap()
    }

    fn registered(node_id: i32) -> Entry {
        BrokerRegistered { node_id, host: "localhost".to_owned(), port: 9092, rack: None, alone: false }
            .into()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_proposed_is_there_after_a_restart() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let metadata = open(&store, &env, 1).await;
        let cluster_id = metadata.image().cluster_id.clone();
        assert_eq!(cluster_id.len(), 22);
        let mut changes = metadata.changes();
        let image = metadata.propose(topic("orders", 1, 3).into()).await.unwrap();
        assert!(image.topic("orders").is_some() && Arc::ptr_eq(&image, &metadata.image()));
        assert_eq!(*changes.borrow_and_update(), image.version);
        metadata.close().await;
        assert!(matches!(metadata.propose(registered(1)).await, Err(ProposeError::Closed)));
        let restarted = open(&store, &env, 1).await;
        assert_eq!(*restarted.image(), *image);
        assert_eq!(restarted.image().cluster_id, cluster_id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_entry_stops_a_start_instead_of_beginning_a_second_history() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let metadata = open(&store, &env, 1).await;
        let end = metadata.propose(topic("orders", 1, 3).into()).await.unwrap().version;
        metadata.propose(topic("carts", 2, 3).into()).await.unwrap();
        metadata.close().await;
        let written = store.list_with_delimiter(Some(&LOG_PREFIX.into())).await.unwrap().objects.len();
        let last_but_one =
            towpath_shared_log::SharedLog::open(store.clone(), LOG_PREFIX, env.clone()).await.unwrap();
        assert_eq!(last_but_one.end().await.unwrap(), end + 1);
        store.delete(&format!("{LOG_PREFIX}/{:020}", end - 1).into()).await.unwrap();
        let refused = Metadata::open(store.clone(), env.clone(), 1).await.err().unwrap();
        assert!(
            matches!(&refused, OpenError::Log(LogError::Hole { later, .. }) if *later == end),
            "{refused}"
        );
        let left = store.list_with_delimiter(Some(&LOG_PREFIX.into())).await.unwrap().objects.len();
        assert_eq!(left, written - 1, "the hole was filled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_proposal_names_the_rule_and_writes_nothing() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let metadata = open(&store, &env, 1).await;
        metadata.propose(topic("orders", 1, 3).into()).await.unwrap();
        let before = store.requests().puts;
        let error = metadata.propose(topic("orders", 2, 3).into()).await.unwrap_err();
        assert!(matches!(&error, ProposeError::Rejected(Rejection::TopicExists(name)) if name == "orders"));
        assert_eq!(error.kind(), ErrorKind::Caller);
        let error = metadata.propose(topic("or ders", 2, 3).into()).await.unwrap_err();
        assert!(matches!(error, ProposeError::Rejected(Rejection::TopicName(_))));
        assert_eq!(store.requests().puts, before);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_proposed_together_take_effect_together() {
        let env = Env::seeded(1, 0);
        let metadata = open(&store(&env, Faults::NONE), &env, 1).await;
        metadata.propose(topic("orders", 1, 3).into()).await.unwrap();
        let both = vec![topic("new", 2, 1).into(), topic("orders", 3, 1).into()];
        // Beside another proposal, so that the slot is written all the same.
        let (refused, other) =
            tokio::join!(metadata.propose_all(both), metadata.propose(topic("other", 9, 1).into()));
        assert!(matches!(refused, Err(ProposeError::Rejected(_))));
        assert!(other.unwrap().topic("new").is_none());
        metadata.propose(TopicDeleted { topic_id: Uuid::from_u128(9) }.into()).await.unwrap();
        let both = vec![topic("new", 2, 1).into(), topic("newer", 3, 1).into()];
        assert_eq!(metadata.propose_all(both).await.unwrap().topics_by_name.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn proposals_that_wait_together_share_one_object() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults { delay_max: Duration::from_millis(50), ..Faults::NONE });
        let metadata = open(&store, &env, 1).await;
        let before = store.requests().puts;
        let creations = (0..500).map(|n| metadata.propose(topic(&format!("topic-{n}"), n, 1).into()));
        for created in futures::future::join_all(creations).await {
            created.unwrap();
        }
        assert_eq!(metadata.image().topics_by_name.len(), 500);
        assert!(store.requests().puts - before <= 5, "{:?}", store.requests());
    }

    #[tokio::test(start_paused = true)]
    async fn alone_a_broker_asks_the_store_nothing_while_idle() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let metadata = open(&store, &env, 1).await;
        metadata.propose(registered(1)).await.unwrap();
        let before = store.requests();
        env.sleep(Duration::from_secs(86_400)).await;
        assert_eq!(store.requests(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_that_know_of_each_other_see_each_others_entries_within_seconds() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let (one, two) = (open(&store, &env, 1).await, open(&store, &env, 2).await);
        one.propose(registered(1)).await.unwrap();
        two.propose(registered(2)).await.unwrap();
        assert_eq!(one.refresh().await.unwrap().brokers.len(), 2);
        let mut changes = one.changes();
        changes.mark_unchanged();
        env.sleep(Duration::from_secs(600)).await;
        two.propose(topic("orders", 1, 3).into()).await.unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(6), changes.changed()).await;
        seen.unwrap().unwrap();
        assert_eq!(*one.image(), *two.image());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_given_by_the_newest_state_not_by_a_stale_image() {
        let env = Env::seeded(1, 0);
        let store = store(&env, Faults::NONE);
        let (one, two) = (open(&store, &env, 1).await, open(&store, &env, 2).await);
        one.propose(topic("orders", 1, 3).into()).await.unwrap();
        two.refresh().await.unwrap();
        one.propose(TopicDeleted { topic_id: Uuid::from_u128(1) }.into()).await.unwrap();
        // `two` still sees the topic, yet the name is free.
        two.propose(topic("orders", 2, 3).into()).await.unwrap();
        let lost = one.propose(topic("orders", 3, 3).into()).await;
        assert!(matches!(lost, Err(ProposeError::Rejected(Rejection::TopicExists(_)))));
        assert_eq!(*one.image(), *two.image());
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_brokers_on_a_stormy_store_each_producer_id_goes_to_one() {
        for seed in 0..20 {
            let env = Env::seeded(seed, 0);
            let store = store(&env, Faults::NONE);
            let mut tasks = Vec::new();
            for node_id in 0..4 {
                let (metadata, env) = (open(&store, &env, node_id).await, env.clone());
                tasks.push(tokio::spawn(async move { take_blocks(&metadata, &env).await }));
            }
            store.set_faults(Faults::STORMY);
            let mut taken = BTreeSet::new();
            let mut blocks = 0;
            for task in tasks {
                for from in task.await.unwrap() {
                    blocks += 1;
                    assert!(taken.insert(from), "seed {seed}: block {from} was given twice");
                }
            }
            store.set_faults(Faults::NONE);
            env.sleep(Duration::from_secs(60)).await;
            let image = open(&store, &env, 9).await.image();
            let given = (image.next_producer_id - super::super::PRODUCER_ID_FIRST) / 10;
            // Those whose outcome stayed unknown may have been given to nobody.
            assert!(i64::from(blocks) <= given, "seed {seed}: {blocks} of {given}");
            assert!(blocks > 20, "seed {seed}: hardly anything was given");
        }
    }

    async fn take_blocks(metadata: &Metadata, env: &Env) -> Vec<i64> {
        let mut mine = Vec::new();
        for _ in 0..10 {
            let from = metadata.image().next_producer_id;
            match metadata.propose(ProducerIdsTaken { from, up_to: from + 10 }.into()).await {
                Ok(image) => {
                    assert!(image.next_producer_id >= from + 10);
                    mine.push(from);
                }
                Err(error) => assert_ne!(error.kind(), ErrorKind::Bug, "{error}"),
            }
            env.sleep(Duration::from_millis(env.random_u64() % 300)).await;
        }
        mine
    }

    #[tokio::test]
    async fn a_long_log_is_checkpointed_trimmed_and_replayed_to_the_same_image() {
        let env = Env::real();
        let store = store(&env, Faults::NONE);
        let metadata = open(&store, &env, 1).await;
        let topic_id = Uuid::from_u128(1);
        metadata.propose(topic("orders", 1, 1).into()).await.unwrap();
        for number in 0..2_500 {
            let range = (topic_id, 0, number * 10, number * 10 + 9);
            metadata.propose(commit(1, &[range]).into()).await.unwrap();
        }
        metadata.close().await;
        let before = store.requests().gets;
        let restarted = open(&store, &env, 1).await;
        assert_eq!(*restarted.image(), *metadata.image());
        assert!(store.requests().gets - before < 1_200, "the start replayed more than the tail");
    }

    /// 1,000 topics, 10,000 partitions, 100,000 ranges: the bound of issue 4, held even by a debug build.
    #[tokio::test]
    async fn a_large_cluster_starts_from_its_checkpoint_in_under_three_seconds() {
        let env = Env::real();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let store = towpath_shared_log::open_store(&url).await.unwrap();
        let metadata = Metadata::open(store.clone(), env.clone(), 1).await.unwrap();
        let creations = (0..1_000).map(|n| topic(&format!("topic-{n}"), n, 10).into());
        metadata.propose_all(creations.collect()).await.unwrap();
        for round in 0..10 {
            let ranges =
                (0..10_000).map(|n| (Uuid::from_u128(n / 10), (n % 10) as i32, round * 10, round * 10 + 9));
            metadata.propose(commit(1, &ranges.collect::<Vec<_>>()).into()).await.unwrap();
        }
        let image = metadata.image();
        metadata.close().await;
        let log = SharedLog::open(store.clone(), LOG_PREFIX, env.clone()).await.unwrap();
        log.checkpoint(image.version, super::super::checkpoint::encode(&image)).await.unwrap();
        let begun = env.elapsed();
        let restarted = Metadata::open(store, env.clone(), 1).await.unwrap();
        let took = env.elapsed() - begun;
        assert_eq!(*restarted.image(), *image);
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}
