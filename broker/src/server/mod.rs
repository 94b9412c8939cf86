//! The broker's front: listener, connections, start and stop.
//!
//! Owns sockets, frames in flight and their bounds. Never interprets a request: that is `api`.

mod budget;
mod connection;
mod frame_reader;
mod listener;
mod response;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_env::Env;

pub use self::budget::{ByteBudget, Charge};
pub use self::connection::{Answer, CloseReason, Handler, Request, Started};
use self::listener::Listener;
pub use self::response::{EncodeError, Response, head};
pub use self::shared::{ClientContext, Shared};
use crate::api::fetch::session::FetchSessions;
use crate::api::init_producer_id::ProducerIds;
use crate::background::{Background, Panicked};
use crate::bounds;
use crate::config::BrokerConfig;
use crate::group::Groups;
use crate::http;
use crate::metadata::entry::BrokerRegistered;
use crate::metadata::{Entry, Metadata, OpenError, ProposeError};
use crate::metrics::ServerMetrics;
use crate::partition::{OpenError as StorageError, Partitions, WalPlace};
use crate::storage::{ObjectMetrics, Registration, WalError};

/// A running broker. Tests, the demo and the CLI embed it.
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    connections: TaskTracker,
    listener: Background,
    pages: Background,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error(
        "cannot listen on {address}: {source}; fix: free the port or choose another with --listen or --http"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The data directory could not be made.
    #[error(
        "cannot use the data directory {path}: {source}; fix: make it writable or choose another with --data"
    )]
    Data {
        /// The directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The configuration asks for what there is not.
    #[error("{0}")]
    Config(String),
    /// The object store can't be used.
    #[error(transparent)]
    Store(#[from] towpath_shared_log::StoreError),
    /// The metadata could not be replayed.
    #[error(transparent)]
    Metadata(#[from] OpenError),
    /// The WAL and the segments do not open.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The broker could not be registered.
    #[error("the broker could not register itself: {0}")]
    Register(#[from] ProposeError),
    /// A metric is registered twice.
    #[error("bug: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a running broker can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Its WAL has failed for good.
    #[error(transparent)]
    Wal(WalError),
    /// One of its background tasks is no more.
    #[error(transparent)]
    Panicked(Panicked),
}

impl Broker {
    /// Opens the store, replays what it holds, and serves.
    pub async fn start(config: BrokerConfig, env: Env) -> Result<Broker, StartError> {
        refuse_strangers(&config)?;
        bounds::check(&config).map_err(StartError::Config)?;
        // Bound first, so that a taken port is told before anything is written.
        let (socket, address) = bind(config.listen).await?;
        let pages_socket = match config.http {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let registry = Registry::new();
        let advertised = advertised(&config, address);
        let shared = Arc::new(open(config, env, advertised, &registry).await?);
        let connections = TaskTracker::new();
        let listener = Listener::new(Arc::clone(&shared), connections.clone());
        let (pages, front) = (Background::new(), Background::new());
        let http_address = pages_socket.map(|(socket, address)| {
            let shown = http::Pages { shared: Arc::clone(&shared), registry };
            pages.spawn("the HTTP server", http::serve(socket, shown));
            address
        });
        front.spawn("the listener", listener.run(socket));
        let removal = remove_staged(shared.store_url.clone(), shared.env.clone(), shared.stopping.clone());
        front.spawn("the removal of what puts left", removal);
        tracing::info!(%address, node = shared.config.node_id, store = shared.store_url, "broker ready");
        Ok(Broker { shared, address, http_address, connections, listener: front, pages })
    }

    /// Where the Kafka protocol is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are served, if anywhere.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Resolves with the reason when the broker can't go on: its WAL has failed for good, or a background task has
    /// panicked. What it acknowledged is safe, and it must be stopped and started again.
    pub fn failed(&self) -> impl Future<Output = Failed> + Send + use<> {
        let (shared, listener, pages) = (Arc::clone(&self.shared), self.listener.clone(), self.pages.clone());
        async move {
            let Shared { partitions, groups, metadata, .. } = &*shared;
            let panicked = tokio::select! {
                error = partitions.failed() => return Failed::Wal(error),
                panicked = partitions.tasks().panicked() => panicked,
                panicked = partitions.wal_tasks().panicked() => panicked,
                panicked = groups.tasks().panicked() => panicked,
                panicked = metadata.tasks().panicked() => panicked,
                panicked = listener.panicked() => panicked,
                panicked = pages.panicked() => panicked,
            };
            Failed::Panicked(panicked)
        }
    }

    /// Stops taking requests, finishes those in flight, makes everything durable, and closes.
    pub async fn stop(self) {
        let Broker { shared, connections, listener, pages, .. } = self;
        shared.stopping.cancel();
        listener.ended().await;
        connections.close();
        // Parked joins are answered now, or they would hold up the drain.
        shared.groups.close().await;
        let limit = Duration::from_millis(shared.config.limits.drain_timeout_ms);
        if timeout(limit, connections.wait()).await.is_err() {
            tracing::info!(left = connections.len(), "connections were cut after the drain timeout");
        }
        shared.partitions.seal(limit).await;
        shared.stopped.cancel();
        pages.ended().await;
        tracing::info!("broker stopped");
    }
}

/// Frees what crashes left in a store that is a folder, until the broker stops: the folder may be large.
async fn remove_staged(store_url: String, env: Env, stopping: CancellationToken) {
    let removed = tokio::select! {
        removed = towpath_shared_log::remove_staged(&store_url, &env) => removed,
        () = stopping.cancelled() => return,
    };
    match removed {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "what puts left that never ended is removed from the store"),
        Err(error) => {
            tracing::info!(%error, "what puts may have left in the store is looked for at the next start")
        }
    }
}

/// Beyond loopback anybody may come, and nobody has to say who it is.
fn refuse_strangers(config: &BrokerConfig) -> Result<(), StartError> {
    if config.listen.ip().is_loopback() || config.trust_network {
        return Ok(());
    }
    Err(StartError::Config(format!(
        "the broker does not authenticate its clients, and {} is open to other hosts; fix: keep strangers off that \
         port (a private network, a firewall) and start it with --trust-network, or listen on 127.0.0.1",
        config.listen
    )))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}

/// What clients are told. A wildcard address is of no use to them: this host's name is the best guess, and
/// `advertised` the cure.
fn advertised(config: &BrokerConfig, address: SocketAddr) -> (String, u16) {
    match &config.advertised {
        Some(advertised) => advertised.clone(),
        None if address.ip().is_unspecified() => ("localhost".to_owned(), address.port()),
        None => (address.ip().to_string(), address.port()),
    }
}

async fn open(
    config: BrokerConfig,
    env: Env,
    advertised: (String, u16),
    registry: &Registry,
) -> Result<Shared, StartError> {
    std::fs::create_dir_all(&config.data)
        .map_err(|source| StartError::Data { path: config.data.display().to_string(), source })?;
    let store_url = store_url(&config)?;
    let objects = ObjectMetrics::register(registry)?;
    let store = objects.counted(towpath_shared_log::open_store(&store_url).await?, env.clone());
    towpath_shared_log::probe(&store, &env).await?;
    let metadata = Metadata::open(store.clone(), env.clone(), config.node_id).await?;
    let (host, port) = advertised.clone();
    let storage = config.storage();
    // First, so that a start that must fail does not fence the broker that runs.
    let place = WalPlace::claim(&storage, &metadata.image())?;
    let (node_id, rack) = (config.node_id, config.rack.clone());
    let registered = BrokerRegistered { node_id, host, port, rack, alone: true };
    let epoch = metadata.propose(Entry::BrokerRegistered(registered)).await?.broker_epoch(config.node_id);
    let own = Registration { epoch, address: format!("{}:{}", advertised.0, advertised.1) };
    let outside = (store, env.clone(), registry);
    let partitions = Partitions::open(place, storage, (metadata.clone(), own), outside).await?;
    let metrics = ServerMetrics::new(registry, &config.limits)?;
    let groups =
        Groups::open(partitions.clone(), metadata.clone(), config.groups.clone(), env.clone(), registry)?;
    let limits = &config.limits;
    Ok(Shared {
        advertised,
        store_url,
        metadata,
        partitions,
        groups,
        producer_ids: ProducerIds::default(),
        fetch_sessions: FetchSessions::new(
            limits.fetch_sessions_max,
            limits.fetch_session_partitions_max,
            metrics.clone(),
        ),
        fetch_budget: ByteBudget::new(limits.inflight_fetch_bytes_max, metrics.fetch_bytes_inflight.clone()),
        objects,
        metrics,
        stopping: CancellationToken::new(),
        stopped: CancellationToken::new(),
        config,
        env,
    })
}

fn store_url(config: &BrokerConfig) -> Result<String, StartError> {
    if let Some(url) = &config.store {
        return Ok(url.clone());
    }
    let path = std::path::absolute(config.data.join("store"))
        .map_err(|source| StartError::Data { path: config.data.display().to_string(), source })?;
    match url::Url::from_directory_path(&path) {
        Ok(url) => Ok(url.to_string()),
        Err(()) => {
            Err(StartError::Config(format!("{} can't be written as a URL; fix: --store", path.display())))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
