//! `towpath diff FAMILY`: both sides, compared through what the source holds now.

use clap::Args;
use towpath_linker::http::body::VerbBody;

use crate::failure::Ended;
use crate::follow;
use crate::output::Output;
use crate::service::{Talk, asked, of_family};

/// Arguments of `towpath diff`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    family: String,
    /// Forget what was compared and read everything again
    #[arg(long)]
    anew: bool,
    /// Why; stands in evidence
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Compares and answers with the verdict.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let body =
        VerbBody { request: asked(&arguments.reason, false), anew: arguments.anew, ..VerbBody::default() };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, "diff"), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
