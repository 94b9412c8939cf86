//! What every request handler sees: the broker behind it and the client in front of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use towpath_env::Env;

use super::ByteBudget;
use crate::api::fetch::session::FetchSessions;
use crate::api::init_producer_id::ProducerIds;
use crate::config::BrokerConfig;
use crate::group::Groups;
use crate::metadata::Metadata;
use crate::metrics::ServerMetrics;
use crate::partition::Partitions;
use crate::storage::ObjectMetrics;

/// The broker as request handlers see it. Made once by [`crate::server::Broker::start`].
pub struct Shared {
    /// The configuration it was started with.
    pub config: BrokerConfig,
    /// Clock and randomness.
    pub env: Env,
    /// Host and port that clients are told to connect to.
    pub advertised: (String, u16),
    /// URL of the object store.
    pub store_url: String,
    /// Topics, configs, segments.
    pub metadata: Metadata,
    /// Appends and reads.
    pub partitions: Partitions,
    /// Members and committed offsets.
    pub groups: Groups,
    /// Producer ids to hand out.
    pub producer_ids: ProducerIds,
    /// What incremental fetchers want.
    pub fetch_sessions: FetchSessions,
    /// Fetch response bytes that may be in flight.
    pub fetch_budget: Arc<ByteBudget>,
    /// Requests to the object store.
    pub objects: ObjectMetrics,
    /// Where to count.
    pub metrics: ServerMetrics,
    /// Fires when the broker begins to stop; long waits end then.
    pub stopping: CancellationToken,
    /// Fires when it has stopped.
    pub stopped: CancellationToken,
}

/// Who sends a request. One per connection and client id.
#[derive(Clone, Debug)]
pub struct ClientContext {
    /// Number of the connection, unique while this process lives.
    pub connection_id: u64,
    /// What the client calls itself in the request's header; empty when it says nothing.
    pub client_id: Arc<str>,
    /// The client's address as Kafka shows it in group descriptions: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The authenticated principal; `User:ANONYMOUS` on a listener without authentication.
    pub principal: Arc<str>,
    /// Fires when the client has gone or the broker stops; long waits end then.
    pub closed: CancellationToken,
}

impl ClientContext {
    /// The context of a new connection, before its first request.
    pub fn new(connection_id: u64, peer: SocketAddr, closed: CancellationToken) -> ClientContext {
        let address = match peer.ip() {
            IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
            ip => ip,
        };
        ClientContext {
            connection_id,
            client_id: Arc::from(""),
            client_host: Arc::from(format!("/{address}")),
            peer,
            principal: Arc::from("User:ANONYMOUS"),
            closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_host_reads_as_kafka_shows_it() {
        let host = |peer: &str| {
            ClientContext::new(1, peer.parse().unwrap(), CancellationToken::new()).client_host.to_string()
        };
        assert_eq!(host("127.0.0.1:5"), "/127.0.0.1");
        assert_eq!(host("[::ffff:10.0.0.7]:5"), "/10.0.0.7");
    }
}
