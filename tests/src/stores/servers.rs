//! The servers' processes: how each is fetched, started on free ports, found ready, and stopped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::net::TcpStream;

use crate::cache;
use crate::daemon::get;
use crate::kafka::end_of;
use crate::ports::Port;
use crate::process::{Output, Process};
use crate::wait;

/// A server on busy cores.
pub(super) const START_MAX: Duration = Duration::from_secs(60);

/// Name and secret of the one user of SeaweedFS; it checks signatures.
pub(super) const SEAWEEDFS_KEYS: (&str, &str) = ("towpath-key", "towpath-secret");

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    // Stopped before its ports are given back.
    _process: Process,
    ports: Vec<Port>,
    /// What a killed server leaves outside of its folder.
    leftovers: Vec<PathBuf>,
}

impl Server {
    /// `host:port` of its S3 protocol.
    pub(super) fn address(&self) -> String {
        self.ports.first().map(Port::address).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for path in &self.leftovers {
            // Not there: then nothing is left.
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(super) async fn moto(folder: &Path) -> Result<Server> {
    let program = cache::s3_servers().await?.join("python");
    let port = Port::reserve()?;
    let mut command = Command::new(program);
    command.arg(cache::repository().join("tests/src/stores/moto_server.py")).arg(port.number().to_string());
    started("moto", command, vec![port], folder).await
}

pub(super) async fn s3rver(folder: &Path) -> Result<Server> {
    let script = cache::s3rver().await?;
    let port = Port::reserve()?;
    let mut command = Command::new("node");
    command.arg(script).arg("--directory").arg(folder.join("s3rver"));
    command.args(["--address", "127.0.0.1", "--silent", "--port"]).arg(port.number().to_string());
    started("s3rver", command, vec![port], folder).await
}

pub(super) async fn seaweedfs(folder: &Path) -> Result<Server> {
    const NAMES: [&str; 8] = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    let program = cache::s3_servers().await?.join("weed");
    let (key, secret) = SEAWEEDFS_KEYS;
    let users = serde_json::json!({ "identities": [{
        "name": "towpath",
        "credentials": [{ "accessKey": key, "secretKey": secret }],
        "actions": ["Admin", "Read", "Write", "List"],
    }] });
    let (data, users_file) = (folder.join("seaweedfs"), folder.join("seaweedfs-users.json"));
    std::fs::create_dir_all(&data)?;
    std::fs::write(&users_file, users.to_string())?;
    let mut command = Command::new(program);
    command.args(["server", "-ip=127.0.0.1", "-filer", "-s3", "-s3.iam=false", "-master.telemetry=false"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]);
    // Many small volumes: a large one is not made at once on a small disk.
    command.args(["-master.volumeSizeLimitMB=64", "-volume.max=200"]);
    command.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", users_file.display()));
    command.current_dir(&data);
    let mut ports = Vec::new();
    let mut leftovers = Vec::new();
    for name in NAMES {
        let port = Port::reserve()?;
        command.arg(format!("-{name}={}", port.number()));
        let kind = name.replace(".port", "").replace('.', "-");
        leftovers.push(PathBuf::from(format!("/tmp/seaweedfs-{kind}-{}.sock", port.number())));
        ports.push(port);
    }
    let mut server = started("seaweedfs", command, ports, folder).await?;
    server.leftovers = leftovers;
    let address = server.address();
    let healthy = wait::until("SeaweedFS to be healthy", START_MAX, async || {
        Ok(matches!(get(&address, "/healthz").await, Ok((200, _))).then_some(()))
    });
    healthy.await.map_err(|error| anyhow!("{error}\n{}", end_of(&folder.join("seaweedfs.log"))))?;
    Ok(server)
}

/// Starts `command` and waits until it listens on the first of its ports.
async fn started(name: &str, command: Command, ports: Vec<Port>, folder: &Path) -> Result<Server> {
    let log = folder.join(format!("{name}.log"));
    let mut process = Process::spawn(name, command, &Output::File(log.clone()))?;
    let address = ports.first().map(Port::address).unwrap_or_default();
    let what = format!("{name} to listen");
    let listening = wait::until(&what, START_MAX, async || {
        if let Some(status) = process.exit_status()? {
            bail!("{name} ended with {status}");
        }
        Ok(TcpStream::connect(&address).await.is_ok().then_some(()))
    });
    listening.await.map_err(|error| anyhow!("{error}\n{}", end_of(&log)))?;
    Ok(Server { _process: process, ports, leftovers: Vec::new() })
}
