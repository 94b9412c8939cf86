//! `towpath broker audit`: accounts for every object in a broker's store.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use towpath_broker::audit::{Audit, AuditError, Finding, Options, audit};
use towpath_env::Env;
use towpath_linker::operation::exit;
use towpath_shared_log::open_store;
use url::Url;

use crate::failure::{Ended, Failure};
use crate::output::Output;
use crate::show;

/// So many findings are told to people; `--json` has all.
const SHOWN_MAX: usize = 50;

/// Arguments of `towpath broker audit`.
#[derive(Args)]
pub struct Arguments {
    /// Object store to audit, as the broker was given it: file:///DIR or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    store: String,
    /// Read every byte of every segment and check it
    #[arg(long)]
    checksums: bool,
    /// The broker's delete_grace_ms: an object that nothing refers to may be there for twice as long
    #[arg(long, value_name = "MS", default_value_t = 600_000)]
    grace_ms: u64,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Audits the store; findings end with the exit code of differences.
pub async fn run(arguments: Arguments, output: &Output) -> Ended {
    let url = &arguments.store;
    // Opening a folder makes it, and an audit makes nothing.
    let folder =
        Url::parse(url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("{} is no folder", folder.display());
        return Err(Failure::caller(message, "name the store that the broker was started with"));
    }
    let store = open_store(url).await.map_err(anyhow::Error::from)?;
    let grace = Duration::from_millis(arguments.grace_ms);
    let options = Options { checksums: arguments.checksums, grace };
    let audited = audit(store, Env::real(), options).await.map_err(|error| {
        let kind = if matches!(error, AuditError::NoCluster) { "caller" } else { "store" };
        Failure::told(kind, &error.to_string(), exit::FAILED)
    })?;
    output.result(&text_of(&audited, output.has_colours()), &audited)?;
    Ok(if audited.findings.is_empty() { exit::DONE } else { exit::DIFFERENCES })
}

fn text_of(audit: &Audit, colours: bool) -> String {
    let checked =
        if audit.checksums { "every byte" } else { "trailers and footers; --checksums reads every byte" };
    let verdict = match audit.findings.len() {
        0 => "clean".to_owned(),
        findings => show::counted(findings as u64, "finding"),
    };
    let mut table = show::table(&["OBJECTS", "BYTES", "WHAT"], colours);
    for account in &audit.accounts {
        table.add_row([show::count(account.objects), show::count(account.bytes), account.what.to_owned()]);
    }
    show::numbers(&mut table, &[0, 1]);
    let mut text = format!(
        "{verdict}: cluster {}, {} in {}, metadata up to entry {}; read: {checked}\n\n{table}\n",
        audit.cluster_id,
        show::counted(audit.ranges, "range"),
        show::counted(audit.partitions, "partition"),
        audit.metadata_version,
    );
    for finding in audit.findings.iter().take(SHOWN_MAX) {
        // A string takes everything.
        let _ = write!(text, "\n{}", told(finding));
    }
    if audit.findings.len() > SHOWN_MAX {
        let _ = write!(text, "\n… and {} more: --json has all", audit.findings.len() - SHOWN_MAX);
    }
    text
}

/// A finding on two lines.
fn told(finding: &Finding) -> String {
    let kind = serde_json::to_value(finding.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("finding").to_owned();
    let mut place = finding.object.clone();
    if let (Some(topic), Some(partition)) = (&finding.topic, finding.partition) {
        let _ = write!(place, " ({topic}-{partition}");
        if let Some((first, last)) = finding.offsets {
            let _ = write!(place, ", offsets {first} to {last}");
        }
        place.push(')');
    }
    format!("{kind}: {place}\n  {}", finding.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &std::path::Path) -> Arguments {
        let store = format!("file://{}", folder.display());
        Arguments { store, checksums: true, grace_ms: 0, json: false }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("nowhere");
        let output = Output::new("broker-audit", true);
        let failure = run(arguments(&nowhere), &output).await.unwrap_err();
        assert_eq!((failure.exit_code, failure.kind.as_str()), (exit::FAILED, "caller"));
        assert!(!nowhere.exists());
        let failure = run(arguments(directory.path()), &output).await.unwrap_err();
        assert!(failure.message.contains("no metadata"), "{failure}");
    }

    #[tokio::test]
    async fn a_brokers_store_is_clean_and_a_stray_object_ends_with_the_code_of_differences() {
        let directory = tempfile::tempdir().unwrap();
        let store = format!("file://{}", directory.path().display());
        let opened = open_store(&store).await.unwrap();
        let metadata = towpath_broker::metadata::Metadata::open(opened, Env::real(), 1).await.unwrap();
        metadata.close().await;
        let output = Output::new("broker-audit", true);
        assert_eq!(run(arguments(directory.path()), &output).await.unwrap(), exit::DONE);
        std::fs::write(directory.path().join("stray"), "x").unwrap();
        assert_eq!(run(arguments(directory.path()), &output).await.unwrap(), exit::DIFFERENCES);
    }

    #[test]
    fn a_finding_names_object_topic_partition_and_offsets() {
        let finding = Finding {
            kind: towpath_broker::audit::FindingKind::LogHole,
            object: "segments/1".to_owned(),
            topic: Some("views".to_owned()),
            partition: Some(3),
            offsets: Some((5, 9)),
            what: "bytes 0 to 7 do not check".to_owned(),
        };
        let expected = "log-hole: segments/1 (views-3, offsets 5 to 9)\n  bytes 0 to 7 do not check";
        assert_eq!(told(&finding), expected);
    }
}
