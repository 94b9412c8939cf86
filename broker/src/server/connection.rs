//! One client connection: frames in, responses out, strictly in order.
//!
//! As in Kafka, a request is taken when the one before it is answered, with one exception: requests that only
//! wait for durability (Produce, MirrorAppend) follow each other at once. Their ordered part has run when the
//! handler returns its future, so their records are in the log in the order sent, and one `fdatasync` can
//! acknowledge many. One frame is read ahead, so that a client that goes away during a long wait is noticed.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use towpath_env::Env;
use towpath_wire::frame::{RequestHead, parse_request_head};

use super::budget::Charge;
use super::frame_reader::{Frame, FrameReader, ReadError, ReadLimits};
use super::response::Response;
use crate::metrics::ServerMetrics;
use crate::storage::LeaseError;

/// Responses that are ready together go out together, up to this many bytes.
const WRITE_TOGETHER_BYTES_MAX: usize = 64 * 1024;

/// A request as the handlers' dispatch gets it.
pub struct Request {
    /// Its header.
    pub head: RequestHead,
    /// The frame: header and body.
    pub frame: BytesMut,
}

/// What becomes of a request.
pub enum Answer {
    /// This goes to the client.
    Send(Response),
    /// Nothing does (produce with acks=0).
    Silent,
    /// The connection ends, after the answers to earlier requests.
    Close(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The client closed between requests.
    #[error("closed by the client")]
    Client,
    /// The broker stops.
    #[error("the broker stops")]
    Stopping,
    /// No frame came.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The client did not take its response.
    #[error("the response could not be written: {0}")]
    Write(std::io::Error),
    /// A frame that is not a request the broker can answer.
    #[error("bad request: {0}")]
    Request(String),
    /// It is not certain any more that this broker may answer.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A bug of ours; the message says which.
    #[error("{0}")]
    Bug(String),
}

impl CloseReason {
    /// The value of the `reason` label.
    pub fn label(&self) -> &'static str {
        match self {
            CloseReason::Client => "client",
            CloseReason::Stopping => "stopping",
            CloseReason::Read(ReadError::Idle(_)) => "idle",
            CloseReason::Read(ReadError::Stalled { .. }) => "stalled",
            CloseReason::Read(ReadError::Size { .. }) => "frame_size",
            CloseReason::Read(ReadError::Truncated | ReadError::Io(_)) => "broken",
            CloseReason::Write(_) => "write",
            CloseReason::Request(_) => "bad_request",
            CloseReason::Lease(_) => "lease",
            CloseReason::Bug(_) => "bug",
        }
    }
}

/// A request that was started.
pub enum Started {
    /// What must happen in the order of the connection has happened; the answer may take its time.
    Ordered(BoxFuture<'static, Answer>),
    /// It takes time itself; no other request is started before it is done.
    Ordering(BoxFuture<'static, BoxFuture<'static, Answer>>),
}

/// Turns requests into answers: the dispatch over all APIs, or a test's.
pub trait Handler: Send {
    /// Takes one request, in the order of the connection.
    fn start(&mut self, request: Request) -> Started;

    /// Whether the next request of this kind may start while the answer to this one is awaited.
    fn pipelines(&self, api_key: i16) -> bool;
}

/// What a connection needs besides its socket and its handler.
pub struct ConnectionContext {
    /// Bounds on reading.
    pub read: ReadLimits,
    /// Longest time a client may take nothing of a response.
    pub write_timeout: Duration,
    /// Pipelined requests in flight.
    pub inflight_max: usize,
    /// Fires when the broker stops: nothing more is read, what is in flight is answered.
    pub stopping: CancellationToken,
    /// Fired by the connection when the client is gone.
    pub closed: CancellationToken,
    /// Where to count.
    pub metrics: ServerMetrics,
    /// The clock.
    pub env: Env,
}

struct InFlight {
    answer: BoxFuture<'static, Answer>,
    pipelines: bool,
    api_key: i16,
    taken_at: Duration,
    charge: Charge,
}

/// One connection.
pub struct Connection<R, W, H> {
    reader: FrameReader<R>,
    writer: W,
    handler: H,
    context: ConnectionContext,
    in_flight: VecDeque<InFlight>,
    /// The ordered part of the newest request in flight, while it runs.
    ordering: Option<BoxFuture<'static, BoxFuture<'static, Answer>>>,
    /// Read, not started.
    next: Option<(RequestHead, Frame)>,
    /// Nothing more is read for this reason.
    ending: Option<CloseReason>,
}

enum Event {
    Answer(Answer),
    Ordered(BoxFuture<'static, Answer>),
    Read(Result<Option<Frame>, ReadError>),
    Stopping,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin, H: Handler> Connection<R, W, H> {
    /// A connection at its beginning.
    pub fn new(reader: R, writer: W, handler: H, context: ConnectionContext) -> Connection<R, W, H> {
        let reader = FrameReader::new(reader, context.read.clone());
        Connection {
            reader,
            writer,
            handler,
            context,
            in_flight: VecDeque::new(),
            ordering: None,
            next: None,
            ending: None,
        }
    }

    /// Serves until either side ends it.
    pub async fn run(mut self) -> CloseReason {
        let reason = loop {
            while self.start_next() {}
            if self.in_flight.is_empty() && self.ending.is_some() {
                break self.ending.take().unwrap_or(CloseReason::Client);
            }
            match self.event().await {
                Event::Answer(answer) => {
                    if let Err(reason) = self.answer(answer).await {
                        break reason;
                    }
                }
                Event::Ordered(answer) => {
                    self.ordering = None;
                    if let Some(newest) = self.in_flight.back_mut() {
                        newest.answer = answer;
                    }
                }
                Event::Read(Ok(Some(frame))) => self.take(frame),
                Event::Read(Ok(None)) => self.end(CloseReason::Client),
                // Someone who waits for us is not idle.
                Event::Read(Err(ReadError::Idle(_))) if !self.in_flight.is_empty() => {}
                Event::Read(Err(error)) => self.end(CloseReason::Read(error)),
                Event::Stopping => self.ending = Some(CloseReason::Stopping),
            }
        };
        self.context.closed.cancel();
        reason
    }

    async fn event(&mut self) -> Event {
        let reading = self.next.is_none() && self.ending.is_none();
        let answered = match self.in_flight.front_mut() {
            Some(front) => (&mut front.answer).left_future(),
            None => pending().right_future(),
        };
        let ordered = match &mut self.ordering {
            Some(ordering) => ordering.left_future(),
            None => pending().right_future(),
        };
        tokio::select! {
            biased;
            answer = answered => Event::Answer(answer),
            answer = ordered => Event::Ordered(answer),
            () = self.context.stopping.cancelled(), if self.ending.is_none() => Event::Stopping,
            frame = self.reader.next(), if reading => Event::Read(frame),
        }
    }

    /// Keeps a frame that was read, or refuses it when its header can't be read.
    fn take(&mut self, frame: Frame) {
        self.context.metrics.received_bytes.inc_by(frame.bytes.len() as u64);
        match parse_request_head(&frame.bytes) {
            Ok(head) => self.next = Some((head, frame)),
            Err(error) => self.end(CloseReason::Request(error.to_string())),
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.ending = Some(reason);
        self.context.closed.cancel();
    }

    /// Starts the frame that was read, when its turn has come.
    fn start_next(&mut self) -> bool {
        let Some((head, _)) = &self.next else { return false };
        let pipelines = self.handler.pipelines(head.api_key);
        let may_start = match self.in_flight.back() {
            None => true,
            Some(last) => pipelines && last.pipelines && self.in_flight.len() < self.context.inflight_max,
        };
        if !may_start || self.ordering.is_some() {
            return false;
        }
        let Some((head, frame)) = self.next.take() else { return false };
        let (api_key, taken_at) = (head.api_key, self.context.env.elapsed());
        let answer = match self.handler.start(Request { head, frame: frame.bytes }) {
            Started::Ordered(answer) => answer,
            Started::Ordering(ordering) => {
                self.ordering = Some(ordering);
                pending().boxed()
            }
        };
        self.in_flight.push_back(InFlight { answer, pipelines, api_key, taken_at, charge: frame.charge });
        true
    }

    /// Writes the answer of the oldest request, and those behind it that are ready too.
    async fn answer(&mut self, first: Answer) -> Result<(), CloseReason> {
        let mut together = Response::default();
        let mut charges = Vec::new();
        let mut answer = first;
        let closing = loop {
            charges.extend(self.finish_front());
            match answer {
                Answer::Send(response) => together.append(response),
                Answer::Silent => {}
                Answer::Close(reason) => break Some(reason),
            }
            if together.bytes() >= WRITE_TOGETHER_BYTES_MAX {
                break None;
            }
            match self.in_flight.front_mut().and_then(|front| front.answer.as_mut().now_or_never()) {
                Some(next) => answer = next,
                None => break None,
            }
        };
        self.context.metrics.sent_bytes.inc_by(together.bytes() as u64);
        together.write(&mut self.writer, self.context.write_timeout).await.map_err(CloseReason::Write)?;
        closing.map_or(Ok(()), Err)
    }

    /// Forgets the oldest request, which is answered. Its share of the budget is held until the write is done.
    fn finish_front(&mut self) -> Option<Charge> {
        let done = self.in_flight.pop_front()?;
        let took = self.context.env.elapsed().saturating_sub(done.taken_at);
        self.context.metrics.answered(crate::api::name(done.api_key), took);
        Some(done.charge)
    }
}

#[cfg(test)]
mod tests;
