//! The two tasks behind a [`super::Connection`]: one writes what is queued, one reads answers.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::codec::Frame;
use super::error::ClientError;

/// Frames gathered into one vectored write.
const GATHER_PARTS_MAX: usize = 64;
/// A peer that does not read gets this long to take our goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// A request on its way to the writer.
pub(super) struct Outgoing {
    pub(super) frame: Frame,
    pub(super) answer: oneshot::Sender<Result<Bytes, Lost>>,
    pub(super) slot: OwnedSemaphorePermit,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Lost {
    /// The writer never took the request.
    NotWritten,
    /// At least part of it may have reached the broker.
    Written(Arc<str>),
}

/// What both tasks and all callers of one connection share.
pub(super) struct Pipe {
    address: String,
    inner: Mutex<Inner>,
    /// The reason, once the connection has ended.
    closed: watch::Sender<Option<Arc<str>>>,
}

#[derive(Default)]
struct Inner {
    next_correlation: i32,
    in_flight: VecDeque<InFlight>,
}

struct InFlight {
    correlation: i32,
    answer: oneshot::Sender<Result<Bytes, Lost>>,
    /// Held until the answer is there: this is what bounds the queue.
    _slot: OwnedSemaphorePermit,
}

impl Pipe {
    pub(super) fn new(address: String) -> Arc<Pipe> {
        Arc::new(Pipe { address, inner: Mutex::default(), closed: watch::Sender::new(None) })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn closed_reason(&self) -> Option<Arc<str>> {
        self.closed.borrow().clone()
    }

    /// Resolves when the connection has ended.
    pub(super) async fn closed(&self) -> Arc<str> {
        let mut closed = self.closed.subscribe();
        // The sender lives in self, so waiting cannot fail.
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "closed".into()),
            Err(_) => "closed".into(),
        }
    }

    pub(super) fn disconnected(&self, api: &'static str) -> ClientError {
        let reason = self.closed_reason().map_or("closed".to_owned(), |reason| reason.to_string());
        ClientError::Disconnected { address: self.address.clone(), api, reason }
    }

    /// Ends the connection; the first reason stays.
    pub(super) fn fail(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        // The lock orders this with `admit`: a request is either in the queue we drain or sees that it is late.
        let mut inner = self.inner.lock();
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason.clone());
            }
            first
        });
        for lost in inner.in_flight.drain(..) {
            let _ = lost.answer.send(Err(Lost::Written(reason.clone())));
        }
    }

    /// Takes a request into the order of answers and its bytes into `parts`.
    fn admit(&self, outgoing: Outgoing, parts: &mut Parts) {
        let mut inner = self.inner.lock();
        if self.closed.borrow().is_some() {
            let _ = outgoing.answer.send(Err(Lost::NotWritten));
            return;
        }
        let correlation = inner.next_correlation;
        inner.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        parts.0.extend(outgoing.frame.into_parts(correlation).filter(|part| !part.is_empty()));
        inner.in_flight.push_back(InFlight { correlation, answer: outgoing.answer, _slot: outgoing.slot });
    }

    /// The writer: until the connection ends or its owner is gone.
    pub(super) async fn write_all(
        self: Arc<Self>,
        mut io: impl AsyncWrite + Unpin,
        mut queued: mpsc::UnboundedReceiver<Outgoing>,
    ) {
        tokio::select! {
            _ = self.closed() => {}
            () = self.write_queued(&mut io, &mut queued) => {}
        }
        queued.close();
        while let Ok(late) = queued.try_recv() {
            let _ = late.answer.send(Err(Lost::NotWritten));
        }
        let _ = timeout(GOODBYE_MAX, io.shutdown()).await;
    }

    async fn write_queued(
        &self,
        io: &mut (impl AsyncWrite + Unpin),
        queued: &mut mpsc::UnboundedReceiver<Outgoing>,
    ) {
        let mut parts = Parts::default();
        while let Some(first) = queued.recv().await {
            self.admit(first, &mut parts);
            while parts.0.len() < GATHER_PARTS_MAX
                && let Ok(next) = queued.try_recv()
            {
                self.admit(next, &mut parts);
            }
            let written = async {
                io.write_all_buf(&mut parts).await?;
                io.flush().await
            };
            if let Err(error) = written.await {
                return self.fail(&format!("write failed: {error}"));
            }
        }
        self.fail("closed by this client");
    }

    /// The reader: until the connection ends.
    pub(super) async fn read_all(self: Arc<Self>, mut io: impl AsyncRead + Unpin, bytes_max: usize) {
        loop {
            let frame = tokio::select! {
                _ = self.closed() => return,
                frame = super::frames::read_frame(&mut io, bytes_max) => frame,
            };
            let taken = match frame {
                Ok(Some(frame)) => self.deliver(frame.freeze()),
                Ok(None) => Err("the broker closed it".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = taken {
                return self.fail(&reason);
            }
        }
    }

    fn deliver(&self, mut frame: Bytes) -> Result<(), String> {
        if frame.len() < 4 {
            return Err(format!("answer of {} bytes, too short for a correlation id", frame.len()));
        }
        let correlation = frame.get_i32();
        let first = self.inner.lock().in_flight.pop_front();
        let Some(first) = first else {
            return Err(format!("answer with correlation id {correlation} that nobody asked for"));
        };
        if first.correlation != correlation {
            let reason = format!("answer has correlation id {correlation} instead of {}", first.correlation);
            let _ = first.answer.send(Err(Lost::Written(reason.as_str().into())));
            return Err(reason);
        }
        // The caller may have gone away; its answer goes with it.
        let _ = first.answer.send(Ok(frame));
        Ok(())
    }
}

/// Bytes to write, in parts that are not copied together.
#[derive(Default)]
struct Parts(VecDeque<Bytes>);

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [io::IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.0.len());
        for (slice, part) in slices.iter_mut().zip(&self.0) {
            *slice = io::IoSlice::new(part);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0
            && let Some(part) = self.0.front_mut()
        {
            let step = count.min(part.len());
            part.advance(step);
            count -= step;
            if part.is_empty() {
                self.0.pop_front();
            }
        }
    }
}
