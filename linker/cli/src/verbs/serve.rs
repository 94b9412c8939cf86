//! `towpath serve --config FILE`: the linking service as a daemon.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use towpath_env::{Env, signal};
use towpath_linker::config::ServiceConfig;
use towpath_linker::http;
use towpath_linker::operation::exit;
use towpath_linker::service::Service;

use crate::failure::{Ended, Failure};

/// Arguments of `towpath serve`.
#[derive(Args)]
pub struct Arguments {
    /// The service's file: clusters, store, data folder, HTTP address, tokens
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(arguments: Arguments) -> Ended {
    let config = ServiceConfig::read(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServiceConfig) -> Ended {
    let address = config.http;
    // Before anything is opened: two services of one file stop each other here, not at the journal.
    let socket = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (http:); fix: stop what listens there, or change `http:`")
    })?;
    let address = socket.local_addr()?;
    let (name, tokens) = (config.name.clone(), config.tokens.len());
    let service = Service::open(config, Env::real(), prometheus::Registry::new()).await?;
    let stop = CancellationToken::new();
    let mut api = tokio::spawn(http::serve(service.clone(), socket, stop.clone()));
    tracing::info!(%address, service = name, tokens, families = service.starting().len(), "linking service ready");
    let failed = tokio::select! {
        asked = signal::shutdown() => asked.err().map(Failure::from),
        error = service.superseded() => Some(Failure::from(error)),
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

fn api_ended(
    ended: Result<Result<(), towpath_linker::error::LinkerError>, tokio::task::JoinError>,
) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::told("bug", "the HTTP API ended by itself", exit::FAILED),
        Ok(Err(error)) => error.into(),
        Err(error) => Failure::told("bug", &format!("the HTTP API ended: {error}"), exit::FAILED),
    }
}
