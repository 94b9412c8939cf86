//! `towpath complete FAMILY --group G`: the way back is given up.

use clap::Args;
use towpath_linker::http::body::VerbBody;

use crate::failure::Ended;
use crate::follow;
use crate::output::Output;
use crate::service::{Asked, Talk, of_family};

/// Arguments of `towpath complete`.
#[derive(Args)]
pub struct Arguments {
    /// The family
    family: String,
    /// The group that stays on the target
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Accept that nothing durable (a deny ACL for everybody) stops the group at the source
    #[arg(long)]
    accept_no_stop: bool,
    #[command(flatten)]
    asked: Asked,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Asks and follows.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let body = VerbBody {
        request: arguments.asked.request(),
        group: Some(arguments.group),
        accept_no_stop: arguments.accept_no_stop,
        ..VerbBody::default()
    };
    let api = arguments.talk.api()?;
    let begun = api.post(&of_family(&arguments.family, "complete"), &body).await?;
    follow::to_the_end(&api, begun, &output).await
}
