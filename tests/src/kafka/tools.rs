//! Kafka's own command-line tools, run as classes from the jars.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::classes::archive_of;
use crate::cache;
use crate::process::output_of;

const TOOL_MAX: Duration = Duration::from_secs(120);

/// A command-line tool of Apache Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `kafka-topics`
    Topics,
    /// `kafka-configs`
    Configs,
    /// `kafka-acls`
    Acls,
    /// `kafka-consumer-groups`
    ConsumerGroups,
    /// `kafka-console-producer`
    ConsoleProducer,
    /// `kafka-console-consumer`
    ConsoleConsumer,
    /// `kafka-delete-records`
    DeleteRecords,
    /// `kafka-get-offsets`
    GetOffsets,
    /// `kafka-transactions`
    Transactions,
    /// `kafka-broker-api-versions`
    BrokerApiVersions,
    /// `kafka-producer-perf-test`
    ProducerPerformance,
    /// `kafka-consumer-perf-test`
    ConsumerPerformance,
    /// `kafka-leader-election`
    LeaderElection,
    /// `kafka-reassign-partitions`
    ReassignPartitions,
    /// MirrorMaker 2, for comparisons
    MirrorMaker,
}

impl Tool {
    /// The class that is the tool. Tools moved from the Scala core to the tools jar over the years; 3.9 and 4.1
    /// are the versions that scenarios run them from.
    fn class(self, version: &str) -> &'static str {
        let before_4 = version.starts_with('3') || version.starts_with('2');
        match self {
            Tool::Topics => "org.apache.kafka.tools.TopicCommand",
            Tool::Configs => "kafka.admin.ConfigCommand",
            Tool::Acls if before_4 => "kafka.admin.AclCommand",
            Tool::Acls => "org.apache.kafka.tools.AclCommand",
            Tool::ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Tool::ConsoleProducer if before_4 => "kafka.tools.ConsoleProducer",
            Tool::ConsoleProducer => "org.apache.kafka.tools.ConsoleProducer",
            Tool::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            Tool::DeleteRecords => "org.apache.kafka.tools.DeleteRecordsCommand",
            Tool::GetOffsets => "org.apache.kafka.tools.GetOffsetShell",
            Tool::Transactions => "org.apache.kafka.tools.TransactionsCommand",
            Tool::BrokerApiVersions if before_4 => "kafka.admin.BrokerApiVersionsCommand",
            Tool::BrokerApiVersions => "org.apache.kafka.tools.BrokerApiVersionsCommand",
            Tool::ProducerPerformance => "org.apache.kafka.tools.ProducerPerformance",
            Tool::ConsumerPerformance => "org.apache.kafka.tools.ConsumerPerformance",
            Tool::LeaderElection => "org.apache.kafka.tools.LeaderElectionCommand",
            Tool::ReassignPartitions => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            Tool::MirrorMaker => "org.apache.kafka.connect.mirror.MirrorMaker",
        }
    }
}

/// The tools of one version of Apache Kafka.
#[derive(Clone, Debug)]
pub struct Tools {
    version: String,
    jars: PathBuf,
}

impl Tools {
    pub(super) fn new(version: &str, jars: PathBuf) -> Tools {
        Tools { version: version.to_owned(), jars }
    }

    /// The tools of `version`, fetched if need be, to be used towards any broker.
    ///
    /// # Errors
    /// When the jars can't be fetched.
    pub async fn of(version: &str) -> Result<Tools> {
        let jars = cache::kafka_jars(version).await?;
        Ok(Tools::new(version, jars))
    }

    /// Runs a tool to its end; gives what it printed.
    ///
    /// # Errors
    /// When it exits with anything but 0 (with both its outputs).
    pub async fn run(&self, tool: Tool, arguments: &[&str]) -> Result<String> {
        output_of(&format!("{tool:?}"), self.command(tool, arguments), TOOL_MAX).await
    }

    /// The command that runs a tool, for [`crate::process::Process::spawn`].
    pub fn command(&self, tool: Tool, arguments: &[&str]) -> Command {
        self.command_with(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], tool, arguments)
    }

    /// As [`Tools::command`], with these options of the JVM.
    pub fn command_with(&self, jvm: &[&str], tool: Tool, arguments: &[&str]) -> Command {
        let jvm: Vec<String> = jvm.iter().map(|&option| option.to_owned()).collect();
        let mut command = java(&self.jars, &self.jars, &jvm);
        command.arg(tool.class(&self.version)).args(arguments);
        command
    }

    /// The folder of the jars.
    pub fn jars(&self) -> &Path {
        &self.jars
    }
}

/// A JVM with the jars on its class path and the logging files of the folder `logging`.
pub(super) fn java(jars: &Path, logging: &Path, jvm: &[String]) -> Command {
    let mut command = Command::new("java");
    if let Some(archive) = archive_of(jars) {
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    }
    command
        .args(jvm)
        .arg(format!("-Dlog4j.configuration=file:{}", logging.join("log4j.properties").display()));
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.join("log4j2.properties").display()));
    command.arg("-cp").arg(jars.join("*"));
    command
}
