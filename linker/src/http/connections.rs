//! Connections of the API: how many at once, how long each may take to say what it wants, and their end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::error::LinkerError;

/// Before connections are taken again when the machine has no room for one (too many open files).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Takes connections, within bounds.
pub struct Connections {
    slots: Arc<Semaphore>,
    /// A request's head must be complete this long after the connection opened, or after the answer before.
    head_max: Duration,
    open: IntGauge,
    refused: IntCounter,
}

impl Connections {
    /// Within `limits.http_connections_max` and `limits.http_head_ms`.
    ///
    /// # Errors
    /// The metrics are registered already.
    pub fn new(limits: &Limits, registry: &Registry) -> Result<Connections, LinkerError> {
        let broken = |error: prometheus::Error| LinkerError::Bug(format!("metrics of the API: {error}"));
        let open = IntGauge::new("towpath_linker_http_connections", "Connections of the API that are open");
        let refused = IntCounter::new(
            "towpath_linker_http_connections_refused_total",
            "Connections that were closed at once because too many were open",
        );
        let (open, refused) = (open.map_err(broken)?, refused.map_err(broken)?);
        registry.register(Box::new(open.clone())).map_err(broken)?;
        registry.register(Box::new(refused.clone())).map_err(broken)?;
        let slots = Arc::new(Semaphore::new(limits.http_connections_max.min(Semaphore::MAX_PERMITS)));
        Ok(Connections { slots, head_max: Duration::from_millis(limits.http_head_ms), open, refused })
    }

    /// Serves `router` on `socket` until `stop`; then takes no connection, and waits until the requests under way
    /// are answered.
    pub async fn serve(&self, socket: TcpListener, router: Router, stop: CancellationToken) {
        let ending = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head_max);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::info!(%error, "a connection of the API was not taken");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Ok(slot) = self.slots.clone().try_acquire_owned() else {
                self.refused.inc();
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            let connection = ending.watch(builder.serve_connection(TokioIo::new(stream), service));
            let open = self.open.clone();
            open.inc();
            tokio::spawn(async move {
                // Whatever ends it ends only this one: the peer went away, or never said what it wants.
                let _ = connection.await;
                open.dec();
                drop(slot);
            });
        }
        drop(socket);
        ending.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    struct Served {
        address: std::net::SocketAddr,
        connections: Arc<Connections>,
        stop: CancellationToken,
        ended: tokio::task::JoinHandle<()>,
    }

    async fn served(http_connections_max: usize, http_head_ms: u64) -> Served {
        let limits = Limits { http_connections_max, http_head_ms, ..Limits::default() };
        let connections = Arc::new(Connections::new(&limits, &Registry::new()).unwrap());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(async || "here"));
        let ended = tokio::spawn({
            let (connections, stop) = (connections.clone(), stop.clone());
            async move { connections.serve(socket, router, stop).await }
        });
        Served { address, connections, stop, ended }
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // A connection that is closed at once may be reset instead.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn ask(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(ASK).await;
        read(&mut stream).await
    }

    #[tokio::test]
    async fn over_the_bound_a_connection_is_closed_at_once_and_its_end_makes_room() {
        let served = served(1, 60_000).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        first.write_all(ASK.split_at(10).0).await.unwrap();
        assert_eq!(ask(served.address).await, "");
        assert_eq!((served.connections.refused.get(), served.connections.open.get()), (1, 1));
        first.write_all(ASK.split_at(10).1).await.unwrap();
        assert!(read(&mut first).await.ends_with("here"));
        while served.connections.open.get() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(ask(served.address).await.ends_with("here"));
    }

    #[tokio::test]
    async fn who_does_not_say_what_it_wants_is_put_out() {
        let served = served(2, 50).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
        assert!(!read(&mut silent).await.contains("here"));
        assert!(!read(&mut slow).await.contains("here"));
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_it_ends() {
        let served = served(2, 60_000).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        assert!(ask(served.address).await.ends_with("here"));
        served.stop.cancel();
        assert_eq!(read(&mut idle).await, "");
        served.ended.await.unwrap();
    }
}
