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

/// Arguments of `towpath resume`.
#[derive(Args)]
pub struct ResumeArguments {
    /// A halted partition that goes on behind records lost to the mirror; may be repeated
    #[arg(long, value_name = "TOPIC-PARTITION")]
    accept_loss: Vec<String>,
    /// What every verb on a link takes.
    #[command(flatten)]
    pub plain: Arguments,
}

/// Asks and follows.
pub async fn run(verb: &str, arguments: Arguments, output: Output) -> Ended {
    ask(verb, arguments, VerbBody::default(), output).await
}

/// Asks to mirror again, and follows.
pub async fn resume(arguments: ResumeArguments, output: Output) -> Ended {
    let body = VerbBody { accept_loss: arguments.accept_loss, ..VerbBody::default() };
    ask("resume", arguments.plain, body, output).await
}

async fn ask(verb: &str, arguments: Arguments, body: VerbBody, output: Output) -> Ended {
    let body = VerbBody { request: arguments.asked.request(), ..body };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, verb), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
