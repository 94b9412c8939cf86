//! Workload clients: producers and consumers of independent implementations, each a child process that speaks
//! the same protocol ([`protocol`]), so that a scenario can name any of them, and kill any of them.

pub mod librdkafka;
pub mod protocol;
pub mod reading;

use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cache;
use crate::kafka::classes::archive_of;
use crate::kafka::end_of;
use crate::process::{Output, Process};
use protocol::{Command, Event, Settings, Verb};

/// The version of the Java client that `java` means.
const JAVA_VERSION: &str = "4.1.1";

/// An implementation of the Kafka protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// librdkafka, through the rdkafka crate.
    Rdkafka,
    /// kafka-python, pure Python.
    KafkaPython,
    /// franz-go, pure Go.
    FranzGo,
    /// The Java client of this version.
    Java(String),
}

impl FromStr for ClientKind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<ClientKind> {
        match name {
            "rdkafka" => Ok(ClientKind::Rdkafka),
            "kafka-python" => Ok(ClientKind::KafkaPython),
            "franz-go" => Ok(ClientKind::FranzGo),
            "java" => Ok(ClientKind::Java(JAVA_VERSION.to_owned())),
            other => match other.strip_prefix("java-") {
                Some(version) => Ok(ClientKind::Java(version.to_owned())),
                None => {
                    bail!("no client {name:?}; fix: rdkafka, kafka-python, franz-go, java or java-VERSION")
                }
            },
        }
    }
}

impl ClientKind {
    /// The program that is the client, fetched or compiled if need be.
    async fn program(&self) -> Result<Program> {
        match self {
            ClientKind::Rdkafka => Ok(Program::new(built("towpath-client")?)),
            ClientKind::KafkaPython => {
                let mut program = Program::new(cache::python().await?);
                program.arg("-u").arg(cache::repository().join("tests/src/clients/python/client.py"));
                Ok(program)
            }
            ClientKind::FranzGo => Ok(Program::new(cache::go_client().await?)),
            ClientKind::Java(version) => {
                let jars = cache::kafka_jars(version).await?;
                let classes = cache::java_client(&jars, version).await?;
                let mut program = Program::new("java");
                program.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                if let Some(archive) = archive_of(&jars) {
                    program.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
                }
                program
                    .arg(format!("-Dlog4j.configuration=file:{}", jars.join("log4j.properties").display()));
                program
                    .arg(format!("-Dlog4j2.configurationFile={}", jars.join("log4j2.properties").display()));
                program.arg("-cp").arg(format!("{}/*:{}", jars.display(), classes.display()));
                program.arg("TowpathTestClient");
                Ok(program)
            }
        }
    }
}

/// A binary of this workspace, beside the running one or named by `TOWPATH_BIN_DIR`.
///
/// # Errors
/// When it isn't built.
pub fn built(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("TOWPATH_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe()?;
            let folder = own.parent().context("an executable has a folder")?;
            // Test binaries live one folder below.
            if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned()
        }
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} isn't built; fix: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    process: Process,
    input: Option<ChildStdin>,
    events: UnboundedReceiver<Result<Event>>,
    log: PathBuf,
}

impl Client {
    /// Starts a client; its log is `folder/NAME.log`.
    ///
    /// # Errors
    /// When the client can't be fetched or started.
    pub async fn start(kind: &ClientKind, name: &str, settings: &Settings, folder: &Path) -> Result<Client> {
        let mut program = kind.program().await?;
        program.arg(serde_json::to_string(settings)?);
        let log = folder.join(format!("{name}.log"));
        let mut process = Process::spawn(name, program, &Output::Pipes(log.clone()))?;
        let (input, output) = process.pipes().context("a child just started has its pipes")?;
        let events = events_of(ChildStdout::from_std(output)?);
        Ok(Client { process, input: Some(ChildStdin::from_std(input)?), events, log })
    }

    /// Tells the client something; it may take its time to read it.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn tell(&mut self, command: &Command) -> Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the client's input is closed")?;
        let sent = input.write_all(&line).await;
        sent.map_err(|error| self.failed(&error))
    }

    /// The next event; `None` when the client has ended. Loses nothing when it is dropped before it gives one.
    ///
    /// # Errors
    /// When what comes is no event.
    pub async fn listen(&mut self) -> Result<Option<Event>> {
        self.events.recv().await.transpose().map_err(|error| self.failed(&error))
    }

    /// The next event; `None` when the client has ended.
    ///
    /// # Errors
    /// When nothing comes within `limit`, or what comes is no event.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<Event>> {
        match tokio::time::timeout(limit, self.listen()).await {
            Ok(event) => event,
            Err(_) => Err(self.failed(&format!("says nothing for {} ms", limit.as_millis()))),
        }
    }

    /// Gives a command and waits until it is done, handing every event on the way to `seen`.
    ///
    /// # Errors
    /// When it says nothing for `limit`, or ends.
    pub async fn finish(&mut self, verb: Verb, limit: Duration, mut seen: impl FnMut(Event)) -> Result<()> {
        self.tell(&Command::Do(verb)).await?;
        loop {
            match self.next(limit).await? {
                Some(Event::Done(done)) if done == verb => return Ok(()),
                Some(event) => seen(event),
                None => return Err(self.failed(&format!("ended before it did {verb:?}"))),
            }
        }
    }

    /// Closes the client's input: a producer flushes and ends, a consumer leaves its group and ends.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The process behind it, to kill or pause.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn failed(&self, what: &dyn std::fmt::Display) -> anyhow::Error {
        anyhow!("client {}: {what}\n{}", self.process.name(), end_of(&self.log))
    }
}

/// Reads a client's lines as they come, so that a client never waits for the harness: one that can't say its
/// acknowledgements would not read its commands.
fn events_of(output: ChildStdout) -> UnboundedReceiver<Result<Event>> {
    let (sender, events) = unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::with_capacity(1 << 18, output).lines();
        loop {
            let event = match lines.next_line().await {
                Ok(None) => return,
                Ok(Some(line)) => serde_json::from_str(&line).with_context(|| format!("no event: {line}")),
                Err(error) => Err(error.into()),
            };
            let bad = event.is_err();
            if sender.send(event).is_err() || bad {
                return;
            }
        }
    });
    events
}
