//! `towpath pause`, `resume` and `cancel`: verbs on a link as a whole.

use clap::Args;
use towpath_linker::http::body::VerbBody;

use crate::failure::Ended;
use crate::follow;
use crate::output::Output;
use crate::service::{Asked, Talk, of_family};

/// Arguments of `towpath pause`, `resume` and `cancel`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    family: String,
    #[command(flatten)]
    asked: Asked,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Asks and follows.
pub async fn run(verb: &str, arguments: Arguments, output: Output) -> Ended {
    let body = VerbBody { request: arguments.asked.request(), ..VerbBody::default() };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, verb), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
