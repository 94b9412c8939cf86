//! What an operator may set: addresses, places, and every bound of the broker's front (DESIGN §5.7).
//!
//! Owns: the shape and the defaults of the broker's configuration file and of its embedding
//! ([`BrokerConfig`]). Never reads files itself: the CLI does, and hands the value to
//! [`crate::server::Broker::start`]. Unknown keys are refused, so that a typing error is not a silent default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::group::GroupConfig;
use crate::storage::{StorageConfig, WalKind};

/// Kafka's default for `socket.request.max.bytes`: no client is configured to send more.
const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Kafka's default for the broker's `fetch.max.bytes`.
const FETCH_BYTES_MAX: usize = 55 * 1024 * 1024;
/// Kafka's default for `connections.max.idle.ms`: ten minutes.
const IDLE_TIMEOUT_MS: u64 = 600_000;

/// The configuration of one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Where the Kafka protocol is served. Port 0 takes a free port ([`crate::server::Broker::address`]).
    pub listen: SocketAddr,
    /// Listens beyond loopback although whoever reaches the port may read, write, delete, and use the private
    /// requests of the linking service: the broker does not authenticate anybody.
    pub trust_network: bool,
    /// Host and port that clients are told to connect to, as `HOST:PORT`; the listening address when absent.
    #[serde(with = "host_port")]
    pub advertised: Option<(String, u16)>,
    /// Local directory: the disk WAL, and the store when none is named.
    pub data: PathBuf,
    /// URL of the object store that holds the durable state; `file://DATA/store` when absent.
    pub store: Option<String>,
    /// Which write-ahead log to use.
    pub wal: WalKind,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; nowhere when absent.
    pub http: Option<SocketAddr>,
    /// This broker's id, unique in its cluster.
    pub node_id: i32,
    /// The zone this broker says it is in, if any.
    pub rack: Option<String>,
    /// Kafka's `auto.create.topics.enable`. Off by default, other than in Kafka: a consumer that moves to this
    /// broker before its topic is mirrored would otherwise create an empty topic in the mirror's place, and
    /// then read nothing without an error.
    pub auto_create_topics: bool,
    /// Kafka's `num.partitions`: partitions of a topic created without a count.
    pub partitions_default: i32,
    /// Counts producer ids from 0, as Kafka does, instead of 2^62. For a broker that plays a source in a demo or a
    /// test: nothing can be mirrored to it afterwards.
    pub producer_ids_from_zero: bool,
    /// Consumer groups.
    pub groups: GroupConfig,
    /// Comes up with another WAL than the one that the store names, giving up what only that one held.
    pub accept_wal_loss: bool,
    /// WAL, tail, caches, segments.
    pub storage: StorageSettings,
    /// The bounds.
    pub limits: Limits,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9092)),
            trust_network: false,
            advertised: None,
            data: PathBuf::from("towpath-data"),
            store: None,
            wal: WalKind::Disk,
            http: None,
            node_id: 1,
            rack: None,
            auto_create_topics: false,
            partitions_default: 1,
            producer_ids_from_zero: false,
            groups: GroupConfig::default(),
            accept_wal_loss: false,
            storage: StorageSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// What an operator may set of the storage; the rest of [`StorageConfig`] follows from the other keys. Its
/// defaults and the meaning of each are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// [`StorageConfig::wal_file_bytes`].
    pub wal_file_bytes: usize,
    /// [`StorageConfig::wal_spare_files_max`].
    pub wal_spare_files_max: usize,
    /// [`StorageConfig::wal_group_bytes_max`].
    pub wal_group_bytes_max: usize,
    /// [`StorageConfig::wal_queue_bytes_max`].
    pub wal_queue_bytes_max: usize,
    /// [`StorageConfig::wal_puts_inflight_max`].
    pub wal_puts_inflight_max: usize,
    /// [`StorageConfig::wal_flush_interval`] (ms).
    pub wal_flush_interval_ms: u64,
    /// [`StorageConfig::wal_request_timeout`] (ms).
    pub wal_request_timeout_ms: u64,
    /// [`StorageConfig::wal_lease`] (ms).
    pub wal_lease_ms: u64,
    /// [`StorageConfig::unuploaded_bytes_max`].
    pub unuploaded_bytes_max: usize,
    /// [`StorageConfig::segment_bytes`].
    pub segment_bytes: usize,
    /// [`StorageConfig::segment_age_max`] (ms).
    pub segment_age_max_ms: u64,
    /// [`StorageConfig::tail_cache_bytes_max`].
    pub tail_cache_bytes_max: usize,
    /// [`StorageConfig::block_cache_bytes_max`].
    pub block_cache_bytes_max: usize,
    /// [`StorageConfig::read_ahead_bytes`].
    pub read_ahead_bytes: usize,
    /// [`StorageConfig::snapshot_inline_bytes_max`].
    pub snapshot_inline_bytes_max: usize,
    /// [`StorageConfig::merge_bytes_max`].
    pub merge_bytes_max: usize,
    /// [`StorageConfig::merge_run_bytes`].
    pub merge_run_bytes: usize,
    /// [`StorageConfig::merge_layers_max`].
    pub merge_layers_max: usize,
    /// [`StorageConfig::merge_generations_max`].
    pub merge_generations_max: u8,
    /// [`StorageConfig::orphan_sweep_interval`] (ms).
    pub orphan_sweep_interval_ms: u64,
    /// [`StorageConfig::delete_grace`] (ms).
    pub delete_grace_ms: u64,
    /// [`StorageConfig::compact_interval`] (ms).
    pub compact_interval_ms: u64,
    /// [`StorageConfig::compact_map_bytes_max`].
    pub compact_map_bytes_max: usize,
    /// [`StorageConfig::compact_object_bytes_max`].
    pub compact_object_bytes_max: usize,
    /// [`StorageConfig::compact_range_bytes_max`].
    pub compact_range_bytes_max: usize,
    /// [`StorageConfig::compact_bytes_per_second_max`].
    pub compact_bytes_per_second_max: usize,
    /// [`StorageConfig::compact_dirty_bytes_min`].
    pub compact_dirty_bytes_min: u64,
    /// [`StorageConfig::maintenance_interval`] (ms).
    pub maintenance_interval_ms: u64,
    /// [`StorageConfig::producer_expiry`] (ms).
    pub producer_expiry_ms: u64,
    /// [`StorageConfig::producers_per_partition_max`].
    pub producers_per_partition_max: usize,
}

impl Default for StorageSettings {
    fn default() -> StorageSettings {
        let config = StorageConfig::new(0, PathBuf::new());
        let ms = |duration: Duration| duration.as_millis() as u64;
        StorageSettings {
            wal_file_bytes: config.wal_file_bytes,
            wal_spare_files_max: config.wal_spare_files_max,
            wal_group_bytes_max: config.wal_group_bytes_max,
            wal_queue_bytes_max: config.wal_queue_bytes_max,
            wal_puts_inflight_max: config.wal_puts_inflight_max,
            wal_flush_interval_ms: ms(config.wal_flush_interval),
            wal_request_timeout_ms: ms(config.wal_request_timeout),
            wal_lease_ms: ms(config.wal_lease),
            unuploaded_bytes_max: config.unuploaded_bytes_max,
            segment_bytes: config.segment_bytes,
            segment_age_max_ms: ms(config.segment_age_max),
            tail_cache_bytes_max: config.tail_cache_bytes_max,
            block_cache_bytes_max: config.block_cache_bytes_max,
            read_ahead_bytes: config.read_ahead_bytes,
            snapshot_inline_bytes_max: config.snapshot_inline_bytes_max,
            merge_bytes_max: config.merge_bytes_max,
            merge_run_bytes: config.merge_run_bytes,
            merge_layers_max: config.merge_layers_max,
            merge_generations_max: config.merge_generations_max,
            orphan_sweep_interval_ms: ms(config.orphan_sweep_interval),
            delete_grace_ms: ms(config.delete_grace),
            compact_interval_ms: ms(config.compact_interval),
            compact_map_bytes_max: config.compact_map_bytes_max,
            compact_object_bytes_max: config.compact_object_bytes_max,
            compact_range_bytes_max: config.compact_range_bytes_max,
            compact_bytes_per_second_max: config.compact_bytes_per_second_max,
            compact_dirty_bytes_min: config.compact_dirty_bytes_min,
            maintenance_interval_ms: ms(config.maintenance_interval),
            producer_expiry_ms: ms(config.producer_expiry),
            producers_per_partition_max: config.producers_per_partition_max,
        }
    }
}

impl BrokerConfig {
    /// The storage's own configuration.
    pub fn storage(&self) -> StorageConfig {
        let set = &self.storage;
        StorageConfig {
            wal: self.wal,
            wal_accept_loss: self.accept_wal_loss,
            wal_file_bytes: set.wal_file_bytes,
            wal_spare_files_max: set.wal_spare_files_max,
            wal_group_bytes_max: set.wal_group_bytes_max,
            wal_queue_bytes_max: set.wal_queue_bytes_max,
            wal_puts_inflight_max: set.wal_puts_inflight_max.max(1),
            wal_flush_interval: Duration::from_millis(set.wal_flush_interval_ms),
            wal_request_timeout: Duration::from_millis(set.wal_request_timeout_ms.max(1)),
            wal_lease: Duration::from_millis(set.wal_lease_ms.max(1)),
            unuploaded_bytes_max: set.unuploaded_bytes_max,
            segment_bytes: set.segment_bytes,
            segment_age_max: Duration::from_millis(set.segment_age_max_ms),
            tail_cache_bytes_max: set.tail_cache_bytes_max,
            block_cache_bytes_max: set.block_cache_bytes_max,
            read_ahead_bytes: set.read_ahead_bytes,
            snapshot_inline_bytes_max: set.snapshot_inline_bytes_max,
            merge_bytes_max: set.merge_bytes_max,
            merge_run_bytes: set.merge_run_bytes,
            merge_layers_max: set.merge_layers_max,
            merge_generations_max: set.merge_generations_max,
            orphan_sweep_interval: Duration::from_millis(set.orphan_sweep_interval_ms),
            delete_grace: Duration::from_millis(set.delete_grace_ms),
            compact_interval: Duration::from_millis(set.compact_interval_ms),
            compact_map_bytes_max: set.compact_map_bytes_max,
            compact_object_bytes_max: set.compact_object_bytes_max,
            compact_range_bytes_max: set.compact_range_bytes_max,
            compact_bytes_per_second_max: set.compact_bytes_per_second_max,
            compact_dirty_bytes_min: set.compact_dirty_bytes_min,
            maintenance_interval: Duration::from_millis(set.maintenance_interval_ms),
            producer_expiry: Duration::from_millis(set.producer_expiry_ms),
            producers_per_partition_max: set.producers_per_partition_max,
            ..StorageConfig::new(self.node_id, self.data.join("wal"))
        }
    }
}

/// Every bound of the broker's front: connections, frames, requests in flight, fetches, sessions.
///
/// Each has a metric of the same subject (`towpath_broker_...`, see `metrics.rs`). Byte bounds count request
/// or response payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open client connections; one more is closed at once.
    pub connections_max: usize,
    /// Largest request frame; a larger one closes its connection.
    pub request_bytes_max: usize,
    /// Memory that one request may take once decoded, beyond its own bytes (the guard's budget).
    pub decoded_bytes_max: usize,
    /// Request bytes received and not yet answered, over all connections. Beyond it connections are not read
    /// until others are answered. One frame at a time may overdraw it, so that waiting can't become a deadlock.
    pub inflight_request_bytes_max: usize,
    /// Produce requests of one connection whose durability is awaited; the next one is not taken before.
    pub inflight_produces_max: usize,
    /// Fetch response bytes read and not yet written to their clients, over all connections. Beyond it fetches
    /// return less, down to one batch, or wait.
    pub inflight_fetch_bytes_max: usize,
    /// Largest fetch response, whatever the client asks for (one batch may exceed it).
    pub fetch_bytes_max: usize,
    /// Longest wait of a fetch for `min_bytes`, whatever the client asks for (ms).
    pub fetch_wait_max_ms: u64,
    /// Incremental fetch sessions kept (KIP-227); beyond it the idle or smaller ones make room.
    pub fetch_sessions_max: usize,
    /// Partitions over all fetch sessions; beyond it new fetches are served without a session.
    pub fetch_session_partitions_max: usize,
    /// A connection without a request for this long is closed (ms).
    pub idle_timeout_ms: u64,
    /// A frame that has begun and makes no progress for this long closes its connection (ms).
    pub frame_timeout_ms: u64,
    /// A response of which the client takes nothing for this long closes its connection (ms).
    pub write_timeout_ms: u64,
    /// On stop, how long requests in flight may take to finish (ms).
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 4_096,
            request_bytes_max: REQUEST_BYTES_MAX,
            decoded_bytes_max: 64 * 1024 * 1024,
            inflight_request_bytes_max: 256 * 1024 * 1024,
            inflight_produces_max: 64,
            inflight_fetch_bytes_max: 256 * 1024 * 1024,
            fetch_bytes_max: FETCH_BYTES_MAX,
            fetch_wait_max_ms: 60_000,
            fetch_sessions_max: 1_000,
            fetch_session_partitions_max: 200_000,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
            frame_timeout_ms: 30_000,
            write_timeout_ms: 60_000,
            drain_timeout_ms: 10_000,
        }
    }
}

impl Limits {
    /// [`Limits::idle_timeout_ms`] as a duration.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// [`Limits::frame_timeout_ms`] as a duration.
    pub fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    /// [`Limits::write_timeout_ms`] as a duration.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

/// `HOST:PORT` as one string.
mod host_port {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<(String, u16)>, out: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|(host, port)| format!("{host}:{port}")).serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<(String, u16)>, D::Error> {
        let Some(text) = Option::<String>::deserialize(input)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| de::Error::custom(format!("{text:?} is not HOST:PORT")))
    }

    pub fn parse(text: &str) -> Option<(String, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_saphyr::from_str::<BrokerConfig>("lissen: 127.0.0.1:1").unwrap_err();
        assert!(error.to_string().contains("lissen"), "{error}");
        let error = serde_saphyr::from_str::<BrokerConfig>("limits: { conections_max: 1 }").unwrap_err();
        assert!(error.to_string().contains("conections_max"), "{error}");
    }

    #[test]
    fn what_is_not_named_keeps_its_default() {
        let config: BrokerConfig =
            serde_saphyr::from_str("advertised: 'broker.example:19092'\nlimits: { connections_max: 7 }")
                .unwrap();
        assert_eq!(config.advertised, Some(("broker.example".to_owned(), 19092)));
        assert_eq!(config.limits.connections_max, 7);
        assert_eq!(config.limits.request_bytes_max, Limits::default().request_bytes_max);
        assert_eq!(config.listen, BrokerConfig::default().listen);
    }

    #[test]
    fn without_a_word_about_it_the_storage_has_its_own_defaults() {
        let config = BrokerConfig { node_id: 3, data: PathBuf::from("here"), ..BrokerConfig::default() };
        assert_eq!(config.storage(), StorageConfig::new(3, "here/wal"));
    }

    /// The file's own keys, then those of the sections.
    #[test]
    fn the_page_for_operators_names_every_key_with_its_default() {
        let page = include_str!("../../docs/broker.md");
        let serde_json::Value::Object(all) = serde_json::to_value(BrokerConfig::default()).unwrap() else {
            panic!("a configuration is a map");
        };
        for (key, value) in all {
            let serde_json::Value::Object(section) = value else {
                assert!(page.contains(&format!("| `{key}` | ")), "{key}");
                continue;
            };
            let head =
                page.find(&format!("Keys under `{key}:`")).unwrap_or_else(|| panic!("no table of {key}"));
            for (key, default) in section {
                let row = [format!("| `{key}` | {default} |"), format!("| `{key}` | {default} (")];
                assert!(row.iter().any(|row| page[head..].contains(row)), "{key}: {default}");
            }
        }
    }

    #[test]
    fn an_advertised_address_needs_host_and_port() {
        assert_eq!(host_port::parse("[::1]:9092"), Some(("::1".to_owned(), 9092)));
        assert_eq!(host_port::parse("localhost"), None);
        assert_eq!(host_port::parse(":9092"), None);
        assert_eq!(host_port::parse("localhost:70000"), None);
    }
}
