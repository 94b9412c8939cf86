//! `towpath serve --config FILE`: the linking service as a daemon.

use std::path::PathBuf;

use clap::Args;

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
    towpath_linker::config::ServiceConfig::read(&arguments.config)?;
    Err(Failure::caller("the linking service is not built yet", "wait for it"))
}
