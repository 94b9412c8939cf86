//! One connection to one broker: requests go out in order without waiting for answers, answers come back in the
//! same order (the protocol promises it) and are matched by correlation id.
//!
//! A request that was handed to the writer counts as written: when the connection ends before its answer, its
//! outcome is unknown. A call that is dropped half-way leaves the connection whole; its answer is read and
//! thrown away.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use towpath_env::Env;

use super::codec::{Frame, api_name, decode, encode, frame_body};
use super::config::ClientConfig;
use super::error::ClientError;
use super::pipe::{Lost, Outgoing, Pipe};
use super::versions::{ApiVersions, client_versions};

/// A live connection. Dropping the last reference closes it.
pub struct Connection {
    pipe: Arc<Pipe>,
    queue: mpsc::UnboundedSender<Outgoing>,
    slots: Arc<Semaphore>,
    client_id: String,
    in_flight_max: usize,
    attempt_timeout: Duration,
    env: Env,
    versions: OnceLock<ApiVersions>,
    /// On the environment's monotonic clock; the broker ends the session then (KIP-368).
    expires: OnceLock<Duration>,
}

impl Connection {
    /// Starts reading and writing on an established stream. Nothing is negotiated yet.
    pub(super) fn start(
        address: String,
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        config: &ClientConfig,
        env: &Env,
    ) -> Connection {
        let (queue, queued) = mpsc::unbounded_channel();
        let pipe = Pipe::new(address);
        tokio::spawn(pipe.clone().write_all(writer, queued));
        tokio::spawn(pipe.clone().read_all(reader, config.response_bytes_max));
        Connection {
            pipe,
            queue,
            slots: Arc::new(Semaphore::new(config.in_flight_max)),
            client_id: config.client_id.clone(),
            in_flight_max: config.in_flight_max,
            attempt_timeout: config.attempt_timeout,
            env: env.clone(),
            versions: OnceLock::new(),
            expires: OnceLock::new(),
        }
    }

    /// `host:port` of the broker.
    pub fn address(&self) -> &str {
        self.pipe.address()
    }

    /// The versions that this broker offers.
    pub fn versions(&self) -> &ApiVersions {
        static NONE: OnceLock<ApiVersions> = OnceLock::new();
        self.versions.get().unwrap_or_else(|| NONE.get_or_init(ApiVersions::default))
    }

    pub(super) fn set_versions(&self, versions: ApiVersions) {
        // Set once, while the connection is being made.
        let _ = self.versions.set(versions);
    }

    /// The broker ends the session after `lifetime`; the connection is replaced a little earlier.
    pub(super) fn set_lifetime(&self, lifetime: Duration) {
        let _ = self.expires.set(self.env.elapsed() + lifetime.mul_f64(0.85));
    }

    /// Whether new requests may be sent: neither closed nor about to lose its authentication.
    pub fn is_usable(&self) -> bool {
        let expired = self.expires.get().is_some_and(|&expires| self.env.elapsed() >= expires);
        !expired && !self.queue.is_closed() && self.pipe.closed_reason().is_none()
    }

    /// Why the connection ended, once it has.
    pub fn closed_reason(&self) -> Option<Arc<str>> {
        self.pipe.closed_reason()
    }

    /// Resolves when the connection has ended, with the reason.
    pub async fn closed(&self) -> Arc<str> {
        self.pipe.closed().await
    }

    /// Ends the connection. Requests that wait for answers learn that their outcome is unknown.
    pub fn close(&self) {
        self.pipe.fail("closed by this client");
    }

    /// The version [`Connection::send`] chooses for `R` on this broker.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`].
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.versions().choose::<R>(self.address(), client_versions::<R>())
    }

    /// Sends a request in the highest version that both sides know and waits for the answer.
    ///
    /// # Errors
    /// Never an error code inside the response: that is the caller's to read. No repeats.
    pub async fn send<R: Request + 'static>(&self, request: R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.send_version(request, version).await
    }

    /// Sends a request in the given version and waits for the answer.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_version<R: Request + 'static>(
        &self,
        request: R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.begin(&request, version).await?.wait().await
    }

    /// Queues a request to be written now; the answer can be awaited later. Requests are written in the order in
    /// which `begin` returned.
    ///
    /// # Errors
    /// [`ClientError::Busy`] when no slot frees within the attempt time-out, [`ClientError::Disconnected`],
    /// [`ClientError::Encode`].
    pub async fn begin<R: Request + 'static>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<Pending<R>, ClientError> {
        let request_any: &dyn Any = request;
        if request_any.downcast_ref::<ProduceRequest>().is_some_and(|produce| produce.acks == 0) {
            return Err(ClientError::config("produce with acks 0 has no answer", "use acks 1 or -1"));
        }
        let frame = encode(request, version, &self.client_id)?;
        let raw = self.begin_frame(api_name::<R>(), frame).await?;
        Ok(Pending { raw, version, request: PhantomData })
    }

    /// The answer's bytes after the correlation id, for the one exchange whose version is found out by failing.
    pub(super) async fn send_undecoded<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<Bytes, ClientError> {
        let frame = encode(request, version, &self.client_id)?;
        self.begin_frame(api_name::<R>(), frame).await?.wait().await
    }

    /// Queues a request outside the `kafka-protocol` crate: request header version 1, response header version 0.
    /// The parts of the body are written as they are, without a copy.
    ///
    /// # Errors
    /// As [`Connection::begin`].
    pub async fn begin_raw(
        &self,
        api: &'static str,
        api_key: i16,
        version: i16,
        body: Vec<Bytes>,
    ) -> Result<PendingRaw, ClientError> {
        let frame = frame_body(api_key, version, &self.client_id, body)
            .map_err(|reason| ClientError::Encode { api, version, reason: reason.to_owned() })?;
        self.begin_frame(api, frame).await
    }

    async fn begin_frame(&self, api: &'static str, frame: Frame) -> Result<PendingRaw, ClientError> {
        let slot = timeout(self.attempt_timeout, self.slots.clone().acquire_owned()).await;
        let slot = match slot {
            Ok(Ok(slot)) => slot,
            // The semaphore is never closed; time ran out.
            _ => {
                return Err(ClientError::Busy {
                    address: self.address().to_owned(),
                    api,
                    waited: self.attempt_timeout,
                    in_flight_max: self.in_flight_max,
                });
            }
        };
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Outgoing { frame, answer, slot }).is_err() {
            return Err(self.pipe.disconnected(api));
        }
        Ok(PendingRaw { api, answered, pipe: self.pipe.clone(), attempt_timeout: self.attempt_timeout })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}, closed: {:?})", self.address(), self.closed_reason())
    }
}

/// An answer to come. Dropping it discards the answer, not the request.
#[must_use]
pub struct Pending<R> {
    raw: PendingRaw,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer, at most the configured attempt time-out.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`], [`ClientError::Malformed`], [`ClientError::Disconnected`].
    pub async fn wait(self) -> Result<R::Response, ClientError> {
        let limit = self.raw.attempt_timeout;
        self.wait_within(limit).await
    }

    /// Waits for the answer for at most `limit`, for requests that the broker holds (JoinGroup, long polls).
    /// When it passes, the connection is closed: what would come later could not be told apart from a hang.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub async fn wait_within(self, limit: Duration) -> Result<R::Response, ClientError> {
        let (api, pipe) = (self.raw.api, self.raw.pipe.clone());
        let frame = self.raw.wait_within(limit).await?;
        decode::<R>(self.version, frame).map_err(|reason| {
            pipe.fail(&format!("malformed answer to {api}: {reason}"));
            ClientError::Malformed { address: pipe.address().to_owned(), api, reason }
        })
    }
}

/// An answer to come, undecoded.
#[must_use]
pub struct PendingRaw {
    api: &'static str,
    answered: oneshot::Receiver<Result<Bytes, Lost>>,
    pipe: Arc<Pipe>,
    attempt_timeout: Duration,
}

impl PendingRaw {
    /// Waits for the answer's bytes after the correlation id, at most the configured attempt time-out.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub async fn wait(self) -> Result<Bytes, ClientError> {
        let limit = self.attempt_timeout;
        self.wait_within(limit).await
    }

    /// Waits for at most `limit`; see [`Pending::wait_within`].
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub async fn wait_within(self, limit: Duration) -> Result<Bytes, ClientError> {
        let unknown = |reason: String| ClientError::OutcomeUnknown {
            address: self.pipe.address().to_owned(),
            api: self.api,
            reason,
        };
        match timeout(limit, self.answered).await {
            Ok(Ok(Ok(frame))) => Ok(frame),
            Ok(Ok(Err(Lost::Written(reason)))) => Err(unknown(reason.to_string())),
            // Dropped from the queue by a writer that had ended.
            Ok(Ok(Err(Lost::NotWritten)) | Err(_)) => Err(self.pipe.disconnected(self.api)),
            Err(_) => {
                let reason = format!("no answer within {} ms", limit.as_millis());
                self.pipe.fail(&format!("{} had {reason}", self.api));
                Err(unknown(reason))
            }
        }
    }
}
