//! `towpath evidence list` and `towpath evidence export`: a family's chain, as the service holds it.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use towpath_dashboards::quantity::At;
use towpath_linker::operation::exit;
use towpath_plans::evidence::{Broken, Entry, Line, Verified, verify_bytes};

use super::{sentence, verify};
use crate::failure::{Ended, Failure};
use crate::output::Output;
use crate::service::{Talk, of_family};
use crate::show;
use crate::told::{Told, harmless};

/// Arguments of `towpath evidence list`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    #[arg(required_unless_present = "bundle")]
    family: Option<String>,
    /// List a bundle's entries instead: needs no service
    #[arg(long, value_name = "FILE", conflicts_with = "family")]
    bundle: Option<PathBuf>,
    /// Only the last so many entries
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Arguments of `towpath evidence export`.
#[derive(Args)]
pub struct ExportArguments {
    /// The family
    family: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Lists entries, the oldest first.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let (place, bundle) = match (&arguments.bundle, &arguments.family) {
        (Some(file), _) => (file.display().to_string(), verify::read(file)?),
        (None, family) => {
            let family = family.as_deref().unwrap_or_default();
            let text = arguments.talk.api()?.text(&of_family(family, "evidence/bundle")).await?;
            ("what the service sent".to_owned(), text.into_bytes())
        }
    };
    let told = match verify_bytes(&bundle, None) {
        Ok(verified) => listed(&String::from_utf8_lossy(&bundle), &verified, arguments.last),
        Err(broken) => verify::does_not_hold(&place, &broken),
    };
    output.result(&told.text, &told.document)?;
    Ok(told.exit_code)
}

/// Writes a bundle that holds to a file: all of it or, when anything fails, nothing.
pub async fn export(arguments: ExportArguments, output: Output) -> Ended {
    let api = arguments.talk.api()?;
    let bundle = api.text(&of_family(&arguments.family, "evidence/bundle")).await?;
    let verified = verify_bytes(bundle.as_bytes(), None).map_err(|broken| damaged(&broken))?;
    let file = arguments.output.display().to_string();
    write_whole(&arguments.output, &bundle).map_err(|error| {
        Failure::caller(format!("cannot write {file}: {error}"), "name a file that can be written")
    })?;
    let told = exported(&file, &verified);
    output.result(&told.text, &told.document)?;
    Ok(told.exit_code)
}

fn damaged(broken: &Broken) -> Failure {
    Failure {
        kind: "store".into(),
        message: format!("the bundle that the service sent does not hold: {broken}"),
        fix: Some("repeat; if it breaks at the same entry, the store was altered: keep it as it is".into()),
        exit_code: exit::FAILED,
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    Ok(())
}

fn exported(file: &str, verified: &Verified) -> Told {
    let header = &verified.header;
    let signer = header.key.map_or_else(|| "nobody".to_owned(), |key| key.to_string());
    let text = format!(
        "{file}: {} of family {}\n\n  head      {}\n  signer    {signer}\n\n\
         towpath evidence verify {file} --trust KEYFILE\ntowpath evidence report {file} --output report.html",
        show::counted(header.entries, "entry"),
        header.family,
        header.head
    );
    let document = json!({
        "file": file,
        "family": header.family,
        "entries": header.entries,
        "head": header.head,
        "signer": header.key,
    });
    Told { text: harmless(&text), document, exit_code: exit::DONE }
}

fn listed(bundle: &str, verified: &Verified, last: Option<usize>) -> Told {
    let lines = bundle.lines().skip(1).filter_map(|line| Line::parse(line).ok()?.entry().ok());
    let entries: Vec<Entry> = lines.collect();
    let first = last.map_or(0, |last| entries.len().saturating_sub(last));
    let mut table = show::table(&["entry", "at (UTC)", "who", "what"], false);
    for entry in &entries[first..] {
        let at = entry.at_ms().map_or_else(|| entry.at.clone(), |at| At(at).to_string());
        table.add_row([entry.sequence.to_string(), at, who(entry), harmless(&sentence::of(&entry.body))]);
    }
    show::numbers(&mut table, &[0]);
    show::at_most(&mut table, 2, 20);
    let header = &verified.header;
    let verdict = match last {
        Some(_) if first > 0 => {
            format!("{}: the last {} of {} entries", header.family, entries.len() - first, entries.len())
        }
        _ => format!(
            "{}: {}, head {}",
            header.family,
            show::counted(entries.len() as u64, "entry"),
            header.head
        ),
    };
    let next = format!("towpath evidence export {} --output {}.evidence", header.family, header.family);
    let document = json!({
        "family": header.family,
        "entries": header.entries,
        "head": header.head,
        "lines": entries[first..].iter().map(document).collect::<Vec<_>>(),
    });
    Told { text: format!("{verdict}\n\n{table}\n\n{next}"), document, exit_code: exit::DONE }
}

fn who(entry: &Entry) -> String {
    match &entry.actor {
        Some(actor) => harmless(&sentence::actor(actor)),
        None => show::NOTHING.into(),
    }
}

fn document(entry: &Entry) -> Value {
    json!({
        "sequence": entry.sequence,
        "at": entry.at,
        "actor": entry.actor,
        "sentence": sentence::of(&entry.body),
        "body": entry.body,
    })
}

#[cfg(test)]
mod tests {
    use towpath_plans::Side;
    use towpath_plans::evidence::{Body, Chain, ClusterIdentity, Signer, export, verify};

    use super::*;

    fn bundle() -> String {
        let key = Signer::from_seed([3; 32]);
        let mut chain = Chain::new("views", "towpath 0.1.0");
        let id = ClusterIdentity { side: Side::Source, name: "legacy".into(), cluster_id: "abc".into() };
        let mut lines = vec![chain.open(1_795_438_897_123, &key, vec![id])];
        for number in 0..3 {
            let sentence = format!("observation \u{1b}[31m{number}");
            lines.push(chain.append(1_795_438_897_200 + number, None, Body::Noted { sentence }));
        }
        export("views", "towpath 0.1.0", 1_795_438_899_000, &lines, Some(&key))
    }

    #[test]
    fn entries_are_listed_in_order_and_cannot_steer_the_terminal() {
        let bundle = bundle();
        let verified = verify(&bundle, None).unwrap();
        let told = listed(&bundle, &verified, None);
        assert!(!told.text.contains('\u{1b}'));
        assert!(told.text.lines().all(|line| line.chars().count() <= 100), "{}", told.text);
        insta::assert_snapshot!(told.text);
        let last = listed(&bundle, &verified, Some(1));
        assert!(last.text.starts_with("views: the last 1 of 4 entries"), "{}", last.text);
        assert_eq!(last.document["lines"][0]["sequence"], 3);
    }

    #[test]
    fn an_export_replaces_a_file_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("views.evidence");
        std::fs::write(&file, "older and longer than what follows").unwrap();
        write_whole(&file, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
