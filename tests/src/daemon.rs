//! The built `towpath` binary as a daemon (`broker` or `serve`): started, killed, started again on the same
//! data, and watched: what it logs as a warning or an error must have been declared.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::built;
use crate::kafka::end_of;
use crate::ports::Port;
use crate::process::{Output, Process};
use crate::wait;

/// A debug build on busy cores that replays its log.
const START_MAX: Duration = Duration::from_secs(60);
/// SIGTERM drains; nothing that a test has in flight takes longer.
const STOP_MAX: Duration = Duration::from_secs(30);

/// A daemon: what stays while its process comes and goes.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// What the process is started through; empty: nothing.
    wrapper: Vec<String>,
    http: Port,
    /// What it serves besides HTTP; kept reserved.
    kafka: Option<Port>,
    folder: PathBuf,
    process: Option<Process>,
}

impl Daemon {
    /// A broker with its data under `folder`, not yet started. `arguments` go behind the harness's own.
    ///
    /// # Errors
    /// When no port is free.
    pub fn broker(name: &str, folder: &Path, arguments: &[String]) -> Result<Daemon> {
        let (kafka, http) = (Port::reserve()?, Port::reserve()?);
        let data = folder.join("data").display().to_string();
        let own = ["broker", "--listen", &kafka.address(), "--data", &data, "--http", &http.address()];
        let arguments = own.iter().map(|&word| word.to_owned()).chain(arguments.iter().cloned()).collect();
        Daemon::new(name, folder, arguments, (Some(kafka), http))
    }

    /// A linking service, not yet started; `config` writes its file, given the address for its HTTP API.
    ///
    /// # Errors
    /// When no port is free, or what `config` says.
    pub fn serve(name: &str, folder: &Path, config: impl FnOnce(&str) -> Result<String>) -> Result<Daemon> {
        let http = Port::reserve()?;
        std::fs::create_dir_all(folder)?;
        let file = folder.join("service.yaml");
        std::fs::write(&file, config(&http.address())?)?;
        let arguments = vec!["serve".to_owned(), "--config".to_owned(), file.display().to_string()];
        Daemon::new(name, folder, arguments, (None, http))
    }

    fn new(name: &str, folder: &Path, arguments: Vec<String>, ports: (Option<Port>, Port)) -> Result<Daemon> {
        std::fs::create_dir_all(folder)?;
        Ok(Daemon {
            name: name.to_owned(),
            arguments,
            environment: Vec::new(),
            wrapper: Vec::new(),
            http: ports.1,
            kafka: ports.0,
            folder: folder.to_owned(),
            process: None,
        })
    }

    /// Sets the environment of every later start, beside the harness's own, in place of what was set before.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Starts every later process through this command, which must become it (`exec`).
    pub fn set_wrapper(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Starts the process and waits for nothing.
    ///
    /// # Errors
    /// When it isn't built.
    pub fn launch(&mut self) -> Result<()> {
        let program = built("towpath")?;
        let mut command = match self.wrapper.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(&self.arguments).env("NO_COLOR", "1").envs(self.environment.iter().cloned());
        self.process = Some(Process::spawn(&self.name, command, &Output::File(self.log_path()))?);
        Ok(())
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or isn't ready in time (with the end of its log).
    pub async fn start(&mut self) -> Result<()> {
        self.launch()?;
        let http = self.http.address();
        let process = self.process.as_mut().context("it was just started")?;
        let what = format!("{} to be ready", self.name);
        let ready = wait::until(&what, START_MAX, async || {
            if let Some(status) = process.exit_status()? {
                bail!("{} ended with {status}", process.name());
            }
            Ok(matches!(get(&http, "/readyz").await, Ok((200, _))).then_some(()))
        });
        let ready = ready.await;
        ready.map_err(|error| anyhow!("{error}\n{}", end_of(&self.log_path())))
    }

    /// SIGTERM: it must drain and exit with 0.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.as_mut().context("it isn't running")?.terminate(STOP_MAX).await;
        let status = status.map_err(|error| anyhow!("{error}\n{}", end_of(&self.log_path())))?;
        self.process = None;
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM\n{}", self.name, end_of(&self.log_path()));
        }
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it isn't running.
    pub async fn kill(&mut self) -> Result<()> {
        self.running()?.kill().await?;
        self.process = None;
        Ok(())
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.running()?.ended(limit).await?;
        self.process = None;
        Ok(status)
    }

    /// The process, to pause or signal.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} isn't running", self.name))
    }

    /// Whether there is a process, running as far as known.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// `host:port` of its HTTP API.
    pub fn http_address(&self) -> String {
        self.http.address()
    }

    /// `host:port` of its Kafka protocol; empty for a linking service.
    pub fn bootstrap(&self) -> String {
        self.kafka.as_ref().map(Port::address).unwrap_or_default()
    }

    /// The folder with its data and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything it logged since its first start.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Log lines with a warning, an error or a panic that contain none of `declared`.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn undeclared_problems(&self, declared: &[String]) -> Result<Vec<String>> {
        let path = self.log_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let log = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let log = String::from_utf8_lossy(&log);
        let problems = log.lines().filter(|line| is_problem(line));
        let undeclared = problems.filter(|line| !declared.iter().any(|text| line.contains(text.as_str())));
        Ok(undeclared.map(str::to_owned).collect())
    }

    /// The value of a metric: the sum over its series whose labels contain `label`.
    ///
    /// # Errors
    /// When the daemon doesn't answer or has no such series.
    pub async fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let (_, text) = get(&self.http_address(), "/metrics").await?;
        let series =
            text.lines().filter(|line| line.split([' ', '{']).next() == Some(name) && line.contains(label));
        let values: Vec<f64> = series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        if values.is_empty() {
            bail!("{} has no metric {name} with {label:?}", self.name);
        }
        Ok(values.iter().sum())
    }
}

/// Whether a log line (plain or JSON) is a warning, an error or a panic.
fn is_problem(line: &str) -> bool {
    if line.starts_with('{') {
        return line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
    }
    // The level is the first word in capitals, behind a timestamp or not.
    let level = line.split_whitespace().take(2).any(|word| word == "WARN" || word == "ERROR");
    level || line.starts_with("thread '") && line.contains("panicked at")
}

/// `GET path`, for addresses of this machine: status and body.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await??;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_panics_are_problems_and_words_in_messages_are_not() {
        for line in [
            "2026-11-23T09:00:00.000000Z  WARN towpath_broker: slow",
            "2026-11-23T09:00:00.000000Z ERROR towpath_broker: gone",
            "{\"timestamp\":\"x\",\"level\":\"WARN\",\"fields\":{}}",
            "thread 'main' (12) panicked at src/main.rs:1:1:",
        ] {
            assert!(is_problem(line), "{line}");
        }
        for line in [
            "2026-11-23T09:00:00.000000Z  INFO towpath_broker: an ERROR was expected",
            "{\"timestamp\":\"x\",\"level\":\"INFO\",\"fields\":{\"message\":\"WARN\"}}",
            "",
        ] {
            assert!(!is_problem(line), "{line}");
        }
    }
}
