//! The service's file (DESIGN §12): clusters, store, cache folder, HTTP address, tokens.
//!
//! Unknown keys are refused with line and column; secrets come only as `env:NAME` or `file:PATH` references.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use towpath_wire::client::{ClientConfig, Security};

use crate::error::LinkerError;

/// Everything `towpath serve --config FILE` reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The clusters that plans may name as `source` and `target`.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// URL of the target's object store: journal and evidence live there.
    pub store: String,
    /// Folder of the local cache; may be deleted at any time.
    pub data: PathBuf,
    /// Address of the HTTP API, health and metrics.
    #[serde(default = "default_http")]
    pub http: SocketAddr,
    /// Name of this linking service: clusters know its connections, and so its fence members, by the client id
    /// `NAME-link`, and the diff's readers by `NAME-link-diff`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Reference to the Ed25519 private key (PKCS#8 PEM) that signs evidence; without one the service keeps a key
    /// of its own under `data` and says so.
    #[serde(default)]
    pub signing_key: Option<String>,
    /// Bearer tokens of the API. Empty: loopback only, actors are recorded as unauthenticated.
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    /// Bounds of the service; every one has a default.
    #[serde(default)]
    pub limits: Limits,
}

/// How to reach one cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// Transport and authentication; plaintext by default.
    #[serde(default)]
    pub security: Security,
}

/// One bearer token of the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who holds it; the actor that evidence records.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// Reference to the token's text: `env:NAME` or `file:PATH`.
    pub token: String,
}

/// What the holder of a token may do (DESIGN §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads status.
    Viewer,
    /// Runs every verb but `complete`.
    Operator,
    /// Runs every verb.
    Approver,
    /// Reads status and evidence.
    Auditor,
}

/// Bounds of the service. Each has a metric of the same name under `towpath_linker_limit_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes fetched from the source and not yet acknowledged by the target, per link.
    pub mirror_in_flight_bytes_max: usize,
    /// Bytes asked for in one fetch from one source broker.
    pub fetch_bytes_max: usize,
    /// Bytes asked for in one fetch from one partition.
    pub fetch_partition_bytes_max: usize,
    /// How long a source broker may hold a fetch when nothing is new, in ms.
    pub fetch_wait_ms: u64,
    /// How often topics, configs and identities of the source are compared, in ms.
    pub topic_check_ms: u64,
    /// Requests that may run at once on the HTTP API.
    pub http_requests_max: usize,
    /// Connections that may be open at once to the HTTP API.
    pub http_connections_max: usize,
    /// How long a connection may take until the head of its next request is complete, in ms.
    pub http_head_ms: u64,
    /// Finished operations kept for `watch`.
    pub operations_kept_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            mirror_in_flight_bytes_max: 64 << 20,
            fetch_bytes_max: 8 << 20,
            fetch_partition_bytes_max: 2 << 20,
            fetch_wait_ms: 500,
            topic_check_ms: 5_000,
            http_requests_max: 64,
            http_connections_max: 256,
            http_head_ms: 10_000,
            operations_kept_max: 1_000,
        }
    }
}

fn default_http() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8088))
}

fn default_name() -> String {
    "towpath".into()
}

impl ServiceConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<ServiceConfig, LinkerError> {
        let text = std::fs::read_to_string(path).map_err(|error| LinkerError::Config {
            place: path.display().to_string(),
            problem: format!("cannot be read: {error}"),
            fix: "give the path of the service's file to --config".into(),
        })?;
        ServiceConfig::parse(&text, &path.display().to_string())
    }

    /// Parses and checks `text`; `place` names it in errors.
    pub fn parse(text: &str, place: &str) -> Result<ServiceConfig, LinkerError> {
        let config: ServiceConfig = serde_saphyr::from_str(text).map_err(|error| LinkerError::Config {
            place: place.into(),
            // Behind its first line comes a picture of the file.
            problem: error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .into(),
            fix: "compare with the service file in docs/operating.md".into(),
        })?;
        if config.tokens.is_empty() && !config.http.ip().is_loopback() {
            return Err(LinkerError::Config {
                place: format!("{place}: http"),
                problem: format!("{} is reachable from other hosts and no token is configured", config.http),
                fix: "bind to 127.0.0.1, or list `tokens:`".into(),
            });
        }
        Ok(config)
    }

    /// The configuration of a raw client towards the cluster that plans call `name`.
    pub fn client(&self, name: &str) -> Result<ClientConfig, LinkerError> {
        let cluster = self.clusters.get(name).ok_or_else(|| LinkerError::Config {
            place: format!("clusters.{name}"),
            problem: "a plan names this cluster and the service's file does not".into(),
            fix: format!(
                "add it under `clusters:`; known: {}",
                self.clusters.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        })?;
        Ok(ClientConfig {
            bootstrap: cluster.bootstrap.split(',').map(|address| address.trim().to_owned()).collect(),
            client_id: format!("{}-link", self.name),
            security: cluster.security.clone(),
            request_timeout: REQUEST_TIMEOUT,
            ..ClientConfig::default()
        })
    }
}

/// How long one request to a cluster may take, retries included, before the caller learns that it failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a secret by its reference: `env:NAME` or `file:PATH` (a trailing newline is not part of it).
pub fn resolve_secret(reference: &str) -> Result<String, LinkerError> {
    let refuse = |problem: String| LinkerError::Config {
        place: reference.into(),
        problem,
        fix: "give secrets as env:NAME or file:PATH".into(),
    };
    if let Some(name) = reference.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| refuse(format!("the environment has no {name}")));
    }
    if let Some(path) = reference.strip_prefix("file:") {
        let text =
            std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Err(LinkerError::Config {
        place: "secret".into(),
        problem: "a secret stands in the file itself".into(),
        fix: "give secrets as env:NAME or file:PATH".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: &str = "
clusters:
  legacy: { bootstrap: \"127.0.0.1:19092\" }
  towpath: { bootstrap: \"127.0.0.1:9092\" }
store: \"file:///var/lib/towpath/store\"
data: \"/var/lib/towpath/linker\"
";

    #[test]
    fn the_shortest_file_has_defaults_for_the_rest() {
        let config = ServiceConfig::parse(SHORTEST, "service.yaml").unwrap();
        assert_eq!(config.http, default_http());
        assert_eq!(config.client("legacy").unwrap().bootstrap, ["127.0.0.1:19092"]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = ServiceConfig::parse(&format!("{SHORTEST}stroe: x\n"), "service.yaml").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("stroe") && text.contains("line 7"), "{text}");
    }

    #[test]
    fn an_open_address_without_tokens_is_refused() {
        let error = ServiceConfig::parse(&format!("{SHORTEST}http: 0.0.0.0:8088\n"), "s").unwrap_err();
        assert!(error.to_string().contains("no token"), "{error}");
    }

    #[test]
    fn a_secret_in_plain_text_is_refused_and_not_repeated() {
        let error = resolve_secret("hunter2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
