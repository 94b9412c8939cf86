//! `towpath link FILE`: a plan comes into force.

use std::path::PathBuf;

use clap::Args;
use towpath_linker::http::body::LinkBody;

use crate::failure::{Ended, Failure};
use crate::follow;
use crate::output::Output;
use crate::service::{Asked, Talk};

/// Arguments of `towpath link`.
#[derive(Args)]
pub struct Arguments {
    /// The plan's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Sends the plan and follows until it is mirrored, or refused.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let file = arguments.file.display().to_string();
    let yaml = std::fs::read_to_string(&arguments.file)
        .map_err(|error| Failure::caller(format!("{file}: {error}"), "name the plan's file"))?;
    let body = LinkBody { file, yaml, request: arguments.asked.request() };
    let api = arguments.talk.api()?;
    let begun = api.post(&["v1", "links"], &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
