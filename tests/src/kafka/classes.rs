//! Class archives: a JVM that maps the classes of Kafka starts at two thirds of the processor time of one that reads
//! and verifies them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::tools::{Tool, Tools};
use super::{Kafka, KafkaOptions, START_MAX};
use crate::cache;
use crate::process::output_of;

const ARCHIVE: &str = "classes.jsa";
const LIST: &str = "classes.list";
/// The harness's JVMs use the same collector; an archive that does not fit is passed over.
const JVM: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The archive of the classes of these jars, once [`make`] has made it.
pub(crate) fn archive_of(jars: &Path) -> Option<PathBuf> {
    let archive = cache::folder().join(part(jars)).join(ARCHIVE);
    archive.exists().then_some(archive)
}

fn part(jars: &Path) -> String {
    format!("kafka-classes/{}", jars.file_name().unwrap_or_default().to_string_lossy())
}

/// Makes the archive of a version, if it is not there: of what a server, its tools and clients load.
///
/// # Errors
/// When Kafka, a tool or the JVM fails.
pub(super) async fn make(version: &str, jars: &Path) -> Result<()> {
    cache::part(&part(jars), async |folder| {
        let mut options = KafkaOptions::new(version);
        options.jvm.push(listing(&folder.join("server.list")));
        let mut kafka = Kafka::start_from(jars, options).await?;
        run_tools(&kafka.tools(), &kafka.bootstrap(), folder).await?;
        kafka.stop().await?;
        write_list(folder)?;
        let mut command = Command::new("java");
        command.args(JVM).args(["-Xshare:dump", "-Xlog:disable", "-Xlog:all=off"]);
        command.arg(format!("-XX:SharedClassListFile={}", folder.join(LIST).display()));
        command.arg(format!("-XX:SharedArchiveFile={}", folder.join(ARCHIVE).display()));
        command.arg("-cp").arg(jars.join("*"));
        output_of("java -Xshare:dump", command, START_MAX).await.map(drop)
    })
    .await
    .map(drop)
}

fn listing(file: &Path) -> String {
    format!("-XX:DumpLoadedClassList={}", file.display())
}

/// An administrator's, a producer's and a consumer's classes.
async fn run_tools(tools: &Tools, bootstrap: &str, folder: &Path) -> Result<()> {
    let server = format!("bootstrap.servers={bootstrap}");
    let runs: [(Tool, &[&str]); 3] = [
        (Tool::Topics, &["--bootstrap-server", bootstrap, "--create", "--topic", "classes"]),
        (
            Tool::ProducerPerformance,
            &[
                "--topic",
                "classes",
                "--num-records",
                "10",
                "--record-size",
                "10",
                "--throughput",
                "-1",
                "--producer-props",
                &server,
            ],
        ),
        (
            Tool::ConsoleConsumer,
            &[
                "--bootstrap-server",
                bootstrap,
                "--topic",
                "classes",
                "--from-beginning",
                "--group",
                "classes",
                "--max-messages",
                "10",
            ],
        ),
    ];
    for (number, (tool, arguments)) in runs.into_iter().enumerate() {
        let listing = listing(&folder.join(format!("{number}.list")));
        let command = tools.command_with(&[&listing, JVM[0], JVM[1]], tool, arguments);
        output_of(&format!("{tool:?}"), command, START_MAX).await?;
    }
    Ok(())
}

/// One list of all lists in the folder; a class of both is in it once.
fn write_list(folder: &Path) -> Result<()> {
    let mut classes = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        classes.extend(std::fs::read_to_string(&path)?.lines().map(str::to_owned));
        std::fs::remove_file(path)?;
    }
    let text: String = classes.iter().map(|class| format!("{class}\n")).collect();
    Ok(std::fs::write(folder.join(LIST), text)?)
}
