//! `towpath watch ID` and `towpath abort ID`: operations that run in the service.

use clap::Args;
use towpath_linker::http::body::AbortBody;
use towpath_linker::operation::{OperationView, exit};

use crate::failure::Ended;
use crate::follow;
use crate::output::Output;
use crate::service::{Talk, asked};

/// Arguments of `towpath watch`.
#[derive(Args)]
pub struct Arguments {
    /// The operation
    #[arg(value_name = "ID")]
    id: String,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Arguments of `towpath abort`.
#[derive(Args)]
pub struct AbortArguments {
    /// The operation
    #[arg(value_name = "ID")]
    id: String,
    /// Why; stands in journal and evidence
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// Follows the operation, with its exit code.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let api = arguments.talk.api()?;
    let begun: OperationView = api.get(&["v1", "operations", &arguments.id], &[]).await?;
    follow::to_the_end(&api, begun, &output).await
}

/// Asks it to stop, and says how to see whether it did.
pub async fn abort(arguments: AbortArguments, output: Output) -> Ended {
    let body = AbortBody { request: asked(&arguments.reason, false) };
    let api = arguments.talk.api()?;
    let seen: OperationView = api.post(&["v1", "operations", &arguments.id, "abort"], &body).await?;
    let text =
        format!("{}: asked to stop; obeyed until its record step\n\ntowpath watch {}", seen.id, seen.id);
    output.result(&text, &seen)?;
    Ok(exit::DONE)
}
