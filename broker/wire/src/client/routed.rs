//! The client itself: one per cluster, cheap to clone. Finds the broker for each request and repeats what may be
//! repeated.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use towpath_env::Env;
use towpath_env::retry::{Failure, RetryPolicy, retry};

use super::cache::Cache;
use super::cluster::{Broker, ClusterMetadata, TopicMetadata};
use super::config::ClientConfig;
use super::connection::Connection;
use super::error::ClientError;
use super::pool::Pool;
use super::{dial, repeat};
use crate::private::{
    LINK_GROUP, LinkGroupRequest, LinkGroupResponse, MIRROR_APPEND, MirrorAppendRequest, MirrorAppendResponse,
};

/// A topic that is not known may have been created a moment ago: brokers learn of it one after the other.
pub(super) const TOPIC_UNKNOWN_MAX: Duration = Duration::from_secs(2);

/// Which broker a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Any broker.
    Any,
    /// The controller (KRaft brokers forward to it).
    Controller,
    /// The broker of this id.
    Broker(i32),
    /// The coordinator of this consumer group.
    Coordinator(String),
    /// The coordinator of this transactional id.
    TransactionCoordinator(String),
    /// The leader of this topic and partition.
    Leader(String, i32),
}

/// A client of one cluster.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: ClientConfig,
    pub(super) env: Env,
    pub(super) pool: Pool,
    pub(super) cache: Cache,
}

impl Client {
    /// Connects to the first bootstrap address that answers and learns the cluster from it.
    ///
    /// # Errors
    /// The last address's error; each address is tried once.
    pub async fn connect(config: ClientConfig, env: Env) -> Result<Client, ClientError> {
        config.validate()?;
        let client =
            Client { inner: Arc::new(Inner { config, env, pool: Pool::default(), cache: Cache::default() }) };
        let mut last = None;
        for address in &client.inner.config.bootstrap {
            match client.greet(address).await {
                Ok(()) => return Ok(client),
                Err(error) => last = Some(error),
            }
        }
        // `validate` has seen at least one address.
        Err(last.unwrap_or_else(|| ClientError::config("no bootstrap address", "set `bootstrap`")))
    }

    async fn greet(&self, address: &str) -> Result<(), ClientError> {
        let connection = self.inner.pool.get(address, &self.inner.config, &self.inner.env).await?;
        let answer = self.ask_metadata(&connection, Some(&[])).await;
        let answer =
            answer.map_err(|error| dial::explain_first_call(error, self.inner.config.security.protocol))?;
        self.learn(&answer);
        Ok(())
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> String {
        self.inner.cache.cluster_id()
    }

    /// The brokers as last seen.
    pub fn brokers(&self) -> Vec<Broker> {
        self.inner.cache.brokers()
    }

    /// The controller's broker id as last seen.
    pub fn controller(&self) -> Option<i32> {
        self.inner.cache.controller().map(|broker| broker.id)
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Clock and randomness it was made with.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Asks the cluster about these topics, now; unknown ones come back with their error. None is created.
    ///
    /// # Errors
    /// No broker answered within the request time-out.
    pub async fn metadata<T: AsRef<str>>(&self, topics: &[T]) -> Result<ClusterMetadata, ClientError> {
        let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        self.metadata_of(Some(&names)).await
    }

    /// Asks the cluster about all topics, now.
    ///
    /// # Errors
    /// As [`Client::metadata`].
    pub async fn metadata_all(&self) -> Result<ClusterMetadata, ClientError> {
        self.metadata_of(None).await
    }

    async fn metadata_of(&self, topics: Option<&[&str]>) -> Result<ClusterMetadata, ClientError> {
        self.retrying(|| async { self.refresh(topics).await.map_err(|error| self.failure(error, true)) })
            .await
    }

    /// One topic from the cache, asked for when missing or old.
    ///
    /// # Errors
    /// As [`Client::metadata`]; [`ClientError::Kafka`] when the topic does not exist.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        self.retrying(|| async { self.cached_topic(name).await.map_err(|error| self.failure(error, true)) })
            .await
    }

    /// Sends a request in the highest version that both sides know, to the right broker, and repeats it within
    /// the request time-out while the answer is one that Kafka calls retriable or the way is interrupted and
    /// repeating is harmless. When time runs out the last answer is handed back with its error codes.
    ///
    /// An answer about several partitions is repeated only when all of them failed retriably; an unknown topic
    /// only for two seconds. Requests that a broker holds (JoinGroup, SyncGroup, long fetches) block whatever
    /// else goes to that broker: give them a [`Client::connection`] of their own.
    ///
    /// # Errors
    /// Never an error code inside the response: that is the caller's to read.
    pub async fn send<R: Request + 'static>(&self, to: To, request: R) -> Result<R::Response, ClientError> {
        self.send_repeatedly(to, &request, None).await
    }

    /// [`Client::send`] in a version that the caller chose.
    ///
    /// # Errors
    /// As [`Client::send`]; [`ClientError::Unsupported`] when the broker does not offer the version.
    pub async fn send_version<R: Request + 'static>(
        &self,
        to: To,
        request: R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.send_repeatedly(to, &request, Some(version)).await
    }

    async fn send_repeatedly<R: Request + 'static>(
        &self,
        to: To,
        request: &R,
        version: Option<i16>,
    ) -> Result<R::Response, ClientError> {
        let started = self.inner.env.elapsed();
        let outcome = self.retrying(|| self.attempt(&to, request, version, started)).await;
        match outcome {
            Ok(response) | Err(Attempt::Answered(response)) => Ok(response),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }

    async fn attempt<R: Request + 'static>(
        &self,
        to: &To,
        request: &R,
        version: Option<i16>,
        started: Duration,
    ) -> Result<R::Response, Failure<Attempt<R::Response>>> {
        let topic_wait_over = || self.inner.env.elapsed() > started + TOPIC_UNKNOWN_MAX;
        let harmless = repeat::is_harmless(R::KEY);
        let sent = self.send_once(to, request, version).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                self.forget(to, true, true);
                let unknown_topic = error.code().is_some_and(repeat::is_topic_unknown);
                let failure = self.failure(error, harmless);
                return Err(match failure {
                    Failure::Transient(error) if !(unknown_topic && topic_wait_over()) => {
                        Failure::Transient(Attempt::Failed(error))
                    }
                    Failure::Transient(error) | Failure::Permanent(error) => {
                        Failure::Permanent(Attempt::Failed(error))
                    }
                });
            }
        };
        let verdict = repeat::judge(R::KEY, &response);
        self.forget(to, verdict.metadata_stale, verdict.coordinator_stale);
        if verdict.repeat && !(verdict.topic_unknown && topic_wait_over()) {
            return Err(Failure::Transient(Attempt::Answered(response)));
        }
        Ok(response)
    }

    /// One try, on the shared connection.
    async fn send_once<R: Request + 'static>(
        &self,
        to: &To,
        request: &R,
        version: Option<i16>,
    ) -> Result<R::Response, ClientError> {
        let connection = self.shared_connection(to).await?;
        let version = match version {
            Some(version) => connection.versions().demand::<R>(connection.address(), version)?,
            None => connection.version::<R>()?,
        };
        connection.begin(request, version).await?.wait().await
    }

    /// A new connection of the caller's own, for long polls, pipelines and requests that a broker holds.
    ///
    /// # Errors
    /// The way to that broker could not be found or made; one try.
    pub async fn connection(&self, to: To) -> Result<Arc<Connection>, ClientError> {
        let address = match self.resolve(&to).await? {
            Some(broker) => broker.address,
            None => self.shared_connection(&To::Any).await?.address().to_owned(),
        };
        let opened = dial::open(&address, &self.inner.config, &self.inner.env).await;
        if opened.is_err() {
            self.forget(&to, true, true);
        }
        Ok(Arc::new(opened?))
    }

    /// Tells that what led to a broker is out of date, after a [`Client::connection`] has answered so.
    pub fn forget_route(&self, to: &To) {
        self.forget(to, true, true);
    }

    /// Appends to mirror topics of a Towpath broker. Replays are recognised there, so an interrupted call is
    /// repeated.
    ///
    /// # Errors
    /// Never an error code inside the response.
    pub async fn mirror_append(
        &self,
        to: To,
        request: &MirrorAppendRequest,
    ) -> Result<MirrorAppendResponse, ClientError> {
        let body = request.encode();
        let answer = self.send_private(&to, "MirrorAppend", MIRROR_APPEND, body).await?;
        MirrorAppendResponse::decode(answer).map_err(|error| self.malformed("MirrorAppend", &error))
    }

    /// Asks the coordinator of a group on a Towpath broker about its route. Every operation may be repeated.
    ///
    /// # Errors
    /// Never an error inside the response.
    pub async fn link_group(&self, request: &LinkGroupRequest) -> Result<LinkGroupResponse, ClientError> {
        let to = To::Coordinator(request.group.clone());
        self.retrying(|| async {
            let body = vec![request.encode()];
            let answer = self.send_private(&to, "LinkGroup", LINK_GROUP, body).await;
            let answer = answer.map_err(Failure::Permanent)?;
            let answer = LinkGroupResponse::decode(&answer)
                .map_err(|error| Failure::Permanent(self.malformed("LinkGroup", &error)))?;
            let code = answer
                .error
                .as_ref()
                .and_then(|error| kafka_protocol::ResponseError::try_from_code(error.code));
            match code {
                Some(code) if code.is_retriable() => {
                    self.forget(&to, false, repeat::is_coordinator_stale(code));
                    let message = answer.error.map(|error| error.message);
                    let subject = format!("group {}", request.group);
                    Err(Failure::Transient(ClientError::Kafka { api: "LinkGroup", subject, code, message }))
                }
                _ => Ok(answer),
            }
        })
        .await
    }

    async fn send_private(
        &self,
        to: &To,
        api: &'static str,
        api_key: i16,
        body: Vec<bytes::Bytes>,
    ) -> Result<bytes::Bytes, ClientError> {
        const ONLY: kafka_protocol::protocol::VersionRange =
            kafka_protocol::protocol::VersionRange { min: 0, max: 0 };
        self.retrying(|| async {
            let sent = async {
                let connection = self.shared_connection(to).await?;
                let version = connection.versions().choose_key(api_key, api, connection.address(), ONLY)?;
                connection.begin_raw(api, api_key, version, body.clone()).await?.wait().await
            };
            sent.await.map_err(|error| {
                self.forget(to, true, true);
                self.failure(error, true)
            })
        })
        .await
    }

    /// Whether every broker asked so far offers this version of an API.
    pub fn supports(&self, api_key: i16, version: i16) -> bool {
        let connections = self.inner.pool.latest();
        !connections.is_empty()
            && connections.iter().all(|connection| connection.versions().supports(api_key, version))
    }

    /// Drops all shared connections. Later calls make new ones.
    pub fn close(&self) {
        self.inner.pool.close();
    }

    /// Repeats within the request time-out.
    pub(super) async fn retrying<T, E, F, Fut>(&self, attempt: F) -> Result<T, E>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Failure<E>>>,
    {
        retry(&self.inner.env, RetryPolicy::within(self.inner.config.request_timeout), attempt).await
    }

    /// Whether a failed try may be followed by another. `harmless`: even when its outcome is unknown.
    pub(super) fn failure(&self, error: ClientError, harmless: bool) -> Failure<ClientError> {
        let lost = matches!(error, ClientError::OutcomeUnknown { .. });
        if error.is_retriable() || (harmless && lost) {
            Failure::Transient(error)
        } else {
            Failure::Permanent(error)
        }
    }

    fn malformed(&self, api: &'static str, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Malformed {
            address: self.inner.config.bootstrap.join(","),
            api,
            reason: error.to_string(),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({}, cluster {})", self.inner.config.bootstrap.join(","), self.cluster_id())
    }
}

/// How a try ended that is worth another.
enum Attempt<A> {
    Answered(A),
    Failed(ClientError),
}
