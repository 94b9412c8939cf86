//! A real Apache Kafka on this machine, started from its jars.
//!
//! KRaft from 3.x on (the first node is broker and controller in one process, further nodes are brokers);
//! ZooKeeper for 2.x. Data lives in a temporary folder: a node that was stopped or killed starts again on it.
//! Replication factors are 1 unless `properties` say otherwise.

pub(crate) mod classes;
mod config;
mod format;
mod pool;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cache;
use crate::folder::Folder;
use crate::ports::Port;
use crate::process::{Output, Process};
use crate::wait;

pub use pool::Pool;
pub use tools::{Tool, Tools};

/// A JVM on two busy cores takes its time.
const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// A version on Maven Central, for example `3.9.1`.
    pub version: String,
    /// How many brokers.
    pub brokers: usize,
    /// Server properties, over the harness's own.
    pub properties: Vec<(String, String)>,
    /// Listeners of the first broker beside PLAINTEXT: name and `host:port`. What they speak says the property
    /// `listener.security.protocol.map`.
    pub listeners: Vec<(String, String)>,
    /// Options of the JVM, heap included.
    pub jvm: Vec<String>,
}

impl KafkaOptions {
    /// One broker of `version`, 512 MB of heap, a JVM tuned for a quick start.
    pub fn new(version: &str) -> KafkaOptions {
        let jvm = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        KafkaOptions {
            version: version.to_owned(),
            brokers: 1,
            properties: Vec::new(),
            listeners: Vec::new(),
            jvm: jvm.map(str::to_owned).to_vec(),
        }
    }

    /// Sets a server property.
    pub fn property(mut self, key: &str, value: &str) -> KafkaOptions {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    fn has_acls(&self) -> bool {
        self.properties.iter().any(|(key, _)| key == "authorizer.class.name")
    }

    /// KRaft came to stay with 3.x.
    fn has_zookeeper(&self) -> bool {
        self.version.starts_with('2')
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    jars: PathBuf,
    nodes: Vec<Node>,
    /// Of 2.x: its process and port.
    zookeeper: Option<(Process, Port)>,
    // Behind the processes that write there: fields are dropped in this order.
    folder: Folder,
}

/// One broker: what stays while its process comes and goes.
#[derive(Debug)]
struct Node {
    id: usize,
    port: Port,
    controller_port: Port,
    folder: PathBuf,
    process: Option<Process>,
}

impl Kafka {
    /// Starts one broker of `version` and waits until it answers.
    ///
    /// # Errors
    /// As [`Kafka::start_with`].
    pub async fn start(version: &str) -> Result<Kafka> {
        Kafka::start_with(KafkaOptions::new(version)).await
    }

    /// Starts a cluster and waits until all its brokers know each other.
    ///
    /// # Errors
    /// When the jars can't be fetched, or the cluster is not ready in time (with the end of its log).
    pub async fn start_with(options: KafkaOptions) -> Result<Kafka> {
        let jars = cache::kafka_jars(&options.version).await?;
        if !options.has_zookeeper() {
            classes::make(&options.version, &jars).await?;
        }
        Kafka::start_from(&jars, options).await
    }

    async fn start_from(jars: &Path, options: KafkaOptions) -> Result<Kafka> {
        let folder = Folder::new("towpath-kafka-")?;
        config::write_logging(folder.path(), config::LogTo::Server)?;
        let mut nodes = Vec::new();
        for id in 1..=options.brokers {
            let node_folder = folder.path().join(format!("node-{id}"));
            std::fs::create_dir_all(&node_folder)?;
            let (port, controller_port) = (Port::reserve()?, Port::reserve()?);
            nodes.push(Node { id, port, controller_port, folder: node_folder, process: None });
        }
        let mut kafka = Kafka { options, jars: jars.to_owned(), folder, nodes, zookeeper: None };
        if kafka.options.has_zookeeper() {
            kafka.zookeeper = Some(kafka.start_zookeeper()?);
        }
        for index in 0..kafka.nodes.len() {
            config::write_server(&kafka, index)?;
            if !kafka.options.has_zookeeper() {
                format::format(&kafka, index).await?;
            }
        }
        for index in 0..kafka.nodes.len() {
            kafka.launch(index)?;
        }
        kafka.ready().await?;
        Ok(kafka)
    }

    /// `host:port` of each broker, separated by commas.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| node.port.address()).collect::<Vec<_>>().join(",")
    }

    /// The version that runs.
    pub fn version(&self) -> &str {
        &self.options.version
    }

    /// The process id of broker `index` (from 0).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn process_id(&mut self, index: usize) -> Result<u32> {
        Ok(self.process(index)?.id())
    }

    /// Kafka's own command-line tools, of the same version.
    pub fn tools(&self) -> Tools {
        Tools::new(&self.options.version, self.jars.clone())
    }

    /// The log of broker `index` (from 0).
    pub fn log_path(&self, index: usize) -> PathBuf {
        self.nodes[index].folder.join("server.log")
    }

    /// The folder with the partitions of broker `index` (from 0).
    pub fn data_path(&self, index: usize) -> PathBuf {
        self.nodes[index].folder.join("data")
    }

    /// SIGTERM to every broker, and waits for their end.
    ///
    /// # Errors
    /// When one does not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        // Brokers hand over leadership before they go; the controller goes last.
        for index in (0..self.nodes.len()).rev() {
            if let Some(mut process) = self.nodes[index].process.take() {
                process.terminate(STOP_MAX).await?;
            }
        }
        Ok(())
    }

    /// SIGKILL to broker `index` (from 0).
    ///
    /// # Errors
    /// When it isn't running.
    pub async fn kill(&mut self, index: usize) -> Result<()> {
        self.process(index)?.kill().await?;
        self.nodes[index].process = None;
        Ok(())
    }

    /// SIGSTOP to broker `index` (from 0): its connections hang.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn pause(&mut self, index: usize) -> Result<()> {
        self.process(index)?.pause()
    }

    /// SIGCONT to broker `index` (from 0).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn resume(&mut self, index: usize) -> Result<()> {
        self.process(index)?.resume()
    }

    /// Starts all brokers that don't run, on their data, and waits until all are ready.
    ///
    /// # Errors
    /// As [`Kafka::start_with`].
    pub async fn start_again(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            if self.nodes[index].process.is_none() {
                self.launch(index)?;
            }
        }
        self.ready().await
    }

    fn process(&mut self, index: usize) -> Result<&mut Process> {
        self.nodes[index].process.as_mut().with_context(|| format!("broker {index} isn't running"))
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let mut command = self.java(&self.options.jvm);
        command.arg("kafka.Kafka").arg(node.folder.join("server.properties"));
        let name = format!("kafka {} node {}", self.options.version, node.id);
        let process = Process::spawn(&name, command, &Output::File(self.log_path(index)))?;
        self.nodes[index].process = Some(process);
        Ok(())
    }

    fn start_zookeeper(&self) -> Result<(Process, Port)> {
        let port = Port::reserve()?;
        let folder = self.folder.path().join("zookeeper");
        let file = config::write_zookeeper(&folder, port.number())?;
        let mut command = self.java(&["-Xmx128m".to_owned(), "-XX:+UseSerialGC".to_owned()]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(file);
        let process = Process::spawn("zookeeper", command, &Output::File(folder.join("zookeeper.log")))?;
        Ok((process, port))
    }

    fn java(&self, jvm: &[String]) -> Command {
        tools::java(&self.jars, self.folder.path(), jvm)
    }

    async fn ready(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            let (address, expected) = (self.nodes[index].port.address(), self.nodes.len());
            let log = self.log_path(index);
            let process = self.process(index)?;
            let what = format!("{} to know its {expected} brokers", process.name());
            let answer = wait::until(&what, START_MAX, async || {
                if let Some(status) = process.exit_status()? {
                    bail!("{} ended with {status}", process.name());
                }
                Ok((brokers_known_to(&address).await.ok() == Some(expected)).then_some(()))
            });
            answer.await.map_err(|error| anyhow!("{error}\n{}", end_of(&log)))?;
        }
        Ok(())
    }
}

/// How many brokers the one at `address` lists, once it knows the controller.
async fn brokers_known_to(address: &str) -> Result<usize> {
    /// Before the flexible encoding, known to every broker.
    const VERSION: i16 = 4;
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Metadata as i16)
        .with_request_api_version(VERSION)
        .with_client_id(Some(StrBytes::from_static_str("towpath-tests")));
    let mut body = BytesMut::new();
    header.encode(&mut body, ApiKey::Metadata.request_header_version(VERSION))?;
    MetadataRequest::default().with_topics(None).encode(&mut body, VERSION)?;
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&(body.len() as u32).to_be_bytes()).await?;
        stream.write_all(&body).await?;
        let mut answer = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(Bytes::from(answer))
    };
    let mut answer = tokio::time::timeout(Duration::from_secs(5), exchange).await??;
    let _correlation_id = answer.split_to(4.min(answer.len()));
    let metadata = MetadataResponse::decode(&mut answer, VERSION)?;
    Ok(if metadata.controller_id.0 < 0 { 0 } else { metadata.brokers.len() })
}

/// The logging files that the tools' JVMs look for beside the jars.
pub(crate) fn write_tool_logging(jars: &Path) -> Result<()> {
    config::write_logging(jars, config::LogTo::Tool)
}

/// The last lines of a log, for an error's message.
pub(crate) fn end_of(log: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
