//! `towpath status [FAMILY] [--watch]`.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde::Serialize;
use towpath_env::Env;
use towpath_linker::operation::exit;
use towpath_linker::status::{FamilyStatus, ServiceStatus};

use crate::failure::{Ended, Failure};
use crate::output::Output;
use crate::service::{Api, Talk, of_family};
use crate::show::{self, status::View};

/// Arguments of `towpath status`.
#[derive(Args)]
pub struct Arguments {
    /// One family, with its topics and groups; without it a line per family
    family: Option<String>,
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Show every partition
    #[arg(long)]
    partitions: bool,
    /// Where the service is.
    #[command(flatten)]
    pub talk: Talk,
}

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Seen {
    Family(Box<FamilyStatus>),
    Service(ServiceStatus),
}

/// Shows the status, once or again and again.
pub async fn run(arguments: Arguments, output: Output) -> Ended {
    let api = arguments.talk.api()?;
    if !arguments.watch {
        let seen = look(&api, &arguments).await?;
        output.result(&text(&seen, &arguments, &output), &seen)?;
        return Ok(exit::DONE);
    }
    tokio::select! {
        ended = watch(&api, &arguments, &output) => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| exit::DONE)?),
    }
}

async fn look(api: &Api, arguments: &Arguments) -> Result<Seen, Failure> {
    Ok(match &arguments.family {
        Some(family) => Seen::Family(Box::new(api.get(&of_family(family, "status"), &[]).await?)),
        None => Seen::Service(api.get(&["v1", "status"], &[]).await?),
    })
}

fn text(seen: &Seen, arguments: &Arguments, output: &Output) -> String {
    let view =
        View { partitions: arguments.partitions, colours: output.has_colours(), live: arguments.watch };
    match seen {
        Seen::Family(family) => show::status::family(family, view),
        Seen::Service(service) => show::status::service(service, view),
    }
}

/// Until interrupted, or nobody reads stdout any more. A service that does not answer for a while is told and waited
/// for; one that refuses, or was never there, ends the watch.
async fn watch(api: &Api, arguments: &Arguments, output: &Output) -> Ended {
    let env = Env::real();
    let screen = output.is_live().then(screen);
    let mut seen_once = false;
    loop {
        match look(api, arguments).await {
            Ok(seen) => {
                seen_once = true;
                let text = text(&seen, arguments, output);
                match &screen {
                    Some(screen) => screen.set_message(text),
                    None => output.result(&format!("{text}\n"), &seen)?,
                }
            }
            Err(failure) if !seen_once || failure.kind == "caller" => return Err(failure),
            Err(failure) => match &screen {
                Some(screen) => screen.set_message(format!("{failure}\nwaiting for it")),
                None => output.failure(&failure),
            },
        }
        if output.is_closed() {
            return Ok(exit::DONE);
        }
        env.sleep(LOOK_EVERY).await;
    }
}

/// A place on the terminal that is redrawn.
fn screen() -> ProgressBar {
    // The template is constant and parses.
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let screen = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_style(style);
    // What was shown last stays when the watch ends.
    screen.with_finish(ProgressFinish::Abandon)
}
