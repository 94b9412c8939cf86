//! `towpath offsets translate`: an offset of one side in the numbering of the other.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use towpath_linker::http::body::Translated;
use towpath_linker::operation::exit;

use crate::failure::{Ended, Failure};
use crate::output::Output;
use crate::service::{Talk, of_family};

/// What can be done with offsets.
#[derive(Subcommand)]
pub enum Verb {
    /// Say which offset of the other side is the same record, exactly or not at all
    Translate(Arguments),
}

/// Arguments of `towpath offsets translate`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    family: String,
    /// The topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// The partition
    #[arg(long, value_name = "NUMBER")]
    partition: i32,
    /// The next record to read, as the source numbers it (with --reverse: the target)
    #[arg(long, value_name = "OFFSET")]
    offset: i64,
    /// From target to source
    #[arg(long)]
    reverse: bool,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// An answer as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    found: &'a Translated,
    /// Why there is none, in the shape of every other error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// Asks and shows; an offset without an exact counterpart is a failure.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let query = [
        ("topic", arguments.topic.clone()),
        ("partition", arguments.partition.to_string()),
        ("offset", arguments.offset.to_string()),
        ("reverse", arguments.reverse.to_string()),
    ];
    let api = arguments.talk.api()?;
    let found: Translated = api.get(&of_family(&arguments.family, "translate"), &query).await?;
    let sentence = sentence(&found);
    let fix = || format!("towpath status {} --partitions shows which offsets both sides hold", found.family);
    let failure = found.translated.is_none().then(|| Failure::caller(sentence.as_str(), fix()));
    let document = Document { found: &found, error: failure.as_ref().map(Failure::document) };
    output.result(&sentence, &document)?;
    Ok(failure.map_or(exit::DONE, |failure| failure.exit_code))
}

fn sentence(found: &Translated) -> String {
    let Translated { topic, partition, offset, side, .. } = found;
    let other = side.other();
    match (&found.translated, &found.because) {
        (Some(translated), _) => {
            format!(
                "{topic}-{partition}: offset {offset} of the {side} is offset {translated} of the {other}"
            )
        }
        (None, because) => {
            let because = because.as_deref().unwrap_or("no reason was told");
            format!("{topic}-{partition}: offset {offset} of the {side} has no counterpart: {because}")
        }
    }
}
