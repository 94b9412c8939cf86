//! `towpath broker`: the bundled broker as a daemon.

pub mod audit;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use towpath_broker::{Broker, BrokerConfig, Failed, WalKind};
use towpath_env::{Env, signal};
use towpath_linker::operation::exit;

use crate::failure::{Ended, Failure};

/// Arguments of `towpath broker`. Each overrides the key of the configuration file.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of running it
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Where to serve the Kafka protocol [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Listen beyond loopback although nobody who reaches the port is authenticated
    #[arg(long)]
    trust_network: bool,
    /// What clients are told to connect to, if not the listening address
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Directory of the disk WAL, and of the store if --store is not given [default: towpath-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Object store that holds the durable state: file:///DIR or s3://BUCKET/PREFIX [default: DATA/store]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Write-ahead log that makes records durable before they are acknowledged [default: disk]
    #[arg(long)]
    wal: Option<Wal>,
    /// Where to serve /healthz, /readyz and /metrics [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Start although the store names another WAL, or one that is damaged, and give up what only that held
    #[arg(long)]
    accept_wal_loss: bool,
    /// YAML file with the same keys and more (limits, node_id, auto_create_topics, …)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document when it ends: why, if it failed
    #[arg(long)]
    pub json: bool,
}

/// What can be done with a broker's store.
#[derive(Subcommand)]
pub enum Verb {
    /// Account for every object in a broker's store, without writing anything
    Audit(audit::Arguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum Wal {
    /// On this node's disk
    Disk,
    /// In the object store
    Object,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(arguments: Arguments) -> Ended {
    let config = configuration(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asked = std::pin::pin!(signal::shutdown());
        let broker = tokio::select! {
            biased;
            // A start may be left at any point: the next one goes on from what is in the store.
            asked = &mut asked => {
                asked?;
                tracing::info!("asked to stop before it was ready");
                return Ok(exit::DONE);
            }
            started = Broker::start(config, Env::real()) => started.map_err(anyhow::Error::from)?,
        };
        let failed = tokio::select! {
            asked = &mut asked => asked.map(|()| None)?,
            failed = broker.failed() => Some(failed),
        };
        broker.stop().await;
        match failed {
            None => Ok(exit::DONE),
            Some(failed) => Err(stopped_itself("the broker", &failed)),
        }
    })
}

/// What is told of a broker that could not go on.
pub fn stopped_itself(which: &str, failed: &Failed) -> Failure {
    let kind = match failed {
        Failed::Wal(_) => "store",
        Failed::Panicked(_) => "bug",
    };
    Failure::told(kind, &format!("{which} stopped itself: {failed}"), exit::FAILED)
}

fn configuration(arguments: Arguments) -> Result<BrokerConfig> {
    let mut config = match &arguments.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("cannot read {}; fix: name the broker's configuration file", path.display())
            })?;
            serde_saphyr::from_str(&text).map_err(|error| {
                // Behind its first line comes a picture of the file.
                let told = error.to_string();
                let told = told.lines().next().unwrap_or_default().trim_start_matches("error: ");
                anyhow!("{}: {told}; fix: {KEYS}", path.display())
            })?
        }
        None => BrokerConfig::default(),
    };
    if let Some(listen) = &arguments.listen {
        config.listen = address("--listen", listen)?;
    }
    if let Some(advertise) = &arguments.advertise {
        config.advertised = Some(host_and_port("--advertise", advertise)?);
    } else if let (None, Some(listen)) = (&config.advertised, &arguments.listen) {
        // A name that was given to listen on is a name that clients can use.
        let (host, port) = host_and_port("--listen", listen)?;
        if port != 0 && !config.listen.ip().is_unspecified() {
            config.advertised = Some((host, port));
        }
    }
    if let Some(http) = &arguments.http {
        config.http = Some(address("--http", http)?);
    }
    config.data = arguments.data.unwrap_or(config.data);
    config.store = arguments.store.or(config.store);
    config.trust_network |= arguments.trust_network;
    config.accept_wal_loss |= arguments.accept_wal_loss;
    config.wal = match arguments.wal {
        Some(Wal::Disk) => WalKind::Disk,
        Some(Wal::Object) => WalKind::Object,
        None => config.wal,
    };
    Ok(config)
}

/// What helps with a file that does not read.
const KEYS: &str =
    "correct what is named at its line and column; docs/broker.md has every key with its default";
/// What helps with a name that leads nowhere.
const ADDRESS: &str = "name an address of this machine, for example 127.0.0.1:9092";

fn host_and_port(option: &str, text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        bail!("{option} {text}: not HOST:PORT; fix: for example 127.0.0.1:9092")
    };
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

fn address(option: &str, text: &str) -> Result<SocketAddr> {
    let (host, port) = host_and_port(option, text)?;
    let mut found = (host.as_str(), port)
        .to_socket_addrs()
        .with_context(|| format!("{option} {text}: the host has no address; fix: {ADDRESS}"))?;
    found.next().ok_or_else(|| anyhow!("{option} {text}: the host has no address; fix: {ADDRESS}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &[&str]) -> Result<BrokerConfig> {
        configuration(Line::try_parse_from(["broker"].iter().chain(line)).unwrap().arguments)
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broker.yaml");
        std::fs::write(&file, "node_id: 7\nlisten: 127.0.0.1:1000\nlimits: { connections_max: 5 }\n")
            .unwrap();
        let config =
            parsed(&["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:2000", "--wal", "object"])
                .unwrap();
        assert_eq!((config.node_id, config.limits.connections_max), (7, 5));
        assert_eq!(config.listen, "127.0.0.1:2000".parse().unwrap());
        assert_eq!(config.wal, WalKind::Object);
    }

    #[test]
    fn a_mistyped_key_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broker.yaml");
        std::fs::write(&file, "node_idd: 7\n").unwrap();
        let error = parsed(&["--config", file.to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("broker.yaml: line 1 column 1: unknown field `node_idd`"), "{error}");
        assert!(!error.contains('\n') && error.contains("; fix: correct what is named"), "{error}");
    }

    #[test]
    fn an_address_without_a_port_says_what_one_looks_like() {
        let error = parsed(&["--listen", "localhost"]).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:9092"), "{error}");
    }
}
