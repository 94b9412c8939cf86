//! `towpath cutover` and `towpath rollback`: groups move.

use clap::Args;
use towpath_linker::http::body::VerbBody;

use crate::failure::Ended;
use crate::follow;
use crate::output::Output;
use crate::service::{Asked, Talk, of_family};

/// Arguments of `towpath cutover` and `towpath rollback`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    family: String,
    /// One group; without it all of them, in the plan's order, until the first refusal
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Go on although fewer members are held at the other side than are live on this one
    #[arg(long)]
    accept_outage: bool,
    #[command(flatten)]
    asked: Asked,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Asks for the move and follows it; it goes on in the service if this process ends.
pub async fn run(verb: &str, arguments: Arguments, output: Output) -> Ended {
    let mut request = arguments.asked.request();
    request.accept_outage = arguments.accept_outage;
    let body = VerbBody { request, group: arguments.group, ..VerbBody::default() };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, verb), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
