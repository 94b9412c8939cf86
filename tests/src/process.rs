//! Child processes: started so that they die with the harness, signalled, waited for with a deadline, and with
//! their output in a file or in pipes.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use towpath_env::Env;

use crate::wait;

/// A running (or ended) child process; killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

/// Where a child's output goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// Both streams are appended to this file.
    File(PathBuf),
    /// Standard input and output are pipes ([`Process::pipes`]); standard error is appended to this file.
    Pipes(PathBuf),
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// When the program is missing or its log file cannot be opened.
    pub fn spawn(name: &str, command: Command, output: &Output) -> Result<Process> {
        let mut command = dying_with_us(command);
        let (Output::File(path) | Output::Pipes(path)) = output;
        let log = OpenOptions::new().create(true).append(true).open(path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        match output {
            Output::File(_) => {
                command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            }
            Output::Pipes(_) => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
            }
        }
        let child = spawn_on_lasting_thread(command).with_context(|| format!("start {name}"))?;
        Ok(Process { name: name.to_owned(), child })
    }

    /// What the process was called at its start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// When the process has ended, or the system does not tell.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is a number")?;
        Ok(kib * 1024)
    }

    /// The pipes of a child started with [`Output::Pipes`]; `None` when already taken.
    pub fn pipes(&mut self) -> Option<(std::process::ChildStdin, std::process::ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// `None` while the process runs.
    ///
    /// # Errors
    /// The operating system's.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal; nothing happens when the process has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.child.id() as i32).context("process id")?;
        kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        // Not through `wait::until`, whose closure would keep this from running in a spawned task.
        let env = Env::real();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if env.elapsed() >= limit {
                bail!("{} still runs after {} ms", self.name, limit.as_millis());
            }
            env.sleep(wait::POLL).await;
        }
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(limit).await
    }

    /// SIGKILL, then waits for the end.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended(Duration::from_secs(10)).await.map(drop)
    }

    /// Stops the process where it is (SIGSTOP).
    ///
    /// # Errors
    /// The operating system's.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// The operating system's.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to do about a failure here: the process has ended, or dies with us.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end and gives its standard output.
///
/// # Errors
/// When it can't be started, fails (with both its outputs) or still runs after `limit`.
pub async fn output_of(name: &str, command: Command, limit: Duration) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));
    let mut command = dying_with_us(command);
    command.stdin(Stdio::null());
    command.stdout(std::fs::File::create(&stdout)?).stderr(std::fs::File::create(&stderr)?);
    let child = spawn_on_lasting_thread(command).with_context(|| format!("start {name}"))?;
    let mut process = Process { name: name.to_owned(), child };
    let status = process.ended(limit).await?;
    let text =
        |path: &Path| Ok::<_, anyhow::Error>(String::from_utf8_lossy(&std::fs::read(path)?).into_owned());
    if !status.success() {
        bail!("{name}: {status}\n{}{}", text(&stdout)?, text(&stderr)?);
    }
    text(&stdout)
}

/// The same command, killed by the kernel when the thread that started it ends.
fn dying_with_us(command: Command) -> Command {
    if !Path::new("/usr/bin/setpriv").exists() {
        return command;
    }
    let mut wrapped = Command::new("/usr/bin/setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The parent that the kernel watches is a thread, not a process: children are started on one that lasts as long
/// as the harness, because tokio ends its own threads when they idle.
fn spawn_on_lasting_thread(command: Command) -> Result<Child> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // Whoever asked has gone: then the child is dropped, not orphaned.
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                    let _ = child.kill();
                }
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    orders.send((command, answer)).map_err(|_| anyhow!("the thread that starts children is gone"))?;
    Ok(child.recv().context("the thread that starts children is gone")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_process_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn("sleep", command, &Output::File(folder.path().join("log"))).unwrap();
        let proc_folder = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc_folder.exists());
        drop(process);
        assert!(!proc_folder.exists());
    }

    #[tokio::test]
    async fn a_failing_command_tells_both_its_outputs() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = output_of("sh", command, Duration::from_secs(10)).await.unwrap_err().to_string();
        assert!(error.contains("one") && error.contains("two") && error.contains('3'), "{error}");
    }
}
