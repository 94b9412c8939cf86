//! `towpath fence`: the fences at the source.

use clap::{Args, Subcommand};
use towpath_linker::http::body::{Fences, VerbBody};
use towpath_linker::operation::exit;

use crate::failure::Ended;
use crate::output::Output;
use crate::service::{Asked, Talk, of_family};
use crate::{follow, show};

/// What can be done with fences.
#[derive(Subcommand)]
pub enum Verb {
    /// Show each group's fence at the source
    List(ListArguments),
    /// Release a fence that no group needs any more
    Release(ReleaseArguments),
}

/// Arguments of `towpath fence list`.
#[derive(Args)]
pub struct ListArguments {
    /// The family
    family: String,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Arguments of `towpath fence release`.
#[derive(Args)]
pub struct ReleaseArguments {
    /// The family
    family: String,
    /// The group
    #[arg(long, value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    asked: Asked,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Shows the fences.
pub async fn list(arguments: ListArguments, output: Output) -> Ended {
    let fences: Fences = arguments.talk.api()?.get(&of_family(&arguments.family, "fences"), &[]).await?;
    output.result(&show::fences::table_of(&fences), &fences)?;
    Ok(exit::DONE)
}

/// Releases a fence, and follows.
pub async fn release(arguments: ReleaseArguments, output: Output) -> Ended {
    let body =
        VerbBody { request: arguments.asked.request(), group: Some(arguments.group), ..VerbBody::default() };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, "fences/release"), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
