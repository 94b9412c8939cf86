//! Accepts connections up to their bound and runs each in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::ByteBudget;
use super::connection::{CloseReason, Connection, ConnectionContext};
use super::frame_reader::ReadLimits;
use super::{ClientContext, Shared};
use crate::api::Dispatch;

/// Pause after a failed accept (out of file descriptors), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening side of the broker.
pub struct Listener {
    shared: Arc<Shared>,
    read: ReadLimits,
    connections: TaskTracker,
    room: Arc<Semaphore>,
    last_id: AtomicU64,
}

impl Listener {
    /// A listener that serves `shared`; its connections run in `connections`.
    pub fn new(shared: Arc<Shared>, connections: TaskTracker) -> Listener {
        let limits = &shared.config.limits;
        let read = ReadLimits {
            bytes_max: limits.request_bytes_max,
            idle_timeout: limits.idle_timeout(),
            frame_timeout: limits.frame_timeout(),
            budget: ByteBudget::new(
                limits.inflight_request_bytes_max,
                shared.metrics.request_bytes_inflight.clone(),
            ),
        };
        let room = Arc::new(Semaphore::new(connections_max(limits.connections_max)));
        Listener { shared, read, connections, room, last_id: AtomicU64::new(0) }
    }

    /// Accepts until the broker stops.
    pub async fn run(self, socket: TcpListener) {
        loop {
            tokio::select! {
                () = self.shared.stopping.cancelled() => return,
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        self.shared.env.sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.shared.metrics;
        metrics.connections_total.inc();
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            metrics.connections_closed.with_label_values(&["too_many"]).inc();
            tracing::debug!(%peer, limit = self.shared.config.limits.connections_max, "too many connections");
            return;
        };
        // Without it small responses wait for the client's delayed acknowledgement; a socket that refuses the
        // option still works.
        let _ = stream.set_nodelay(true);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let closed = self.shared.stopping.child_token();
        let client = ClientContext::new(id, peer, closed.clone());
        let context = self.context(closed);
        let shared = Arc::clone(&self.shared);
        self.connections.spawn(async move {
            let metrics = shared.metrics.clone();
            let _open = Open::new(&metrics.connections);
            let (reader, writer) = stream.into_split();
            let dispatch = Dispatch::new(shared, client);
            let reason = Connection::new(reader, writer, dispatch, context).run().await;
            metrics.connections_closed.with_label_values(&[reason.label()]).inc();
            note_end(id, peer, &reason);
            drop(place);
        });
    }

    fn context(&self, closed: CancellationToken) -> ConnectionContext {
        let limits = &self.shared.config.limits;
        ConnectionContext {
            read: self.read.clone(),
            write_timeout: limits.write_timeout(),
            inflight_max: limits.inflight_produces_max,
            stopping: self.shared.stopping.clone(),
            closed,
            metrics: self.shared.metrics.clone(),
            env: self.shared.env.clone(),
        }
    }
}

/// File descriptors that the broker itself needs: WAL, store, pages.
const OWN_FILES: usize = 256;

/// The configured bound, or what the process's file descriptors allow.
fn connections_max(configured: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(files) = open_files_max(&limits) else { return configured };
    let allowed = files.saturating_sub(OWN_FILES).max(1);
    if allowed < configured {
        tracing::info!(
            files,
            connections = allowed,
            "fewer connections than configured; fix: raise ulimit -n"
        );
    }
    configured.min(allowed)
}

/// The soft limit in Linux's `/proc/self/limits`.
fn open_files_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Counts a connection while it is open, also when its task panics.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A client's misbehaviour is not the broker's fault: no warning, however bad the frame. A bug of ours is.
fn note_end(connection: u64, peer: SocketAddr, reason: &CloseReason) {
    match reason {
        CloseReason::Bug(_) => tracing::error!(connection, %peer, %reason, "connection closed"),
        CloseReason::Read(_) | CloseReason::Request(_) => {
            tracing::debug!(connection, %peer, %reason, "connection closed");
        }
        _ => tracing::trace!(connection, %peer, %reason, "connection closed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             95986                95986                processes \n\
                      Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(open_files_max("Max open files unlimited unlimited files"), None);
    }
}
