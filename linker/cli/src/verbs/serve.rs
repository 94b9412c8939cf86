//! `towpath serve --config FILE`: the linking service as a daemon.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use towpath_env::{Env, signal};
use towpath_linker::config::ServiceConfig;
use towpath_linker::http::Api;
use towpath_linker::operation::exit;
use towpath_linker::service::Service;

use crate::failure::{Ended, Failure};

/// Arguments of `towpath serve`.
#[derive(Args)]
pub struct Arguments {
    /// The service's file: clusters, store, data folder, HTTP address, tokens
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON document when it ends: why, if it failed
    #[arg(long)]
    pub json: bool,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(arguments: Arguments) -> Ended {
    let config = ServiceConfig::read(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServiceConfig) -> Ended {
    // Before anything is opened: what is wrong with the file leaves everything as it is, and a service that runs
    // already keeps its journal.
    let registry = Registry::new();
    let api = Api::new(&config, &registry, crate::evidence::report)?;
    let address = config.http;
    // Two services of one file stop each other here, not at the journal.
    let socket = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (http:); fix: stop what listens there, or change `http:`")
    })?;
    let address = socket.local_addr()?;
    let (name, tokens) = (config.name.clone(), config.tokens.len());
    let service = Service::open(config, Env::real(), registry).await?;
    let stop = CancellationToken::new();
    let mut api = tokio::spawn(api.serve(service.clone(), socket, stop.clone()));
    tracing::info!(%address, service = name, tokens, families = service.starting().len(), "linking service ready");
    let failed = tokio::select! {
        asked = signal::shutdown() => asked.err().map(Failure::from),
        error = service.superseded() => Some(Failure::from(error)),
        error = service.failed() => Some(Failure::from(error)),
        ended = &mut api => Some(api_ended(ended)),
    };
    stop.cancel();
    service.close().await;
    if !api.is_finished() {
        // It ends by itself now; what is under way has been answered or goes on without a listener.
        let _ = tokio::time::timeout(DRAIN_MAX, api).await;
    }
    tracing::info!("linking service stopped");
    match failed {
        None => Ok(exit::DONE),
        Some(failure) => Err(failure),
    }
}

/// How long requests under way may take to be answered at the end.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_secs(10);

fn api_ended(ended: Result<(), tokio::task::JoinError>) -> Failure {
    let how = ended.map_or_else(|error| format!(": {error}"), |()| " by itself".into());
    Failure::told("bug", &format!("the HTTP API ended{how}"), exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_that_cannot_be_read_fails_before_anything_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let text = format!(
            "clusters: {{}}\nstore: \"file://{place}/store\"\ndata: \"{place}/data\"\nhttp: 127.0.0.1:0\n\
             tokens: [{{ name: ann, role: operator, token: \"env:TOWPATH_TEST_NO_SUCH_TOKEN\" }}]\n"
        );
        let failure = serve(ServiceConfig::parse(&text, "service.yaml").unwrap()).await.unwrap_err();
        assert!(failure.message.contains("TOWPATH_TEST_NO_SUCH_TOKEN"), "{failure}");
        assert_eq!((failure.kind.as_str(), failure.exit_code), ("caller", exit::FAILED));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was opened");
    }
}
