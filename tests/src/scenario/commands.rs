//! Commands: `towpath`, shell, and Kafka's own tools.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use towpath_env::Env;

use super::expected_json;
use super::model::{AwaitCommand, Run, Tool};
use super::nodes::RunningNode;
use super::world::World;
use crate::clients::built;
use crate::kafka::{Tool as KafkaTool, Tools};
use crate::process::{Output, Process};

/// One command that isn't given more.
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// Between two tries of a command that must come to hold.
const AGAIN: Duration = Duration::from_millis(200);

/// A command that runs.
pub(super) struct Background {
    process: Process,
    files: (PathBuf, PathBuf),
    run: Run,
}

impl Background {
    async fn end(mut self, limit: Duration) -> Result<()> {
        let status = self.process.ended(limit).await?;
        let stdout = String::from_utf8_lossy(&std::fs::read(&self.files.0)?).into_owned();
        let stderr = String::from_utf8_lossy(&std::fs::read(&self.files.1)?).into_owned();
        check(&self.run, status.code(), &stdout, &stderr)
            .map_err(|error| anyhow!("{error:#}\n{}\n{stdout}{stderr}", self.run.run))
    }
}

fn check(run: &Run, code: Option<i32>, stdout: &str, stderr: &str) -> Result<()> {
    if code != Some(run.exit) {
        bail!("exit code {code:?}, not {}", run.exit);
    }
    for text in &run.says {
        if !stdout.contains(text) && !stderr.contains(text) {
            bail!("doesn't say {text:?}");
        }
    }
    if let Some(expected) = &run.json {
        let actual = serde_json::from_str(stdout).context("standard output is no JSON document")?;
        expected_json::check(expected, &actual, "$")?;
    }
    Ok(())
}

/// Words split at spaces, `'…'` kept together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

impl World<'_> {
    /// Runs `towpath` towards the scenario's service.
    pub(super) async fn towpath(&mut self, step: &Run) -> Result<()> {
        let mut command = Command::new(built("towpath")?);
        command.args(words(&self.fill(&step.run)?)).env("NO_COLOR", "1");
        let service = self.nodes.values().find_map(|node| match node {
            RunningNode::Daemon(daemon) if daemon.bootstrap().is_empty() => Some(daemon.http_address()),
            _ => None,
        });
        if let Some(service) = service {
            command.env("TOWPATH_SERVICE", format!("http://{service}"));
        }
        self.run("towpath", command, step).await
    }

    /// Runs a shell command.
    pub(super) async fn shell(&mut self, step: &Run) -> Result<()> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &self.fill(&step.run)?]);
        command.env("TOWPATH", built("towpath")?);
        self.run("shell", command, step).await
    }

    async fn run(&mut self, name: &str, mut command: Command, step: &Run) -> Result<()> {
        command.current_dir(self.folder());
        let mut filled = step.clone();
        filled.says = step.says.iter().map(|text| self.fill(text)).collect::<Result<_>>()?;
        if let Some(json) = &step.json {
            filled.json = Some(serde_json::from_str(&self.fill(&json.to_string())?)?);
        }
        if let Some(name) = &step.name {
            let background = self.launch(name, command, filled)?;
            self.commands.insert(name.clone(), background);
            return Ok(());
        }
        let (env, limit) = (Env::real(), Duration::from_secs(step.within_s.unwrap_or(0)));
        loop {
            let outcome = self.launch(name, same(&command), filled.clone())?.end(COMMAND_MAX).await;
            if outcome.is_ok() || env.elapsed() >= limit {
                return outcome;
            }
            env.sleep(AGAIN).await;
        }
    }

    fn launch(&self, name: &str, mut command: Command, run: Run) -> Result<Background> {
        let unique = Env::real().uuid();
        let path = |suffix: &str| self.folder().join(format!("command-{name}-{unique}.{suffix}"));
        let files = (path("out"), path("err"));
        // Through a shell's redirection, because a process's two outputs go to one file otherwise.
        let mut redirected = Command::new("bash");
        redirected.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "bash"]).arg(&files.0);
        redirected.arg(command.get_program()).args(command.get_args());
        redirected.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(folder) = command.get_current_dir() {
            redirected.current_dir(folder);
        }
        command = redirected;
        let process = Process::spawn(name, command, &Output::File(files.1.clone()))?;
        Ok(Background { process, files, run })
    }

    /// Waits for a background command and checks what it said.
    pub(super) async fn await_command(&mut self, step: &AwaitCommand) -> Result<()> {
        let background =
            self.commands.remove(&step.name).with_context(|| format!("no command {:?}", step.name))?;
        background.end(Duration::from_secs(step.within_s)).await
    }

    /// Runs one of Kafka's tools.
    pub(super) async fn tool(&mut self, step: &Tool) -> Result<()> {
        let tool = match step.tool.as_str() {
            "topics" => KafkaTool::Topics,
            "configs" => KafkaTool::Configs,
            "acls" => KafkaTool::Acls,
            "consumer-groups" => KafkaTool::ConsumerGroups,
            "console-producer" => KafkaTool::ConsoleProducer,
            "console-consumer" => KafkaTool::ConsoleConsumer,
            "delete-records" => KafkaTool::DeleteRecords,
            "get-offsets" => KafkaTool::GetOffsets,
            "transactions" => KafkaTool::Transactions,
            "broker-api-versions" => KafkaTool::BrokerApiVersions,
            other => bail!("no tool {other:?}"),
        };
        let bootstrap = self.bootstrap(&step.on)?;
        let arguments = words(&self.fill(&step.arguments)?);
        let mut all = vec!["--bootstrap-server", &bootstrap];
        all.extend(arguments.iter().map(String::as_str));
        let outcome = Tools::of(&step.version).await?.run(tool, &all).await;
        let said = match outcome {
            Ok(said) if !step.fails => said,
            Err(error) if step.fails => format!("{error:#}"),
            Ok(said) => bail!("didn't fail:\n{said}"),
            Err(error) => return Err(error),
        };
        for text in &step.says {
            let text = self.fill(text)?;
            if !said.contains(&text) {
                bail!("doesn't say {text:?}:\n{said}");
            }
        }
        Ok(())
    }
}

/// A command can be started once; this is another one like it.
fn same(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args()).envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    copy
}
