//! `towpath evidence verify` and `towpath evidence report`: what an auditor does, with a file and nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use towpath_linker::operation::exit;
use towpath_plans::evidence::{Broken, PublicKey, Signatures, Verified, verify_bytes};

use crate::show::counted;
use crate::told::{Told, harmless};

/// Arguments of `towpath evidence verify`.
#[derive(Args)]
pub struct Arguments {
    /// The bundle that `towpath evidence export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The signer's public key (PEM, or 64 hexadecimal digits), handed over by another way than the bundle
    #[arg(long, value_name = "KEYFILE")]
    trust: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `towpath evidence report`.
#[derive(Args)]
pub struct ReportArguments {
    /// The bundle that `towpath evidence export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The HTML file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The signer's public key (PEM, or 64 hexadecimal digits), handed over by another way than the bundle
    #[arg(long, value_name = "KEYFILE")]
    trust: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Checks a bundle offline. Exit code 1 and the first bad entry when it does not hold.
///
/// # Errors
/// A file cannot be read.
pub fn run(arguments: &Arguments) -> Result<Told> {
    let trust = pinned(arguments.trust.as_deref())?;
    let bundle = read(&arguments.file)?;
    let file = arguments.file.display().to_string();
    Ok(match verify_bytes(&bundle, trust) {
        Ok(verified) => holds(&file, &verified, trust),
        Err(broken) => does_not_hold(&file, &broken),
    })
}

/// Makes a bundle readable, if it holds.
///
/// # Errors
/// A file cannot be read or written.
pub fn report(arguments: &ReportArguments) -> Result<Told> {
    let trust = pinned(arguments.trust.as_deref())?;
    let bundle = read(&arguments.file)?;
    let file = arguments.file.display().to_string();
    let verified = match verify_bytes(&bundle, trust) {
        Ok(verified) => verified,
        Err(broken) => return Ok(does_not_hold(&file, &broken)),
    };
    // Verified bytes are text.
    let page = super::report(&String::from_utf8_lossy(&bundle), &verified);
    let output = arguments.output.display();
    std::fs::write(&arguments.output, page)
        .with_context(|| format!("cannot write {output}; fix: name a file that can be written"))?;
    let code = code(&verified, trust);
    let mut text = format!("{}\n\nreport: {output}", sentence(&verified, trust));
    if code != exit::DONE {
        text.push_str(&format!("\n\n{ANOTHER_SIGNED}"));
    }
    let document = json!({
        "family": verified.header.family,
        "entries": verified.header.entries,
        "verdict": word(&verified),
        "report": output.to_string(),
    });
    Ok(Told { text, document, exit_code: code })
}

/// What to do about entries that the pinned key does not vouch for.
const ANOTHER_SIGNED: &str = "Ask whoever handed it over why another key signed the rest.";

/// What `--trust` takes.
const KEY: &str = "name the file of the signer's public key: PEM, or 64 hexadecimal digits";
/// What the other verbs take.
const BUNDLE: &str = "name the bundle that `towpath evidence export` wrote";

fn pinned(file: Option<&Path>) -> Result<Option<PublicKey>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; fix: {KEY}", file.display()))?;
    let key =
        PublicKey::from_text(&text).with_context(|| format!("--trust {}; fix: {KEY}", file.display()))?;
    Ok(Some(key))
}

/// A file's bytes.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}; fix: {BUNDLE}", file.display()))
}

/// A bundle that holds but that the pinned key does not vouch for to its end is not what was asked for.
fn code(verified: &Verified, trust: Option<PublicKey>) -> u8 {
    if trust.is_some() && !verified.is_trusted() { exit::FAILED } else { exit::DONE }
}

fn word(verified: &Verified) -> &'static str {
    match verified.signatures {
        _ if verified.is_trusted() => "verified",
        Signatures::Trusted { .. } => "partly_verified",
        Signatures::SignerUnknown { .. } => "consistent_signer_unknown",
        Signatures::Unsigned => "consistent_unsigned",
    }
}

/// The first entry that the pinned key does not vouch for.
fn first_not_vouched(verified: &Verified) -> Option<u64> {
    match verified.signatures {
        Signatures::Trusted { entries } if !verified.is_trusted() => Some(entries),
        _ => None,
    }
}

fn sentence(verified: &Verified, trust: Option<PublicKey>) -> String {
    let (entries, family) = (verified.header.entries, &verified.header.family);
    match (verified.signatures, trust) {
        (Signatures::Trusted { entries: through }, Some(key)) if !verified.is_trusted() => format!(
            "not verified from entry {through} on: {key} vouches for the first {through} of {entries} entries \
             of family {family}, and for none after"
        ),
        (Signatures::Trusted { .. }, _) => {
            format!("verified: all {entries} entries of family {family} are signed by the pinned key")
        }
        (Signatures::SignerUnknown { .. }, _) => {
            format!("consistent, signer unknown: {} of family {family}", counted(entries, "entry"))
        }
        (Signatures::Unsigned, _) => {
            format!("consistent, unsigned: {} of family {family}", counted(entries, "entry"))
        }
    }
}

fn holds(file: &str, verified: &Verified, trust: Option<PublicKey>) -> Told {
    let header = &verified.header;
    let mut lines = vec![sentence(verified, trust), String::new()];
    lines.push(format!("  head      {}", header.head));
    if let Some(key) = &header.key {
        lines.push(format!("  signer    {key}"));
    }
    lines.push(format!("  exported  {} by {}", header.exported_at, header.software));
    for entry in &verified.replaced_keys {
        lines.push(format!(
            "  note      at entry {entry} another key took over that the one before did not sign for"
        ));
    }
    lines.push(String::new());
    lines.push(match (trust, verified.is_trusted()) {
        (None, _) => format!(
            "Whoever wrote it signed it. To know who that was, get the public key by another way and run\n\
             towpath evidence verify {file} --trust KEYFILE"
        ),
        (Some(_), true) => format!("towpath evidence report {file} --output report.html"),
        (Some(_), false) => ANOTHER_SIGNED.into(),
    });
    let document = json!({
        "holds": code(verified, trust) == exit::DONE,
        "verdict": word(verified),
        "first_bad_entry": first_not_vouched(verified),
        "why": first_not_vouched(verified).map(|_| "the pinned key does not vouch for it"),
        "family": header.family,
        "entries": header.entries,
        "head": header.head,
        "signer": header.key,
        "trusted": verified.is_trusted(),
        "replaced_keys": verified.replaced_keys,
        "exported_at": header.exported_at,
        "software": header.software,
    });
    Told { text: harmless(&lines.join("\n")), document, exit_code: code(verified, trust) }
}

/// What is told of a bundle that does not hold.
pub fn does_not_hold(file: &str, broken: &Broken) -> Told {
    let before = match broken.entry {
        None => "Nothing in it can be relied on.".to_owned(),
        Some(0) => "No entry before it.".into(),
        Some(1) => "Entry 0 holds.".into(),
        Some(entry) => format!("Entries 0 to {} hold.", entry - 1),
    };
    let text = format!(
        "{file} does not hold: {broken}\n{before}\n\nAsk for the bundle again by another way; if it breaks at the \
         same entry, the store was altered: keep it as it is."
    );
    let document = json!({
        "holds": false,
        "verdict": "broken",
        "first_bad_entry": broken.entry,
        "why": broken.why,
    });
    Told { text: harmless(&text), document, exit_code: exit::FAILED }
}
