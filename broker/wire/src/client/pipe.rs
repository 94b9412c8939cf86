//! The two tasks behind a [`super::Connection`]: one writes what is queued, one reads answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::codec::Frame;
use super::error::ClientError;
use crate::frame::{FrameError, read_frame, write_frame};

/// Small answers share a system call; larger reads go past this buffer.
const READ_BUFFER_BYTES: usize = 16 * 1024;
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

    /// Takes a request into the order of answers; gives what to write, unless the connection has ended.
    fn admit(&self, outgoing: Outgoing) -> Option<Vec<Bytes>> {
        let mut inner = self.inner.lock();
        if self.closed.borrow().is_some() {
            let _ = outgoing.answer.send(Err(Lost::NotWritten));
            return None;
        }
        let correlation = inner.next_correlation;
        inner.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        inner.in_flight.push_back(InFlight { correlation, answer: outgoing.answer, _slot: outgoing.slot });
        Some(outgoing.frame.into_parts(correlation))
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
        while let Some(outgoing) = queued.recv().await {
            let Some(parts) = self.admit(outgoing) else { continue };
            let more_to_come = !queued.is_empty();
            let written = async {
                write_frame(io, parts).await?;
                if more_to_come { Ok(()) } else { io.flush().await }
            };
            if let Err(error) = written.await {
                return self.fail(&format!("write failed: {error}"));
            }
        }
        self.fail("closed by this client");
    }

    /// The reader: until the connection ends.
    pub(super) async fn read_all(self: Arc<Self>, io: impl AsyncRead + Unpin, bytes_max: usize) {
        let mut io = BufReader::with_capacity(READ_BUFFER_BYTES, io);
        loop {
            let frame = tokio::select! {
                _ = self.closed() => return,
                frame = read_frame(&mut io, bytes_max) => frame,
            };
            let taken = match frame {
                Ok(Some(frame)) => self.deliver(frame.freeze()),
                Ok(None) => Err("the broker closed it".to_owned()),
                Err(error) => Err(reading_failed(&error)),
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

fn reading_failed(error: &FrameError) -> String {
    match error {
        FrameError::Io(error) => format!("reading failed: {error}"),
        FrameError::Size { size, .. } => match (*size as i32).to_be_bytes() {
            // Content types of TLS records, then the major version (RFC 8446, 5.1).
            [0x14..=0x17, 3, ..] => "it answers in TLS".to_owned(),
            [b'H', b'T', b'T', b'P'] => "it answers in HTTP".to_owned(),
            _ => format!("answer of {size} bytes, more than this client reads"),
        },
        error => error.to_string(),
    }
}
